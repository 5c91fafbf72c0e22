package storetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evergrant/evergrant/tokenstore"
)

// prompt is how soon a call is back when its context ends.
const prompt = 50 * time.Millisecond

// errLate says that a call was not prompt.
type errLate struct {
	what string
	by   time.Duration
}

func (e *errLate) Error() string {
	return fmt.Sprintf("%s was back %v after its context ended, not within %v", e.what, e.by.Round(time.Millisecond), prompt)
}

// attempts is how often a check is made that depends on time, before the store is to blame and not the machine.
const attempts = 5

// inTime is a check that fails only if no attempt was in time.
func inTime(check func(*trial) error) func(*trial) error {
	return func(t *trial) (err error) {
		again := *t
		for i := range attempts {
			again.prefix = t.prefix + strconv.Itoa(i) + "/"
			err = check(&again)
			if late := new(errLate); !errors.As(err, &late) {
				return err
			}
		}
		return err
	}
}

// A pulse beats once a millisecond and notes when it could not: the machine stood still.
type pulse struct {
	mu     sync.Mutex
	last   time.Time    // guarded by mu
	missed []standstill // guarded by mu
	stop   chan struct{}
}

type standstill struct{ from, to time.Time }

func newPulse() *pulse {
	p := &pulse{last: time.Now(), stop: make(chan struct{})}
	go func() {
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-p.stop:
				return
			case <-ticker.C:
				p.beat(time.Now())
			}
		}
	}()
	return p
}

func (p *pulse) beat(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if from := p.last.Add(time.Millisecond); from.Before(now) {
		p.missed = append(p.missed, standstill{from, now})
	}
	p.last = now
}

// stood returns for how long the machine stood still between from and to, which are past.
func (p *pulse) stood(from, to time.Time) time.Duration {
	p.mu.Lock()
	for p.last.Before(to) { // a standstill may just be ending
		p.mu.Unlock()
		time.Sleep(time.Millisecond)
		p.mu.Lock()
	}
	defer p.mu.Unlock()
	var total time.Duration
	for _, s := range p.missed {
		if s.from.Before(from) {
			s.from = from
		}
		if s.to.After(to) {
			s.to = to
		}
		total += max(0, s.to.Sub(s.from))
	}
	return total
}

// ends makes a call whose context ends at end. The call must be back soon after.
func (t *trial) ends(what string, end time.Time, call func() error) error {
	p := newPulse()
	defer close(p.stop)
	back, err := t.timed(what, call)
	if late := back.Sub(end); late > prompt {
		if late -= p.stood(end, back); late > prompt {
			return &errLate{what, late}
		}
	}
	return err
}

// soon runs call and fails if it is not back within the trial's patience.
func (t *trial) soon(what string, call func() error) error {
	_, err := t.timed(what, call)
	return err
}

// timed is soon, and says when call was back: at the zero time, if it was not.
func (t *trial) timed(what string, call func() error) (back time.Time, err error) {
	type outcome struct {
		back time.Time
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		err := call()
		done <- outcome{time.Now(), err}
	}()
	timer := time.NewTimer(t.patience)
	defer timer.Stop()
	select {
	case o := <-done:
		return o.back, o.err
	case <-timer.C:
		return time.Time{}, fmt.Errorf("%s is not back after %v", what, t.patience)
	}
}

// interrupted makes a call whose context ends within a time drawn up to longest, by a deadline or by being cancelled.
func (t *trial) interrupted(what string, longest time.Duration, call func(context.Context) error) error {
	end := time.Now().Add(rand.N(longest))
	ctx, cancel := context.WithCancel(t.ctx)
	if rand.N(2) == 0 {
		cancel()
		ctx, cancel = context.WithDeadline(t.ctx, end)
	} else {
		timer := time.AfterFunc(time.Until(end), cancel)
		defer timer.Stop()
	}
	defer cancel()
	return t.ends(what, end, func() error { return call(ctx) })
}

func isContext(err error) bool {
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// measured is about how long a call takes, and never so short that a timer could not end it, nor so long
// that a check had to wait for it.
func measured(call func() error) (time.Duration, error) {
	began := time.Now()
	err := call()
	return min(max(time.Since(began), 100*time.Microsecond), 500*time.Millisecond), err
}

// deadlines ends calls at any moment while others write the same key.
func deadlines(t *trial) (err error) {
	created, err := t.put("k", mixed(0))
	if err != nil {
		return err
	}
	var version atomic.Value // a call that hangs may end whenever it likes
	version.Store(created)
	rest, err := t.bustle()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rest()) }()
	loads, swaps, enough := time.Hour, time.Hour, time.Now().Add(time.Second)
	for n := 0; n < 10 || n < 60 && time.Now().Before(enough); n++ {
		load := func(ctx context.Context) error {
			_, now, err := t.store.Load(ctx, t.key("k"))
			if err == nil {
				version.Store(now)
			}
			return err
		}
		swap := func(ctx context.Context) error {
			_, err := t.store.Swap(ctx, t.key("k"), version.Load().(tokenstore.Version), []byte(mixed(1)))
			if errors.Is(err, tokenstore.ErrConflict) {
				return nil
			}
			return err
		}
		if err := errors.Join(t.cutOff("Load", &loads, load), t.cutOff("Swap", &swaps, swap)); err != nil {
			return err
		}
	}
	return nil
}

// cutOff makes the call twice: to see how long it takes, and then with less time. least is the shortest
// that it has taken.
func (t *trial) cutOff(what string, least *time.Duration, call func(context.Context) error) error {
	took, err := measured(func() error { return call(t.ctx) })
	if err != nil {
		return fmt.Errorf("%s failed: %w", what, err)
	}
	*least = min(*least, took)
	if rand.N(2) == 0 {
		took = *least // else most calls would be done in time wherever a few wait long
	}
	return t.interrupted(what, took, func(ctx context.Context) error {
		if err := call(ctx); err != nil && !isContext(err) {
			return fmt.Errorf("%s, whose context was to end, returned another error: %w", what, err)
		}
		return nil
	})
}

// bustle has goroutines, and a process if the place is shared, write the trial's key until rest is called.
func (t *trial) bustle() (rest func() error, err error) {
	other, err := t.start()
	switch {
	case errors.Is(err, errNotShared):
		other = nil
	case err != nil:
		return nil, err
	default:
		if err := other.order(order{Do: "churn", Key: []byte(t.key("k"))}); err != nil {
			return nil, err
		}
		go other.drain()
	}
	ctx, cancel := context.WithCancel(t.ctx)
	var group sync.WaitGroup
	errs := make([]error, 3)
	pause := func(int) { time.Sleep(100 * time.Microsecond) } // a store in memory would leave no processor to others
	for i := range errs {
		group.Go(func() { errs[i] = churn(ctx, t.store, t.key("k"), pause) })
	}
	return func() error {
		cancel()
		err := t.soon("a call whose context has ended", func() error {
			group.Wait()
			return errors.Join(errs...)
		})
		if other != nil {
			err = errors.Join(err, other.end())
		}
		return err
	}, nil
}

// inDoubt ends Swaps at any moment, and looks what came of them.
func inDoubt(t *trial) error {
	version, err := t.put("k", mixed(0))
	if err != nil {
		return err
	}
	was, least := mixed(0), time.Hour
	for n := 1; n < 4; n++ { // the shortest, for a stand-still of the machine is no measure
		was = mixed(n)
		took, err := measured(func() (err error) { version, err = t.swap(t.key("k"), version, []byte(was)); return err })
		if err != nil {
			return err
		}
		least = min(least, took)
	}
	enough := time.Now().Add(time.Second)
	for n := 4; n < 24 || n < 100 && time.Now().Before(enough); n += 2 {
		next := mixed(n)
		ctx, cancel := context.WithTimeout(t.ctx, rand.N(least+least/2))
		written, err := t.store.Swap(ctx, t.key("k"), version, []byte(next))
		cancel()
		if errors.Is(err, tokenstore.ErrConflict) {
			return errors.New("Swap at the current version returned ErrConflict: its own write, or that of a Swap which ended before, took effect later")
		}
		if err == nil {
			was, version = next, written
			continue
		}
		if !isContext(err) {
			return fmt.Errorf("a Swap whose context was to end returned another error: %w", err)
		}
		version, err = t.settle(t.key("k"), []byte(mixed(n+1)), func(value []byte) error {
			if string(value) != was && string(value) != next {
				return fmt.Errorf("after a Swap that ended with its context, Load shows neither the old value nor the new one, but %.40q (%d bytes)", value, len(value))
			}
			return nil
		})
		if err != nil {
			return err
		}
		was = mixed(n + 1)
	}
	time.Sleep(prompt) // in which a Swap that has been given up could still take effect
	return t.has(t.key("k"), []byte(was), version)
}

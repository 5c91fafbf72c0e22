package keychain

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/evergrant/evergrant/internal/lockfile"
)

const (
	// glance is how often a call looks why it takes so long.
	glance = 500 * time.Millisecond

	// silence is how long one item may take while nobody is asked anything.
	silence = 5 * time.Second

	// answer is how long a person may take if the caller's context has no deadline.
	answer = 2 * time.Minute

	// patience is how long a call that was left behind may go on before the next ones fail because of
	// it: a keychain that asks nobody answers within a second.
	patience = 2 * time.Second
)

// A call is some work inside the keychain, which knows no contexts.
type call struct {
	began time.Time
	steps atomic.Int64  // items touched so far
	done  chan struct{} // closed when the work has ended
	err   error         // of the work, once done is closed
	why   error         // it was left behind; set before it is in Store.left
}

// access says whether a call may run beside other processes' writing.
type access bool

const (
	free   access = false
	locked access = true
)

// do runs work inside the keychain and waits for it until ctx ends, or the keychain has been silent
// for too long. Then the work goes on without its caller, up to its next item; turn and lock are given
// back when it has ended. Variables that work sets may be read only if do returns nil.
func (s *Store) do(ctx context.Context, a access, work func(items) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := limited(ctx)
	defer cancel()
	if err := s.awaitLeft(ctx); err != nil {
		return err
	}
	release := func() {}
	if a == locked {
		var err error
		if release, err = s.acquire(ctx, s.lock); err != nil {
			return err
		}
	}
	if err := s.enter(ctx); err != nil {
		release()
		return err
	}
	c := &call{began: time.Now(), done: make(chan struct{})}
	go func() {
		c.err = s.run(ctx, c, work)
		<-s.turn
		release()
		close(c.done)
	}()
	return s.await(ctx, c)
}

// limited gives a context without a deadline one, so that nothing waits for ever.
func limited(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, answer, errNobody)
}

// acquire takes a lock that keeps other processes from writing.
func (s *Store) acquire(ctx context.Context, lock *lockfile.Lock) (release func(), err error) {
	if err := s.makeFolder(); err != nil {
		return nil, err
	}
	release, err = lock.Acquire(ctx)
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("%w (%v)", late(ctx), err)
	}
	return release, err
}

// enter waits until no other call is inside the keychain.
func (s *Store) enter(ctx context.Context) error {
	tick := time.NewTicker(glance)
	defer tick.Stop()
	for {
		select {
		case s.turn <- struct{}{}:
			return nil
		case <-ctx.Done():
			return late(ctx)
		case <-tick.C:
			if err := s.awaitLeft(ctx); err != nil {
				return err
			}
		}
	}
}

// awaitLeft waits for the end of a call that was left behind, but not longer than it may take.
func (s *Store) awaitLeft(ctx context.Context) error {
	c := s.left.Load()
	if c == nil {
		return nil
	}
	select {
	case <-c.done:
		s.left.CompareAndSwap(c, nil)
		return nil
	default:
	}
	timer := time.NewTimer(time.Until(c.began.Add(patience)))
	defer timer.Stop()
	select {
	case <-c.done:
		return nil
	case <-ctx.Done():
		return late(ctx)
	case <-timer.C:
	}
	if errors.Is(c.why, errSilent) {
		return explain(ErrUnavailable, fmt.Errorf("an earlier call still waits for it: %w", errSilent))
	}
	return explain(ErrLocked, errors.New("an earlier call still waits for it"))
}

// run does the work, unless it would ask a person who is not there.
func (s *Store) run(ctx context.Context, c *call, work func(items) error) error {
	if s.unattended {
		if err := s.platform.look(ctx); err != nil && !errors.Is(err, errOpaque) {
			return err
		}
	}
	err := work(items{ctx, s.ring, s.service, s.platform, &c.steps})
	if errors.Is(err, ErrLocked) && ctx.Err() == nil {
		// go-keyring says the same of a keychain that is locked and of one that was never made.
		if seen := s.platform.look(ctx); errors.Is(seen, ErrUnavailable) {
			return seen
		}
	}
	return err
}

// await waits for the end of c. What takes long it looks into: a person who is asked has until ctx
// ends, a keychain that asks nobody has not.
func (s *Store) await(ctx context.Context, c *call) error {
	tick := time.NewTicker(glance)
	defer tick.Stop()
	var w watch
	looked := make(chan error, 1)
	for {
		select {
		case <-c.done:
			return c.err
		case <-ctx.Done():
			return s.leave(c, w.late(ctx))
		case seen := <-looked:
			first := w.see(seen)
			if s.unattended && errors.Is(seen, ErrLocked) {
				return s.leave(c, seen)
			}
			if first && !s.unattended {
				s.board.Post("", "the keychain seems to wait for a person: answer what it asks")
			}
		case <-tick.C:
			w.tick(c.steps.Load(), s.unattended)
			if w.quiet >= silence {
				return s.leave(c, w.silent())
			}
			if !w.looking {
				w.looking = true
				go func() { looked <- s.platform.look(ctx) }()
			}
		}
	}
}

// leave leaves c behind because of why.
func (s *Store) leave(c *call, why error) error {
	c.why = why
	s.left.Store(c)
	return why
}

// A watch is what can be seen of a call that takes long.
type watch struct {
	steps   int64
	quiet   time.Duration // in which it has neither got on nor asked anybody
	looking bool
	known   bool // asks is what the last look said
	asks    bool // a person, as far as can be seen
	asked   bool // at some time
}

// tick counts another glance at a call that has come to steps.
func (w *watch) tick(steps int64, unattended bool) {
	switch {
	case steps != w.steps:
		w.steps, w.quiet, w.known, w.asks = steps, 0, false, false
	case !w.asks || unattended:
		w.quiet += glance
	}
}

// see takes in what a look has found. It reports whether a person seems to be asked for the first time.
func (w *watch) see(seen error) (first bool) {
	asks := errors.Is(seen, ErrLocked) || errors.Is(seen, errOpaque)
	if w.asks && !asks {
		w.quiet = 0 // somebody has answered just now
	}
	first = asks && !w.asked
	w.looking, w.known, w.asks, w.asked = false, true, asks, w.asked || asks
	return first
}

// late says what the end of ctx means for the call.
func (w *watch) late(ctx context.Context) error {
	if w.known && !w.asks && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return explain(ErrUnavailable, fmt.Errorf("%w: %w", errSilent, timeout(ctx)))
	}
	return late(ctx)
}

// silent says what is wrong with a keychain that does not answer, or asks somebody who is not there.
func (w *watch) silent() error {
	if w.asks {
		return explain(ErrLocked, fmt.Errorf("it has not answered for %v", silence))
	}
	return explain(ErrUnavailable, errSilent)
}

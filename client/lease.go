package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/evergrant/evergrant/internal/machine"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

const (
	leaseLength = 15 * time.Second // a lease that has not changed for so long is dead
	leaseBeat   = 5 * time.Second  // how often it is extended while the token request is out
	leaseGrace  = 2 * time.Second  // what the request of a holder known to be dead may still take
	pollFirst   = 10 * time.Millisecond
	pollLocal   = 75 * time.Millisecond // the longest pause between looks at a store on this machine
	pollRemote  = time.Second
)

// errAgain says that somebody else has changed the record: the renewal starts again from the load.
var errAgain = errors.New("the stored grant has changed")

// errLeaseOver stops a token request at the last moment: others may hold the lease by now.
var errLeaseOver = errors.New("the lease has run out")

// state is a record as it lies in the store; a nil record is absent.
type state struct {
	record  *record.Record
	version tokenstore.Version
	key     string // where it lies: what was read is never written elsewhere
}

// load reads the account's record.
func (a *account) load(ctx context.Context) (state, error) {
	if err := a.client.findIssuer(ctx); err != nil {
		return state{}, err
	}
	st, err := a.read(ctx, a.storeKey())
	if err == nil {
		err = a.checkClient(st)
	}
	return st, err
}

// read is load of the record that lies under key.
func (a *account) read(ctx context.Context, key string) (state, error) {
	data, version, err := a.client.store.Load(ctx, key)
	if errors.Is(err, tokenstore.ErrNotFound) {
		return state{key: key}, nil
	}
	if err != nil {
		return state{}, err
	}
	r, err := record.Decode(data)
	return state{r, version, key}, err
}

// swap writes r over st; a nil r deletes.
func (a *account) swap(ctx context.Context, st state, r *record.Record) (state, error) {
	var data []byte
	if r != nil {
		var err error
		if data, err = r.Encode(); err != nil {
			return st, err
		}
	}
	var version tokenstore.Version
	var err error
	if store, ok := a.client.store.(tokenstore.Expirer); ok && r != nil {
		version, err = store.SwapUntil(ctx, st.key, st.version, data, r.UsefulUntil())
	} else {
		version, err = a.client.store.Swap(ctx, st.key, st.version, data)
	}
	return state{r, version, st.key}, err
}

// lease is the right, written into the record, to spend its refresh token. Writing it proves that
// the store can be written before anything is spent.
type lease struct {
	session *Session
	attempt string
	number  uint64
	living  func() // gives up the liveness lock

	mu         sync.Mutex
	state      state           // as last written or read; guarded by mu
	since      machine.Reading // before the write that began or last extended it; guarded by mu
	sent       time.Time       // when check last let a request go; guarded by mu
	unanswered time.Time       // since when an answer is lost, by the server's clock; zero: none is; guarded by mu
	lost       bool            // somebody else has taken or removed it, or it has stopped a request; guarded by mu
}

// takeLease writes a lease into st. errAgain: somebody was faster.
func (s *Session) takeLease(ctx context.Context, st state) (*lease, error) {
	l := &lease{session: s, attempt: machine.ID(s.client.machine), living: func() {}}
	entry := record.Lease{
		Owner: s.client.owner, Attempt: l.attempt, Length: leaseLength,
		Since: s.client.serverNow(),
	}
	if store, ok := s.client.store.(tokenstore.Liveness); ok {
		// Only a hint for those who wait: without it they wait for the whole length.
		if release, err := store.Hold(ctx, l.attempt); err == nil {
			l.living, entry.Living = sync.OnceFunc(release), true
		}
	}
	l.since = s.client.machine.Now()
	wanted := st.record.WithLease(entry)
	if s.client.config.Grant != nil {
		wanted.Unanswered = time.Time{} // nobody's refresh token was spent
	}
	l.number = wanted.Leases
	var err error
	if l.state, err = s.swap(ctx, st, wanted); err == nil {
		return l, nil
	}
	if !errors.Is(err, tokenstore.ErrConflict) && l.confirm(ctx) == nil {
		return l, nil // written, though the store reported a failure
	}
	l.living()
	if errors.Is(err, tokenstore.ErrConflict) {
		return nil, errAgain
	}
	return nil, err
}

// check is asked when the token request is about to be written. It measures by the clock that went
// further: who was stopped, or slept, past his lease sends nothing.
func (l *lease) check() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lost = l.lost || l.leftLocked() <= 0
	if l.lost {
		return errLeaseOver
	}
	l.sent = l.session.client.machine.Now().Wall
	return nil
}

// sentAt is when the last token request was written: what it brings lives from then on.
func (l *lease) sentAt() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sent
}

func (l *lease) isLost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// left is what remains of the lease without extension.
func (l *lease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.leftLocked()
}

func (l *lease) leftLocked() time.Duration {
	wall, mono := l.session.client.machine.Now().Since(l.since)
	return leaseLength - max(wall, mono)
}

// confirm reads the record again. errAgain: the lease is not in it any more.
func (l *lease) confirm(ctx context.Context) error {
	st, err := l.session.read(ctx, l.known().key)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if st.record == nil || st.record.Lease == nil || st.record.Lease.Attempt != l.attempt {
		l.lost = true
		return errAgain
	}
	l.state = st
	return nil
}

// stillFor reads the record again. errAgain: the lease is not in it any more, or a holder that had been
// stopped has woken up and saved the successors of old's tokens beside it.
func (l *lease) stillFor(ctx context.Context, old *record.Record) error {
	if err := l.confirm(ctx); err != nil {
		return err
	}
	if l.known().record.Generation != old.Generation {
		return errAgain
	}
	return nil
}

// known is the record as the holder last wrote or read it.
func (l *lease) known() state {
	l.mu.Lock()
	defer l.mu.Unlock()
	st := l.state
	if st.record.Unanswered.IsZero() && !l.unanswered.IsZero() {
		st.record = st.record.Clone()
		st.record.Unanswered = l.unanswered
	}
	return st
}

// extend writes that the holder is still alive. A failure is no harm yet: the lease runs on.
func (l *lease) extend(ctx context.Context) {
	st := l.known()
	since := l.session.client.machine.Now()
	longer := st.record.Clone()
	longer.Lease.Beat++
	st, err := l.session.swap(ctx, st, longer)
	if err != nil {
		_ = l.confirm(ctx) // lost, or written though reported failed, or neither
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.since = st, since
}

// beat extends the lease from time to time until stop is called, which waits for the last write.
func (l *lease) beat(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		ticker := time.NewTicker(leaseBeat)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				l.extend(ctx)
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() { cancel(); <-ended }
}

// loseAnswer notes that a request may have been processed and that its answer will not come. The record says
// so from the next write on.
func (l *lease) loseAnswer() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unanswered.IsZero() {
		l.unanswered = l.session.client.serverTime(l.sent)
	}
}

// giveBack removes the lease from the record, with a mark if the server has refused the tokens. The
// mark has been written when it returns nil; errAgain: it is about tokens that have been replaced.
func (l *lease) giveBack(ctx context.Context, mark *record.Mark) error {
	defer l.living()
	refused := l.known().record
	for range 3 {
		st := l.known()
		replaced := st.record.Generation != refused.Generation
		free := st.record.Clone()
		free.Lease = nil
		if mark != nil && !replaced {
			free.Mark = mark
		}
		if _, err := l.session.swap(ctx, st, free); err == nil && replaced {
			return errAgain
		} else if err == nil {
			return nil
		}
		if err := l.confirm(ctx); err != nil {
			return err
		}
	}
	return errors.New("the store refuses to take the lease back")
}

// watch is one waiter's knowledge of somebody else's lease.
type watch struct {
	attempt string
	beat    uint64
	seen    time.Duration // how long it has stood unchanged, in awake, observed time
	gone    time.Duration // how long its holder has been known to be dead
	last    machine.Reading
	pause   time.Duration
}

// isDead counts the time since the last look and reports whether the lease is dead. The waiter's
// clock is the smaller of both and counts at most the pause that was meant: after a laptop's sleep
// everybody wakes together, and the holder's answer may be waiting in its socket.
func (w *watch) isDead(l *record.Lease, now machine.Reading, alive bool) bool {
	if w.attempt != l.Attempt || w.beat != l.Beat {
		*w = watch{attempt: l.Attempt, beat: l.Beat, last: now, pause: pollFirst}
		return false
	}
	wall, mono := now.Since(w.last)
	w.last = now
	if (wall - mono).Abs() > pollRemote {
		w.seen, w.gone = 0, 0
		return false
	}
	passed := max(min(wall, mono, w.pause), 0)
	w.seen += passed
	if alive {
		w.gone = 0
	} else {
		w.gone += passed
	}
	return w.seen >= l.Length || w.gone >= leaseGrace
}

// await waits until the record has changed or it is time for another look.
func (w *watch) await(ctx context.Context, s *Session, version tokenstore.Version) error {
	longest := pollRemote
	if s.client.isLocal() {
		longest = pollLocal
	}
	w.pause = min(w.pause*3/2, longest)
	pause := w.pause/2 + machine.UpTo(s.client.machine, w.pause/2)
	if store, ok := s.client.store.(tokenstore.Waiter); ok {
		polled := w.pause
		w.pause = longest
		ctx, cancel := context.WithTimeout(ctx, longest)
		defer cancel()
		if err := store.Wait(ctx, s.storeKey(), version); err == nil || ctx.Err() != nil {
			return nil
		}
		w.pause = polled // a store that cannot wait, at present or ever, is polled
	}
	return sleep(ctx, pause)
}

// isAlive asks whether the holder of l lives; true when that cannot be told.
func (s *Session) isAlive(ctx context.Context, l *record.Lease) bool {
	store, ok := s.client.store.(tokenstore.Liveness)
	if !ok || !l.Living {
		return true
	}
	held, err := store.Held(ctx, l.Attempt)
	return err != nil || held
}

// sleep waits for d, or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ended(ctx)
	}
}

// ended says why ctx ended: by its own word, and by the cause it was given.
func ended(ctx context.Context) error {
	if cause := context.Cause(ctx); cause != ctx.Err() {
		return fmt.Errorf("%w: %w", ctx.Err(), cause)
	}
	return ctx.Err()
}

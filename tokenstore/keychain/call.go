package keychain

import (
	"context"
	"errors"
	"time"
)

// patience is how long a call that was left behind may go on before the next ones fail because of it:
// a keychain that asks nobody answers within a second.
const patience = 2 * time.Second

// A call is some work inside the keychain, which knows no contexts.
type call struct {
	began time.Time
	done  chan struct{} // closed when the work has ended
	err   error         // of the work, once done is closed
}

// access says whether a call may run beside other processes' writing.
type access bool

const (
	free   access = false
	locked access = true
)

// do runs work inside the keychain and waits for it until ctx ends. Then the work goes on without its
// caller, up to its next item; turn and lock are given back when it has ended. Variables that work
// sets may be read if do returns no error of the context.
func (s *Store) do(ctx context.Context, a access, work func(items) error) error {
	if err := s.awaitLeft(ctx); err != nil {
		return err
	}
	release := func() {}
	if a == locked {
		var err error
		if release, err = s.acquire(ctx); err != nil {
			return err
		}
	}
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		release()
		return late(ctx.Err())
	}
	c := &call{began: time.Now(), done: make(chan struct{})}
	go func() {
		c.err = work(items{ctx, s.ring, s.service, s.limit})
		<-s.turn
		release()
		close(c.done)
	}()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		s.left.Store(c)
		return late(ctx.Err())
	}
}

// awaitLeft waits for the end of a call that was left behind, but not longer than it may take.
func (s *Store) awaitLeft(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
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
		return late(ctx.Err())
	case <-timer.C:
		return explain(ErrLocked, errors.New("an earlier call still waits for it"))
	}
}

// acquire takes the lock that keeps other processes from writing.
func (s *Store) acquire(ctx context.Context) (release func(), err error) {
	if err := s.makeFolder(); err != nil {
		return nil, err
	}
	release, err = s.lock.Acquire(ctx)
	if err != nil {
		return nil, late(err)
	}
	return release, nil
}

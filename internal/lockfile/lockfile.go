// Package lockfile gives the processes of one machine locks that the operating system takes away
// from a dead process: exclusive locks that are waited for (Lock), and signs of life (Living).
//
// The locks are advisory and bind only those who use this package. They need a file system with
// working locks: a local one, or a network mount that says that it has them.
package lockfile

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

// The operating system's own queue knows no context, so a lock that is taken is tried again after a
// pause: short, because those who hold these locks do so for the time of one write.
const (
	firstPause   = time.Millisecond
	longestPause = 5 * time.Millisecond
)

// Patience is how long an operation is repeated that ends in an error of which IsMomentary says true.
const Patience = 2 * time.Second

// Lock is an exclusive lock on one file, which is made when it is first needed and never removed:
// whoever removed it could leave two holders, one of the old file and one of the new. A Lock is safe
// for concurrent use.
type Lock struct {
	path string
	turn chan struct{} // full while a goroutine of this process holds the lock or tries to
}

// New makes the Lock on the file at path, whose folder must exist by the time of Acquire.
func New(path string) *Lock { return &Lock{path: path, turn: make(chan struct{}, 1)} }

// Acquire takes the lock, waiting for it until ctx ends: first for its turn in this process, then for
// the other processes. Calling release a second time does nothing.
func (l *Lock) Acquire(ctx context.Context) (release func(), err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, busy(l.path, ctx.Err())
	}
	file, err := take(ctx, l.path)
	if err != nil {
		<-l.turn
		return nil, err
	}
	return sync.OnceFunc(func() {
		_ = file.Unlock() // also closes the file, which alone would be enough
		<-l.turn
	}), nil
}

// take locks the file at path, making it if it is missing, and is back when it has it or ctx ends.
func take(ctx context.Context, path string) (*flock.Flock, error) {
	pause := firstPause
	began := time.Now()
	for {
		file := flock.New(path)
		locked, err := file.TryLock()
		if err != nil && (!IsMomentary(err) || time.Since(began) > Patience) {
			return nil, fmt.Errorf("lockfile: the lock file %s cannot be locked: %w", path, err)
		}
		if locked {
			if isCurrent(file) {
				return file, nil
			}
			_ = file.Unlock()
			continue // a file that was removed meanwhile locks nobody out
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
			pause = min(pause*2, longestPause)
		case <-ctx.Done():
			timer.Stop()
			return nil, busy(path, ctx.Err())
		}
	}
}

// isCurrent reports whether the locked file is still the one that its path names.
func isCurrent(file *flock.Flock) bool {
	held, err := file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(file.Path())
	return err == nil && os.SameFile(held, named)
}

func busy(path string, err error) error {
	return fmt.Errorf("lockfile: somebody else holds the lock file %s: %w", path, err)
}

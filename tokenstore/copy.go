package tokenstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/evergrant/evergrant/internal/record"
)

const (
	copyLease = 15 * time.Second // as long as a renewal's
	copyPause = 100 * time.Millisecond
)

// Copy moves every grant of from, which must be a Lister, into to: from files in the clear into a keychain,
// say. It takes the lease of a grant, as a renewal does, so that nobody spends its refresh token meanwhile;
// it then writes the grant into to and deletes it from from. It waits for renewals under way. A program that
// goes on with from has to log in again, so let Copy run when the program starts, over the stores that its
// Client then uses.
//
// The error joins what went wrong for single keys; all others have been moved. A grant that could not be
// deleted, or whose writing failed in a way that may still take effect, is or may be in both stores: run
// Copy again before anybody uses either. Where to holds the same grant already, the newer state of it stays.
// Where it holds another grant, neither is touched, and the error wraps ErrConflict: log out of one of the
// two. A grant that a person ends in from meanwhile (Session.Logout) does not stay in to, unless somebody has used it there.
func Copy(ctx context.Context, from, to Store) error {
	lister, ok := from.(Lister)
	if !ok {
		return fmt.Errorf("tokenstore: a %T cannot list its keys, so nothing can be copied from it: %w", from, errors.ErrUnsupported)
	}
	var keys []string // all at first: nothing is deleted from a list that is being read
	var errs []error
	for key, err := range lister.Keys(ctx, "") {
		if err != nil {
			errs = append(errs, fmt.Errorf("tokenstore: listing what is to be copied: %w", err))
			break
		}
		keys = append(keys, key)
	}
	for _, key := range keys {
		if err := move(ctx, from, to, key); err != nil {
			errs = append(errs, fmt.Errorf("tokenstore: copying %q: %w", key, err))
		}
	}
	return errors.Join(errs...)
}

// move moves the grant under key.
func move(ctx context.Context, from, to Store, key string) error {
	var copied Version // what this move has written into to
	for {
		l, err := claim(ctx, from, key)
		if err != nil {
			return err
		}
		if l == nil {
			return takeBack(ctx, to, key, copied)
		}
		version, err := put(ctx, to, key, l)
		if err != nil {
			landed, known := l.hasLanded(ctx, to, key)
			if known && landed == nil {
				l.release(ctx, from, key)
			}
			if landed == nil {
				return err
			}
			version = *landed
		}
		copied = version
		_, err = from.Swap(context.WithoutCancel(ctx), key, l.version, nil)
		if err != nil && !errors.Is(err, ErrConflict) {
			return fmt.Errorf("it is copied, and not deleted where it was: %w", err)
		}
		if err == nil {
			return nil
		}
		// Who slept past the lease starts again: somebody may have gone on from there.
	}
}

// takeBack deletes from to what a move has written there, at the version copied, before a person logged out where it
// came from. Where somebody has used it since, or another Copy has moved the grant, it is at another version, and stays.
func takeBack(ctx context.Context, to Store, key string, copied Version) error {
	if copied == "" {
		return nil
	}
	_, err := to.Swap(context.WithoutCancel(ctx), key, copied, nil)
	if err != nil && !errors.Is(err, ErrConflict) {
		return fmt.Errorf("somebody has logged out meanwhile, and the copy cannot be deleted, log out there too: %w", err)
	}
	return nil
}

// claimed is a grant whose lease Copy has taken in the store that it leaves.
type claimed struct {
	attempt string
	version Version
	free    *record.Record // without the lease
	written []byte         // what was last given to the other store to keep
}

// claim takes the lease of the grant under key once nobody holds it; nil: there is no grant any more.
func claim(ctx context.Context, from Store, key string) (*claimed, error) {
	var seen Version
	var since time.Time
	for {
		data, version, err := from.Load(ctx, key)
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		r, err := record.Decode(data)
		if err != nil {
			return nil, err
		}
		if version != seen {
			seen, since = version, time.Now()
		}
		if r.Lease == nil || time.Since(since) >= r.Lease.Length {
			l, err := lease(ctx, from, key, version, r)
			if !errors.Is(err, ErrConflict) {
				return l, err
			}
			continue
		}
		select {
		case <-time.After(copyPause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// lease writes a lease over r.
func lease(ctx context.Context, from Store, key string, version Version, r *record.Record) (*claimed, error) {
	l := &claimed{attempt: rand.Text()}
	leased := r.WithLease(record.Lease{Owner: record.CopyOwner, Attempt: l.attempt, Length: copyLease, Since: time.Now().UTC()})
	data, err := leased.Encode()
	if err != nil {
		return nil, err
	}
	if l.version, err = from.Swap(ctx, key, version, data); err != nil {
		return nil, err
	}
	l.free = leased.Clone()
	l.free.Lease = nil
	return l, nil
}

// hasLanded looks whether to holds the grant although a write has failed. landed is the version that this move wrote,
// the zero one where somebody else did, nil where the grant is not there; known is false if that cannot be seen.
func (l *claimed) hasLanded(ctx context.Context, to Store, key string) (landed *Version, known bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), copyLease/3)
	defer cancel()
	data, version, err := to.Load(ctx, key)
	if err != nil {
		return nil, errors.Is(err, ErrNotFound)
	}
	there, err := record.Decode(data)
	switch {
	case err != nil || there.Lease != nil && there.Lease.Attempt == l.attempt:
		return nil, true // something else, or the very place that it is copied from
	case there.Grant != l.free.Grant || there.Generation < l.free.Generation:
		return nil, true
	case !bytes.Equal(data, l.written):
		version = ""
	}
	return &version, true
}

// release gives the grant back to those who use from. Without it they wait for the end of the lease.
func (l *claimed) release(ctx context.Context, from Store, key string) {
	if data, err := l.free.Encode(); err == nil {
		_, _ = from.Swap(context.WithoutCancel(ctx), key, l.version, data)
	}
}

// put writes the grant into to, and returns the version there. Where to holds it already, the same state of it is
// written anew, so that another Copy which wrote that does not take it back; a newer one, or one in use, stays as it
// is, and the version is zero.
func put(ctx context.Context, to Store, key string, l *claimed) (Version, error) {
	for {
		old, version, err := to.Load(ctx, key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return "", err
		}
		wanted := l.free
		if version != "" {
			there, err := record.Decode(old)
			switch {
			case err != nil:
				return "", err
			case there.Lease != nil && there.Lease.Attempt == l.attempt:
				return "", errors.New("both stores are the same place")
			case there.Grant != l.free.Grant:
				return "", fmt.Errorf("both stores hold a grant, log out of one of the two: %w", ErrConflict)
			case there.Generation > l.free.Generation || there.Generation == l.free.Generation && there.Lease != nil:
				return "", nil
			case there.Generation == l.free.Generation:
				wanted = there.Clone()
				wanted.Leases = max(there.Leases+1, l.free.Leases)
			default:
				l.free.Leases = max(l.free.Leases, there.Leases)
			}
		}
		if l.written, err = wanted.Encode(); err != nil {
			return "", err
		}
		if version, err = swapUntil(ctx, to, key, version, l.written, wanted.UsefulUntil()); !errors.Is(err, ErrConflict) {
			return version, err
		}
	}
}

// swapUntil tells a store that wants to know it how long the value is of use.
func swapUntil(ctx context.Context, store Store, key string, old Version, value []byte, until time.Time) (Version, error) {
	if e, ok := store.(Expirer); ok {
		return e.SwapUntil(ctx, key, old, value, until)
	}
	return store.Swap(ctx, key, old, value)
}

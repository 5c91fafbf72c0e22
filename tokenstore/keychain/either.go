package keychain

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"strings"
	"sync"

	"github.com/evergrant/evergrant/internal/lockfile"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/internal/keyname"
	"github.com/evergrant/evergrant/tokenstore/internal/notice"
)

// Either is a tokenstore.Store that keeps grants in the keychain or, where there is none, in the store
// that the program has named. OrElse makes it and says the rules. It is a Lister if the fallback is one,
// and a Liveness, a Prober and a Notifier. It is safe for concurrent use by goroutines and processes.
type Either struct {
	ring     *Store
	fallback tokenstore.Store
	lock     *lockfile.Lock // over all that brings a key into one place, or takes it out of one
	board    notice.Board

	mu    sync.Mutex
	homes map[string]home // of the keys that this process has met; guarded by mu
}

var (
	_ tokenstore.Store    = (*Either)(nil)
	_ tokenstore.Lister   = (*Either)(nil)
	_ tokenstore.Liveness = (*Either)(nil)
	_ tokenstore.Prober   = (*Either)(nil)
	_ tokenstore.Notifier = (*Either)(nil)
)

// home is where the grant of a key is kept. A version begins with that of its grant.
type home string

const (
	inKeychain home = "k:"
	inFallback home = "f:"
	nowhere    home = ""
)

// OrElse returns a Store for programs that run with a keychain and without one, on one machine: what
// the keychain cannot keep, fallback does. All of them name the same service, the same Options.Dir and
// the same fallback, which is nothing in the clear unless the program chose that.
//
//   - A key that the fallback holds lives there, also for a program that has a keychain: the fallback is
//     looked at first. So a desktop program and a cron job share one grant.
//   - A key in neither comes into the keychain, or into the fallback if that is ErrUnavailable. A
//     keychain that is locked, refuses or does not answer is an error, never a reason for the fallback.
//   - While the keychain is away, its keys are absent to a process that has not met them; to one that
//     has, they are an error. A login there makes a grant in the fallback, which prevails from then on.
//   - Nothing moves by itself: tokenstore.Copy does that. A deletion deletes in the fallback and, as far
//     as it is there, in the keychain; but not what Copy has just moved from the one to the other.
//
// A notice (tokenstore.Notifier) says of each key where it is kept, when that is known and when it
// changes.
func (s *Store) OrElse(fallback tokenstore.Store) *Either {
	return &Either{
		ring:     s,
		fallback: fallback,
		lock:     lockfile.New(filepath.Join(s.dir, "orelse-"+keyname.Escape(s.service)+".lock")),
		homes:    make(map[string]home),
	}
}

// isAway reports whether err says that there is no keychain. One that does not answer may hold the key.
func isAway(err error) bool { return errors.Is(err, ErrUnavailable) && !errors.Is(err, errSilent) }

// Load implements tokenstore.Store.
func (e *Either) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	value, version, err := e.fallback.Load(ctx, key)
	if err == nil {
		e.settle(key, inFallback, "")
		return value, tokenstore.Version(inFallback) + version, nil
	}
	if !errors.Is(err, tokenstore.ErrNotFound) {
		return nil, "", err
	}
	value, version, err = e.ring.Load(ctx, key)
	switch {
	case err == nil:
		e.settle(key, inKeychain, "")
		return value, tokenstore.Version(inKeychain) + version, nil
	case errors.Is(err, tokenstore.ErrNotFound):
		e.settle(key, nowhere, "")
	case isAway(err) && e.home(key) != inKeychain:
		return nil, "", fmt.Errorf("%w in the fallback, and nothing else can be seen: %v", tokenstore.ErrNotFound, err)
	}
	return nil, "", err
}

// Swap implements tokenstore.Store.
func (e *Either) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	from, version := split(old)
	if from == inFallback && len(value) > 0 {
		return e.swap(ctx, inFallback, key, version, value, "")
	}
	release, err := e.ring.acquire(ctx, e.lock)
	if err != nil {
		return "", err
	}
	defer release()
	if from == inFallback {
		return e.remove(ctx, key, version)
	}
	// What the fallback holds prevails over any version of the keychain.
	switch _, _, err := e.fallback.Load(ctx, key); {
	case err == nil:
		return "", tokenstore.ErrConflict
	case !errors.Is(err, tokenstore.ErrNotFound):
		return "", err
	}
	made, err := e.swap(ctx, inKeychain, key, version, value, "")
	if old == "" && isAway(err) && e.home(key) != inKeychain {
		return e.swap(ctx, inFallback, key, "", value, fmt.Sprintf(", because of this: %v", err))
	}
	return made, err
}

// split takes the version of an Either apart. One that is none is no store's either.
func split(v tokenstore.Version) (from home, version tokenstore.Version) {
	for _, from := range []home{inKeychain, inFallback} {
		if rest, ok := strings.CutPrefix(string(v), string(from)); ok {
			return from, tokenstore.Version(rest)
		}
	}
	return nowhere, v
}

// swap is a Swap in the place at h.
func (e *Either) swap(ctx context.Context, h home, key string, old tokenstore.Version, value []byte, why string) (tokenstore.Version, error) {
	var place tokenstore.Store = e.ring
	if h == inFallback {
		place = e.fallback
	}
	made, err := place.Swap(ctx, key, old, value)
	switch {
	case err != nil:
		return "", err
	case made == "":
		e.settle(key, nowhere, "")
		return "", nil
	}
	e.settle(key, h, why)
	return tokenstore.Version(h) + made, nil
}

// remove deletes the grant of key in the fallback, and then an older one that it hid in the keychain.
// The caller holds the lock, so that this is no newer one, but where tokenstore.Copy has just put it there.
func (e *Either) remove(ctx context.Context, key string, version tokenstore.Version) (tokenstore.Version, error) {
	removed, _, err := e.fallback.Load(ctx, key)
	if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
		return "", err
	}
	if _, err := e.fallback.Swap(ctx, key, version, nil); err != nil {
		return "", err
	}
	e.settle(key, nowhere, "")
	if err := e.ring.discard(ctx, key, removed); err != nil && !isAway(err) {
		e.board.Post(key, fmt.Sprintf("an older grant may be left in the keychain and come into use again, log out once more: %v", err))
	}
	return "", nil
}

// discard deletes the grant of key unless it was moved here from where removed was, but asks nobody for a password only
// to forget something.
func (s *Store) discard(ctx context.Context, key string, removed []byte) error {
	return s.do(ctx, locked, func(i items) error {
		if err := i.platform.look(i.ctx); err != nil && !errors.Is(err, errOpaque) {
			return err
		}
		now, err := i.read(userOf(key))
		if err != nil || now.version() == "" || isMoved(removed, now.value) {
			return err
		}
		return i.forget(key, now.head)
	})
}

// isMoved reports whether to is what tokenstore.Copy, whose lease is over from, has made of that.
func isMoved(from, to []byte) bool {
	left, err := record.Decode(from)
	if err != nil || left.Lease == nil || left.Lease.Owner != record.CopyOwner {
		return false
	}
	came, err := record.Decode(to)
	return err == nil && came.Grant == left.Grant && came.Generation >= left.Generation
}

func (e *Either) home(key string) home {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.homes[key]
}

// settle notes where the grant of key is, and tells if that is news.
func (e *Either) settle(key string, h home, why string) {
	e.mu.Lock()
	news := e.homes[key] != h
	if h == nowhere {
		delete(e.homes, key)
	} else {
		e.homes[key] = h
	}
	e.mu.Unlock()
	switch {
	case !news:
	case h == inKeychain:
		e.board.Post(key, "the grant is kept in the keychain")
	case h == inFallback:
		e.board.Post(key, "the grant is kept in the fallback, not in the keychain"+why)
	}
}

// Keys implements tokenstore.Lister, with the keys of both places. If the fallback is no Lister, the
// error wraps errors.ErrUnsupported.
func (e *Either) Keys(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		fallback, ok := e.fallback.(tokenstore.Lister)
		if !ok {
			yield("", fmt.Errorf("keychain: the fallback does not list its keys: %w", errors.ErrUnsupported))
			return
		}
		met := make(map[string]bool)
		for key, err := range fallback.Keys(ctx, prefix) {
			if !yield(key, err) || err != nil {
				return
			}
			met[key] = true
		}
		for key, err := range e.ring.Keys(ctx, prefix) {
			if met[key] && err == nil || isAway(err) {
				continue
			}
			if !yield(key, err) {
				return
			}
		}
	}
}

// Hold implements tokenstore.Liveness. It needs no keychain. Where the fallback is a Liveness too it holds there as
// well, for programs that know the fallback alone.
func (e *Either) Hold(ctx context.Context, name string) (release func(), err error) {
	here, err := e.ring.Hold(ctx, name)
	fallback, ok := e.fallback.(tokenstore.Liveness)
	if err != nil || !ok {
		return here, err
	}
	held, err := fallback.Held(ctx, name)
	if held && err == nil {
		return here, nil // both have one folder: a name is used once
	}
	there := func() {}
	if err == nil {
		there, err = fallback.Hold(ctx, name)
	}
	if err != nil {
		here()
		return nil, err
	}
	return func() {
		there()
		here()
	}, nil
}

// Held implements tokenstore.Liveness. It needs no keychain. Who is held in one of the two places lives.
func (e *Either) Held(ctx context.Context, name string) (bool, error) {
	held, err := e.ring.Held(ctx, name)
	if fallback, ok := e.fallback.(tokenstore.Liveness); ok && err == nil && !held {
		return fallback.Held(ctx, name)
	}
	return held, err
}

// Probe implements tokenstore.Prober: it probes the keychain or, if that is away, the fallback, which
// is taken at its word if it is no Prober.
func (e *Either) Probe(ctx context.Context) error {
	err := e.ring.Probe(ctx)
	if !isAway(err) {
		return err
	}
	if fallback, ok := e.fallback.(tokenstore.Prober); ok {
		return fallback.Probe(ctx)
	}
	return nil
}

// Notify implements tokenstore.Notifier: it tells where grants are kept, and what the keychain and the
// fallback tell.
func (e *Either) Notify(tell func(key, text string)) (stop func()) {
	stops := []func(){e.board.Notify(tell), e.ring.Notify(tell)}
	if fallback, ok := e.fallback.(tokenstore.Notifier); ok {
		stops = append(stops, fallback.Notify(tell))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

package tokenstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
)

// Funcs makes a Store of two functions, for a place that has no compare-and-swap. Neither may be nil.
//
// load returns what save wrote last under key, byte for byte; for an absent key it returns nothing, or
// an error that wraps ErrNotFound. save replaces the value, durably when it returns nil; an empty value
// means that the key is to be absent. Both may keep the slices they get and return. Their errors show
// no value. For one key they are never called at once, for different keys they are.
//
// The compare-and-swap is a lock inside this Store, so the place belongs to one Funcs of one process.
// Two of them over one place know nothing of each other: both renew, the server sees one refresh token
// twice, and many servers then end the grant. A program of which two may run at once, if only during a
// deployment, needs a Store that compares where the value lies.
//
// A version is the SHA-256 of the value. A function that does not return when its context ends is left
// behind: the caller gets the context's error, and calls for the key wait until the function returns.
func Funcs(
	load func(ctx context.Context, key string) ([]byte, error),
	save func(ctx context.Context, key string, value []byte) error,
) Store {
	return &funcs{load: load, save: save, keys: make(map[string]*turn)}
}

type funcs struct {
	load func(ctx context.Context, key string) ([]byte, error)
	save func(ctx context.Context, key string, value []byte) error

	mu   sync.Mutex
	keys map[string]*turn // of the keys in use; guarded by mu
}

// A turn is had by one call at a time.
type turn struct {
	taken chan struct{} // full while a call has the turn
	calls int           // that have it or wait for it; guarded by the funcs' mu
}

// state is a value and its version.
type state struct {
	value   []byte
	version Version
}

func (f *funcs) Load(ctx context.Context, key string) ([]byte, Version, error) {
	s, err := f.inTurn(ctx, key, func() (state, error) { return f.read(ctx, key) })
	if err == nil && s.version == "" {
		err = ErrNotFound
	}
	return bytes.Clone(s.value), s.version, err
}

func (f *funcs) Swap(ctx context.Context, key string, old Version, value []byte) (Version, error) {
	value = bytes.Clone(value) // save may keep it, and may outlive the call
	s, err := f.inTurn(ctx, key, func() (state, error) {
		now, err := f.read(ctx, key)
		switch {
		case err != nil:
			return state{}, err
		case now.version != old:
			return state{}, ErrConflict
		case len(value) == 0 && old == "":
			return state{}, nil
		case ctx.Err() != nil: // load took so long that nobody waits any more
			return state{}, ctx.Err()
		}
		written := state{version: versionOf(value)}
		if err := f.save(ctx, key, value); err != nil {
			return state{}, fmt.Errorf("tokenstore: the save function failed: %w", err)
		}
		return written, nil
	})
	return s.version, err
}

// read returns the zero state for an absent key.
func (f *funcs) read(ctx context.Context, key string) (state, error) {
	value, err := f.load(ctx, key)
	if errors.Is(err, ErrNotFound) || err == nil && len(value) == 0 {
		return state{}, nil
	}
	if err != nil {
		return state{}, fmt.Errorf("tokenstore: the load function failed: %w", err)
	}
	return state{value, versionOf(value)}, nil
}

func versionOf(value []byte) Version {
	if len(value) == 0 {
		return ""
	}
	sum := sha256.Sum256(value)
	return Version(hex.EncodeToString(sum[:]))
}

// inTurn calls act when no other call is at work on key, and returns what it returns, or the context's
// error as soon as ctx ends.
func (f *funcs) inTurn(ctx context.Context, key string, act func() (state, error)) (state, error) {
	if err := ctx.Err(); err != nil {
		return state{}, err
	}
	t := f.enter(key)
	select {
	case t.taken <- struct{}{}:
	case <-ctx.Done():
		f.leave(key, t)
		return state{}, ctx.Err()
	}
	type outcome struct {
		state state
		err   error
	}
	done := make(chan outcome, 1)
	go func() {
		o := outcome{err: errors.New("tokenstore: the function ended its goroutine instead of returning")}
		defer func() {
			<-t.taken
			f.leave(key, t)
			done <- o
		}()
		o.state, o.err = act()
	}()
	select {
	case o := <-done:
		if o.err != nil && ctx.Err() != nil && !errors.Is(o.err, ctx.Err()) {
			o.err = fmt.Errorf("%w: %w", ctx.Err(), o.err)
		}
		return o.state, o.err
	case <-ctx.Done():
		return state{}, ctx.Err()
	}
}

func (f *funcs) enter(key string) *turn {
	f.mu.Lock()
	defer f.mu.Unlock()
	t := f.keys[key]
	if t == nil {
		t = &turn{taken: make(chan struct{}, 1)}
		f.keys[key] = t
	}
	t.calls++
	return t
}

func (f *funcs) leave(key string, t *turn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t.calls--; t.calls == 0 {
		delete(f.keys, key)
	}
}

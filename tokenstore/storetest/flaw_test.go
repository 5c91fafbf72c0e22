package storetest_test

import (
	"context"
	"strconv"
	"sync"
	"testing"

	"github.com/evergrant/evergrant/tokenstore"
)

// recount numbers the versions of a key from one, and begins anew when the key is deleted.
func recount(_ *testing.T, a *altered) {
	type state struct {
		value []byte
		n     int
	}
	var mu sync.Mutex
	states := make(map[string]state)
	number := func(s state) tokenstore.Version {
		if s.n == 0 {
			return ""
		}
		return tokenstore.Version(strconv.Itoa(s.n))
	}
	a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
		mu.Lock()
		defer mu.Unlock()
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		now := states[key]
		if number(now) != old {
			return "", tokenstore.ErrConflict
		}
		// The honest store below keeps the value for Keys and Wait.
		_, under, _ := a.honest.Load(ctx, key)
		if _, err := a.honest.Swap(ctx, key, under, value); err != nil {
			return "", err
		}
		if len(value) == 0 {
			delete(states, key)
			return "", nil
		}
		states[key] = state{value, now.n + 1}
		return number(states[key]), nil
	}
	a.load = func(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
		mu.Lock()
		defer mu.Unlock()
		value, _, err := a.honest.Load(ctx, key)
		return value, number(states[key]), err
	}
	a.wait = func(ctx context.Context, key string, not tokenstore.Version) error {
		mu.Lock()
		now, under := number(states[key]), tokenstore.Version("")
		if now != "" {
			_, under, _ = a.honest.Load(context.WithoutCancel(ctx), key)
		}
		mu.Unlock()
		if now != not {
			return ctx.Err()
		}
		return a.honest.Wait(ctx, key, under)
	}
}

// lengthIsVersion derives the version from too little of the value.
func lengthIsVersion(_ *testing.T, a *altered) {
	var mu sync.Mutex
	a.load = func(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
		value, version, err := a.honest.Load(ctx, key)
		if err == nil {
			version = tokenstore.Version(strconv.Itoa(len(value)))
		}
		return value, version, err
	}
	a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
		mu.Lock()
		defer mu.Unlock()
		if _, now, _ := a.load(ctx, key); now != old && ctx.Err() == nil {
			return "", tokenstore.ErrConflict
		}
		_, under, _ := a.honest.Load(ctx, key)
		if _, err := a.honest.Swap(ctx, key, under, value); err != nil || len(value) == 0 {
			return "", err
		}
		return tokenstore.Version(strconv.Itoa(len(value))), nil
	}
}

// sliced is a store that keeps values as they are given.
type sliced struct {
	mu     sync.Mutex
	values map[string][]byte
}

func (s *sliced) keep(key string, value []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values[key] = value
}

func (s *sliced) get(key string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.values[key]
}

// keepsPassed hands out copies of the very slice that a Swap was given.
func keepsPassed(_ *testing.T, a *altered) {
	kept := &sliced{values: make(map[string][]byte)}
	a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
		version, err := a.honest.Swap(ctx, key, old, value)
		if err == nil {
			kept.keep(string(version), value)
		}
		return version, err
	}
	a.load = func(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
		_, version, err := a.honest.Load(ctx, key)
		if err != nil {
			return nil, "", err
		}
		return append([]byte(nil), kept.get(string(version))...), version, nil
	}
}

// returnsOwn hands out the same slice at every Load.
func returnsOwn(_ *testing.T, a *altered) {
	kept := &sliced{values: make(map[string][]byte)}
	a.load = func(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
		value, version, err := a.honest.Load(ctx, key)
		if err != nil {
			return nil, "", err
		}
		if own := kept.get(string(version)); own != nil {
			return own, version, nil
		}
		kept.keep(string(version), value)
		return value, version, nil
	}
}

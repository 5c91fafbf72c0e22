package storetest_test

import (
	"bytes"
	"context"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

// A flaw makes a store break the clauses named, and no others.
type flaw struct {
	name   string
	clause []string
	spoil  func(testing.TB, *altered)
}

// without leaves out of broken the clause "concurrency" where it is not wanted: whether a flaw of the
// compare-and-swap, or of who owns a slice, also costs an update there is up to the scheduler.
func without(broken, wanted []string) []string {
	return slices.DeleteFunc(broken, func(clause string) bool {
		return clause == "concurrency" && !slices.Contains(wanted, clause)
	})
}

func (f flaw) open(t testing.TB) tokenstore.Store {
	a := &altered{honest: newHonest()}
	f.spoil(t, a)
	if a.probe == nil && a.until == nil && a.notify == nil {
		return struct { // what would break only with the rest is left out
			tokenstore.Store
			tokenstore.Lister
			tokenstore.Waiter
			tokenstore.Liveness
		}{a, a, a, a}
	}
	return a
}

// A store with one flaw fails the clauses that the flaw is against.
func TestBrokenStores(t *testing.T) {
	t.Parallel()
	for _, f := range flaws {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			broken, skipped := storetest.Broken(t, f.open, 3*time.Second)
			require.Subset(t, append(several[:5:5], abilities...), skipped)
			require.Equal(t, f.clause, without(broken, f.clause))
		})
	}
}

// Every clause has a store that breaks it.
func TestEveryClauseIsBroken(t *testing.T) {
	caught := make(map[string]bool)
	for _, f := range flaws {
		for _, clause := range f.clause {
			caught[clause] = true
		}
	}
	for _, f := range sharedFlaws {
		for _, clause := range f.clause {
			caught[clause] = true
		}
	}
	for _, clause := range storetest.Clauses() {
		require.True(t, caught[clause], "no broken store for the clause %q", clause)
	}
	require.Len(t, caught, len(storetest.Clauses()), "a flaw names a clause that does not exist")
}

// recount numbers the versions of a key from one, and begins anew when the key is deleted.
func recount(_ testing.TB, a *altered) {
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
func lengthIsVersion(_ testing.TB, a *altered) {
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
func keepsPassed(_ testing.TB, a *altered) {
	kept := &sliced{values: make(map[string][]byte)}
	a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
		version, err := a.honest.Swap(ctx, key, old, value)
		if err == nil {
			kept.keep(string(version), value)
		}
		return version, err
	}
	a.load = func(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
		value, version, err := a.honest.Load(ctx, key)
		if own := kept.get(string(version)); err == nil && own != nil {
			value = slices.Clone(own)
		}
		return value, version, err
	}
}

// returnsOwn hands out the same slice at every Load.
func returnsOwn(_ testing.TB, a *altered) {
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

// isMixed tells the values of the row that is written while contexts end and processes die.
func isMixed(value []byte) bool { return len(value) > 1000 && bytes.Count(value[:9], []byte("-")) > 0 }

// cutOff takes a moment, and reports whether ctx has ended by then.
func cutOff(ctx context.Context) bool {
	select {
	case <-ctx.Done():
	case <-time.After(10 * time.Millisecond):
	}
	return ctx.Err() != nil
}

// endsIf makes a SwapUntil that takes some times for past ones.
func (a *altered) endsIf(past func(until time.Time) bool) until {
	return func(ctx context.Context, key string, old tokenstore.Version, value []byte, until time.Time) (tokenstore.Version, error) {
		version, err := a.honest.Swap(ctx, key, old, value)
		if err == nil && len(value) > 0 && past(until) {
			_, _ = a.honest.Swap(ctx, key, version, nil)
		}
		return version, err
	}
}

// staysTimed forgets no time that a key was given.
func staysTimed(_ testing.TB, a *altered) {
	var times sync.Map
	a.until = func(ctx context.Context, key string, old tokenstore.Version, value []byte, until time.Time) (tokenstore.Version, error) {
		version, err := a.honest.Swap(ctx, key, old, value)
		if err == nil {
			times.Store(key, until)
		}
		return version, err
	}
	a.load = func(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
		if until, ok := times.Load(key); ok && !until.(time.Time).IsZero() && time.Now().After(until.(time.Time)) {
			_, version, _ := a.honest.Load(ctx, key)
			_, _ = a.honest.Swap(ctx, key, version, nil)
		}
		return a.honest.Load(ctx, key)
	}
}

// talks posts a notice at every Load.
func (a *altered) talks() {
	a.load = func(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
		a.honest.(*honest).Post(key, "somebody looks")
		return a.honest.Load(ctx, key)
	}
}

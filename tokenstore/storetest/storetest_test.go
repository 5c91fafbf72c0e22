package storetest_test

import (
	"context"
	"flag"
	"iter"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/internal/notice"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

func TestMain(m *testing.M) {
	_ = flag.Set("test.parallel", "4") // most of a broken store's time is waited; the command line may say otherwise
	goleak.VerifyTestMain(m)
}

// complete is a store with every ability.
type complete interface {
	tokenstore.Store
	tokenstore.Lister
	tokenstore.Waiter
	tokenstore.Liveness
	tokenstore.Prober
	tokenstore.Expirer
	tokenstore.Notifier
}

// honest is a store that keeps every clause, and the ground that the broken ones stand on.
type honest struct {
	*tokenstore.Memory
	notice.Board
	alive sync.Map
}

func newHonest() *honest { return &honest{Memory: tokenstore.NewMemory()} }

func (h *honest) Hold(_ context.Context, name string) (func(), error) {
	h.alive.Store(name, true)
	return func() { h.alive.Delete(name) }, nil
}

func (h *honest) Held(_ context.Context, name string) (bool, error) {
	_, held := h.alive.Load(name)
	return held, nil
}

func (h *honest) Probe(ctx context.Context) error { return ctx.Err() }

// SwapUntil lets go of nothing, which is allowed.
func (h *honest) SwapUntil(
	ctx context.Context, key string, old tokenstore.Version, value []byte, _ time.Time,
) (tokenstore.Version, error) {
	return h.Swap(ctx, key, old, value)
}

// plain hides the optional abilities of a store.
type plain struct{ tokenstore.Store }

// A second Run of the same test is told from the first, and a child goes no further.
func TestRunTwice(t *testing.T) {
	t.Parallel()
	for range 2 {
		storetest.Run(t, func(t testing.TB) tokenstore.Store { return newDisk(storetest.Place(t)) })
	}
	if os.Getenv("STORETEST_CHILD") != "" {
		t.Error("a child went on after Run")
	}
}

// The example keeps what its words promise.
func TestShelf(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t testing.TB) tokenstore.Store { return shelf{storetest.Place(t)} })
}

// abilities are the clauses that are checked only where the store has the ability, and several those that need a Place.
var (
	abilities = []string{
		"Keys", "Keys, ended context", "Wait", "Wait for another process", "Wait, ended context", "Hold", "Hold and death",
		"Probe", "Probe, ended context", "SwapUntil", "SwapUntil, then Swap", "Notify",
	}
	several = []string{
		"two stores", "two processes", "durable", "Wait for another process", "Hold and death",
	}
)

func TestHonestStores(t *testing.T) {
	for name, tt := range map[string]struct {
		open    func(testing.TB) tokenstore.Store
		skipped []string
	}{
		"all abilities, no place":  {func(testing.TB) tokenstore.Store { return newHonest() }, several},
		"no abilities, no place":   {func(testing.TB) tokenstore.Store { return plain{newHonest()} }, append(several[:3:3], abilities...)},
		"no abilities and a place": {func(t testing.TB) tokenstore.Store { return plain{newDisk(storetest.Place(t))} }, abilities},
		"all":                      {func(t testing.TB) tokenstore.Store { return newDisk(storetest.Place(t)) }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			broken, skipped := storetest.Broken(t, tt.open, 10*time.Second)
			require.Empty(t, broken)
			require.ElementsMatch(t, tt.skipped, skipped)
		})
	}
}

type (
	until func(ctx context.Context, key string, old tokenstore.Version, value []byte, until time.Time) (tokenstore.Version, error)

	load func(ctx context.Context, key string) ([]byte, tokenstore.Version, error)
	swap func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error)
)

// altered is an honest store but for the methods that are set.
type altered struct {
	honest complete
	load   load
	swap   swap
	keys   func(ctx context.Context, prefix string) iter.Seq2[string, error]
	wait   func(ctx context.Context, key string, not tokenstore.Version) error
	hold   func(ctx context.Context, name string) (release func(), err error)
	held   func(ctx context.Context, name string) (bool, error)

	probe  func(ctx context.Context) error
	until  until
	notify func(tell func(key, text string)) (stop func())
}

func (a *altered) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	if a.load != nil {
		return a.load(ctx, key)
	}
	return a.honest.Load(ctx, key)
}

func (a *altered) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	if a.swap != nil {
		return a.swap(ctx, key, old, value)
	}
	return a.honest.Swap(ctx, key, old, value)
}

func (a *altered) Keys(ctx context.Context, prefix string) iter.Seq2[string, error] {
	if a.keys != nil {
		return a.keys(ctx, prefix)
	}
	return a.honest.Keys(ctx, prefix)
}

func (a *altered) Wait(ctx context.Context, key string, not tokenstore.Version) error {
	if a.wait != nil {
		return a.wait(ctx, key, not)
	}
	return a.honest.Wait(ctx, key, not)
}

func (a *altered) Held(ctx context.Context, name string) (bool, error) {
	if a.held != nil {
		return a.held(ctx, name)
	}
	return a.honest.Held(ctx, name)
}

func (a *altered) Hold(ctx context.Context, name string) (release func(), err error) {
	if a.hold != nil {
		return a.hold(ctx, name)
	}
	return a.honest.Hold(ctx, name)
}

func (a *altered) Probe(ctx context.Context) error {
	if a.probe != nil {
		return a.probe(ctx)
	}
	return a.honest.Probe(ctx)
}

func (a *altered) SwapUntil(
	ctx context.Context, key string, old tokenstore.Version, value []byte, until time.Time,
) (tokenstore.Version, error) {
	if a.until != nil {
		return a.until(ctx, key, old, value, until)
	}
	return a.honest.SwapUntil(ctx, key, old, value, until)
}

func (a *altered) Notify(tell func(key, text string)) (stop func()) {
	if a.notify != nil {
		return a.notify(tell)
	}
	return a.honest.Notify(tell)
}

// renamed keeps every key under another name.
func (a *altered) renamed(name func(string) string) {
	a.load = func(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
		return a.honest.Load(ctx, name(key))
	}
	a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
		return a.honest.Swap(ctx, name(key), old, value)
	}
	a.wait = func(ctx context.Context, key string, not tokenstore.Version) error {
		return a.honest.Wait(ctx, name(key), not)
	}
}

// revalued changes every value on its way in.
func (a *altered) revalued(value func([]byte) []byte) {
	a.swap = func(ctx context.Context, key string, old tokenstore.Version, v []byte) (tokenstore.Version, error) {
		return a.honest.Swap(ctx, key, old, value(v))
	}
}

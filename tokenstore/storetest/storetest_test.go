package storetest_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// honest is a store that keeps every clause, and the ground that the broken ones stand on.
type honest struct {
	*tokenstore.Memory
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

// plain hides the optional abilities of a store.
type plain struct{ tokenstore.Store }

func TestHonestStores(t *testing.T) {
	storetest.Run(t, func(testing.TB) tokenstore.Store { return newHonest() })
	storetest.Run(t, func(testing.TB) tokenstore.Store { return plain{newHonest()} })

	broken, offered := storetest.Broken(t.Context(), newHonest(), 10*time.Second)
	require.Empty(t, broken)
	require.True(t, offered)
	broken, offered = storetest.Broken(t.Context(), plain{newHonest()}, 10*time.Second)
	require.Empty(t, broken)
	require.False(t, offered)
}

type (
	load func(ctx context.Context, key string) ([]byte, tokenstore.Version, error)
	swap func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error)
)

// altered is an honest store but for the methods that are set.
type altered struct {
	*honest
	load load
	swap swap
	keys func(ctx context.Context, prefix string) iter.Seq2[string, error]
	wait func(ctx context.Context, key string, not tokenstore.Version) error
	held func(ctx context.Context, name string) (bool, error)
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

// A flaw makes a store break the clauses named, and no others.
type flaw struct {
	name   string
	clause []string
	spoil  func(*testing.T, *altered)
}

var flaws = []flaw{
	{"absent is an error of its own", []string{
		"absent", "version of an absent key", "delete", "delete what is absent", "keys", "concurrency", "Wait",
	}, func(_ *testing.T, a *altered) {
		a.load = func(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
			value, version, err := a.honest.Load(ctx, key)
			if errors.Is(err, tokenstore.ErrNotFound) {
				err = errors.New("no such key")
			}
			return value, version, err
		}
	}},
	{"a new version at every look", []string{
		"create", "create twice", "replace", "stale version", "delete at a stale version", "version after deletion",
		"binary values", "sizes", "passed slices", "returned slices",
	}, func(_ *testing.T, a *altered) {
		a.load = func(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
			value, version, err := a.honest.Load(ctx, key)
			if err == nil {
				version += "+"
			}
			return value, version, err
		}
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			return a.honest.Swap(ctx, key, tokenstore.Version(strings.TrimRight(string(old), "+")), value)
		}
		a.wait = func(ctx context.Context, key string, not tokenstore.Version) error {
			return a.honest.Wait(ctx, key, tokenstore.Version(strings.TrimRight(string(not), "+")))
		}
	}},
	{"the zero Version overwrites", []string{"create twice"}, func(_ *testing.T, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			if _, version, err := a.honest.Load(ctx, key); err == nil && old == "" && len(value) > 0 && string(value) != "1" {
				old = version
			}
			return a.honest.Swap(ctx, key, old, value)
		}
	}},
	{"the last writer wins", []string{
		"stale version", "version after deletion", "one winner",
	}, func(_ *testing.T, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			_, version, err := a.honest.Load(ctx, key)
			if err == nil && old != "" && len(value) > 3 { // numbers keep their compare-and-swap
				old = version
			}
			return a.honest.Swap(ctx, key, old, value)
		}
	}},
	{"a version creates", []string{"version of an absent key", "version after deletion"}, func(_ *testing.T, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			if _, _, err := a.honest.Load(ctx, key); err != nil && ctx.Err() == nil && len(value) > 0 {
				old = ""
			}
			return a.honest.Swap(ctx, key, old, value)
		}
	}},
	{"values cannot be replaced", []string{
		"replace", "stale version", "delete at a stale version", "versions", "sizes", "concurrency", "one winner",
		"errors", "Wait",
	}, func(_ *testing.T, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			if old != "" && len(value) > 0 {
				if _, version, _ := a.honest.Load(ctx, key); version == old {
					return "", errors.New("full")
				}
			}
			return a.honest.Swap(ctx, key, old, value)
		}
	}},
	{"an empty slice is kept", []string{"delete", "Wait"}, func(_ *testing.T, a *altered) {
		a.revalued(func(v []byte) []byte {
			if v != nil && len(v) == 0 {
				return []byte{0}
			}
			return v
		})
	}},
	{"a deletion asks for no version", []string{"delete at a stale version"}, func(_ *testing.T, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			if _, version, err := a.honest.Load(ctx, key); err == nil && len(value) == 0 {
				old = version
			}
			return a.honest.Swap(ctx, key, old, value)
		}
	}},
	{"what is absent cannot be deleted", []string{"delete what is absent"}, func(_ *testing.T, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			if _, _, err := a.honest.Load(ctx, key); err != nil && len(value) == 0 {
				return "", tokenstore.ErrConflict
			}
			return a.honest.Swap(ctx, key, old, value)
		}
	}},
	{"versions count from one again after a deletion", []string{"version after deletion", "versions"}, recount},
	{"the length is the version", []string{"versions", "Wait"}, lengthIsVersion},
	{"keys without case", []string{"keys", "Keys"}, func(_ *testing.T, a *altered) { a.renamed(strings.ToLower) }},
	{"keys as paths", []string{"keys", "Keys"}, func(_ *testing.T, a *altered) {
		a.renamed(func(key string) string { return strings.ReplaceAll(key, `\`, "/") })
	}},
	{"keys as C strings", []string{"keys", "Keys"}, func(_ *testing.T, a *altered) {
		a.renamed(func(key string) string { before, _, _ := strings.Cut(key, "\x00"); return before })
	}},
	{"keys cut at 255 bytes", []string{"keys", "Keys"}, func(_ *testing.T, a *altered) {
		a.renamed(func(key string) string { return key[:min(len(key), 255)] })
	}},
	{"keys without spaces at the end", []string{"keys", "Keys"}, func(_ *testing.T, a *altered) {
		a.renamed(func(key string) string { return strings.TrimRight(key, " .") })
	}},
	{"keys of valid UTF-8", []string{"keys", "Keys"}, func(_ *testing.T, a *altered) {
		a.renamed(func(key string) string { return strings.ToValidUTF8(key, "\ufffd") })
	}},
	{"values are trimmed", []string{"binary values"}, func(_ *testing.T, a *altered) {
		a.revalued(func(v []byte) []byte {
			return []byte(strings.TrimSpace(string(v)))
		})
	}},
	{"values of valid UTF-8", []string{"binary values", "sizes"}, func(_ *testing.T, a *altered) {
		a.revalued(func(v []byte) []byte { return []byte(strings.ToValidUTF8(string(v), "?")) })
	}},
	{"values cut at 64 KiB", []string{"sizes"}, func(_ *testing.T, a *altered) {
		a.revalued(func(v []byte) []byte { return v[:min(len(v), 64<<10)] })
	}},
	{"the passed slice is kept", []string{"passed slices"}, keepsPassed},
	{"its own slice is returned", []string{"returned slices"}, returnsOwn},
	{"load and store without a lock", []string{"concurrency", "one winner"}, func(_ *testing.T, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			_, version, _ := a.honest.Load(ctx, key)
			if version != old {
				return a.honest.Swap(ctx, key, old, value)
			}
			time.Sleep(time.Millisecond)
			for {
				written, err := a.honest.Swap(ctx, key, version, value)
				if !errors.Is(err, tokenstore.ErrConflict) {
					return written, err
				}
				_, version, _ = a.honest.Load(ctx, key)
			}
		}
	}},
	{"a loser gets another error", []string{"one winner"}, func(_ *testing.T, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			version, err := a.honest.Swap(ctx, key, old, value)
			if errors.Is(err, tokenstore.ErrConflict) && strings.HasPrefix(string(value), "from ") {
				err = errors.New("database is locked")
			}
			return version, err
		}
	}},
	{"the context is not asked", []string{"ended context"}, func(_ *testing.T, a *altered) {
		a.load = func(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
			return a.honest.Load(context.WithoutCancel(ctx), key)
		}
	}},
	{"the context's error is lost", []string{"ended context"}, func(_ *testing.T, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			if ctx.Err() != nil {
				return "", errors.New("timeout")
			}
			return a.honest.Swap(ctx, key, old, value)
		}
	}},
	{"a call hangs", []string{"ended context"}, func(t *testing.T, a *altered) {
		end := make(chan struct{})
		t.Cleanup(func() { close(end) })
		a.load = func(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
			if ctx.Err() != nil {
				<-end
			}
			return a.honest.Load(ctx, key)
		}
	}},
	{"an error shows the value", []string{"errors"}, func(_ *testing.T, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			version, err := a.honest.Swap(ctx, key, old, value)
			if err != nil {
				err = fmt.Errorf("writing %q: %w", value, err)
			}
			return version, err
		}
	}},
	{"an error shows the version", []string{"errors"}, func(_ *testing.T, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			version, err := a.honest.Swap(ctx, key, tokenstore.Version(strings.TrimPrefix(string(old), "version-")), value)
			if err != nil {
				err = fmt.Errorf("at %s: %w", old, err)
			}
			if version != "" {
				version = "version-" + version
			}
			return version, err
		}
		a.load = func(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
			value, version, err := a.honest.Load(ctx, key)
			if err == nil {
				version = "version-" + version
			}
			return value, version, err
		}
		a.wait = func(ctx context.Context, key string, not tokenstore.Version) error {
			return a.honest.Wait(ctx, key, tokenstore.Version(strings.TrimPrefix(string(not), "version-")))
		}
	}},
	{"Keys yields all", []string{"Keys"}, func(_ *testing.T, a *altered) {
		a.keys = func(ctx context.Context, _ string) iter.Seq2[string, error] { return a.honest.Keys(ctx, "") }
	}},
	{"Keys yields none", []string{"Keys"}, func(_ *testing.T, a *altered) {
		a.keys = func(ctx context.Context, _ string) iter.Seq2[string, error] { return a.honest.Keys(ctx, "none") }
	}},
	{"Keys asks no context", []string{"Keys, ended context"}, func(_ *testing.T, a *altered) {
		a.keys = func(ctx context.Context, prefix string) iter.Seq2[string, error] {
			return a.honest.Keys(context.WithoutCancel(ctx), prefix)
		}
	}},
	{"Keys goes on after its error", []string{"Keys, ended context"}, func(_ *testing.T, a *altered) {
		a.keys = func(ctx context.Context, prefix string) iter.Seq2[string, error] {
			return func(yield func(string, error) bool) {
				if ctx.Err() == nil || yield("", ctx.Err()) {
					a.honest.Keys(context.WithoutCancel(ctx), prefix)(yield)
				}
			}
		}
	}},
	{"Wait sleeps through a change", []string{"Wait"}, func(_ *testing.T, a *altered) {
		a.wait = func(ctx context.Context, key string, not tokenstore.Version) error {
			<-ctx.Done()
			return ctx.Err()
		}
	}},
	{"Wait asks no context", []string{"Wait, ended context"}, func(t *testing.T, a *altered) {
		end := t.Context()
		a.wait = func(_ context.Context, key string, not tokenstore.Version) error {
			return a.honest.Wait(end, key, not)
		}
	}},
	{"nobody ever lives", []string{"Hold"}, func(_ *testing.T, a *altered) {
		a.held = func(context.Context, string) (bool, error) { return false, nil }
	}},
	{"everybody lives", []string{"Hold"}, func(_ *testing.T, a *altered) {
		a.held = func(context.Context, string) (bool, error) { return true, nil }
	}},
	{"strange names live", []string{"Hold"}, func(_ *testing.T, a *altered) {
		a.held = func(ctx context.Context, name string) (bool, error) {
			if strings.ContainsAny(name, "/.") {
				return true, nil
			}
			return a.honest.Held(ctx, name)
		}
	}},
}

// without leaves out of broken the clause "concurrency" where it is not wanted: whether a flaw of the
// compare-and-swap, or of who owns a slice, also costs an update there is up to the scheduler.
func without(broken, wanted []string) []string {
	return slices.DeleteFunc(broken, func(clause string) bool {
		return clause == "concurrency" && !slices.Contains(wanted, clause)
	})
}

// A store with one flaw fails the clauses that the flaw is against, and every clause has such a store.
func TestBrokenStores(t *testing.T) {
	caught := make(map[string]bool)
	for _, f := range flaws {
		for _, clause := range f.clause {
			caught[clause] = true
		}
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			store := &altered{honest: newHonest()}
			f.spoil(t, store)
			broken, offered := storetest.Broken(t.Context(), store, 500*time.Millisecond)
			require.True(t, offered)
			require.Equal(t, f.clause, without(broken, f.clause))
		})
	}
	for _, clause := range storetest.Clauses() {
		require.True(t, caught[clause], "no broken store for the clause %q", clause)
	}
	require.Len(t, caught, len(storetest.Clauses()), "a flaw names a clause that does not exist")
}

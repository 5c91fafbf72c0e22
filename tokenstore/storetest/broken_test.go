package storetest_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evergrant/evergrant/tokenstore"
)

var flaws = []flaw{
	{"absent is an error of its own", []string{
		"absent", "version of an absent key", "delete", "delete what is absent", "keys", "concurrency", "Wait",
	}, func(_ testing.TB, a *altered) {
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
		"binary values", "sizes", "passed slices", "returned slices", "in doubt",
	}, func(_ testing.TB, a *altered) {
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
	{"the zero Version overwrites", []string{"create twice"}, func(_ testing.TB, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			if _, version, err := a.honest.Load(ctx, key); err == nil && old == "" && len(value) > 0 && string(value) != "1" {
				old = version
			}
			return a.honest.Swap(ctx, key, old, value)
		}
	}},
	{"the last writer wins", []string{
		"stale version", "version after deletion", "one winner",
	}, func(_ testing.TB, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			_, version, err := a.honest.Load(ctx, key)
			if err == nil && old != "" && len(value) > 3 { // numbers keep their compare-and-swap
				old = version
			}
			return a.honest.Swap(ctx, key, old, value)
		}
	}},
	{"a version creates", []string{"version of an absent key", "version after deletion"}, func(_ testing.TB, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			if _, _, err := a.honest.Load(ctx, key); err != nil && ctx.Err() == nil && len(value) > 0 {
				old = ""
			}
			return a.honest.Swap(ctx, key, old, value)
		}
	}},
	{"values cannot be replaced", []string{
		"replace", "stale version", "delete at a stale version", "versions", "sizes", "concurrency", "one winner",
		"deadlines", "in doubt", "errors", "Wait",
	}, func(_ testing.TB, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			if old != "" && len(value) > 0 {
				if _, version, _ := a.honest.Load(ctx, key); version == old {
					return "", errors.New("full")
				}
			}
			return a.honest.Swap(ctx, key, old, value)
		}
	}},
	{"an empty slice is kept", []string{"delete", "Wait"}, func(_ testing.TB, a *altered) {
		a.revalued(func(v []byte) []byte {
			if v != nil && len(v) == 0 {
				return []byte{0}
			}
			return v
		})
	}},
	{"a deletion asks for no version", []string{"delete at a stale version"}, func(_ testing.TB, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			if _, version, err := a.honest.Load(ctx, key); err == nil && len(value) == 0 {
				old = version
			}
			return a.honest.Swap(ctx, key, old, value)
		}
	}},
	{"what is absent cannot be deleted", []string{"delete what is absent"}, func(_ testing.TB, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			if _, _, err := a.honest.Load(ctx, key); err != nil && len(value) == 0 {
				return "", tokenstore.ErrConflict
			}
			return a.honest.Swap(ctx, key, old, value)
		}
	}},
	{"versions count from one again after a deletion", []string{"version after deletion", "versions"}, recount},
	{"the length is the version", []string{"versions", "Wait"}, lengthIsVersion},
	{"keys without case", []string{"keys", "Keys"}, func(_ testing.TB, a *altered) { a.renamed(strings.ToLower) }},
	{"keys as paths", []string{"keys", "Keys"}, func(_ testing.TB, a *altered) {
		a.renamed(func(key string) string { return strings.ReplaceAll(key, `\`, "/") })
	}},
	{"keys as C strings", []string{"keys", "Keys"}, func(_ testing.TB, a *altered) {
		a.renamed(func(key string) string { before, _, _ := strings.Cut(key, "\x00"); return before })
	}},
	{"keys cut at 255 bytes", []string{"keys", "Keys"}, func(_ testing.TB, a *altered) {
		a.renamed(func(key string) string { return key[:min(len(key), 255)] })
	}},
	{"keys without spaces at the end", []string{"keys", "Keys"}, func(_ testing.TB, a *altered) {
		a.renamed(func(key string) string { return strings.TrimRight(key, " .") })
	}},
	{"keys of valid UTF-8", []string{"keys", "Keys"}, func(_ testing.TB, a *altered) {
		a.renamed(func(key string) string { return strings.ToValidUTF8(key, "\ufffd") })
	}},
	{"values are trimmed", []string{"binary values"}, func(_ testing.TB, a *altered) {
		a.revalued(func(v []byte) []byte {
			return []byte(strings.TrimSpace(string(v)))
		})
	}},
	{"values of valid UTF-8", []string{"binary values", "sizes"}, func(_ testing.TB, a *altered) {
		a.revalued(func(v []byte) []byte { return []byte(strings.ToValidUTF8(string(v), "?")) })
	}},
	{"values cut at 64 KiB", []string{"sizes"}, func(_ testing.TB, a *altered) {
		a.revalued(func(v []byte) []byte { return v[:min(len(v), 64<<10)] })
	}},
	{"the passed slice is kept", []string{"passed slices"}, keepsPassed},
	{"its own slice is returned", []string{"returned slices"}, returnsOwn},
	{"load and store without a lock", []string{"concurrency", "one winner"}, func(_ testing.TB, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			_, version, _ := a.honest.Load(ctx, key)
			if version != old {
				return a.honest.Swap(ctx, key, old, value)
			}
			time.Sleep(20 * time.Millisecond) // long enough that the others come, also on a busy machine
			for {
				written, err := a.honest.Swap(ctx, key, version, value)
				if !errors.Is(err, tokenstore.ErrConflict) {
					return written, err
				}
				_, version, _ = a.honest.Load(ctx, key)
			}
		}
	}},
	{"a loser gets another error", []string{"one winner"}, func(_ testing.TB, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			version, err := a.honest.Swap(ctx, key, old, value)
			if errors.Is(err, tokenstore.ErrConflict) && strings.HasPrefix(string(value), "from ") {
				err = errors.New("database is locked")
			}
			return version, err
		}
	}},
	{"the context is not asked", []string{"ended context"}, func(_ testing.TB, a *altered) {
		a.load = func(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
			return a.honest.Load(context.WithoutCancel(ctx), key)
		}
	}},
	{"the context's error is lost", []string{"ended context"}, func(_ testing.TB, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			if ctx.Err() != nil && !isMixed(value) {
				return "", errors.New("timeout")
			}
			return a.honest.Swap(ctx, key, old, value)
		}
	}},
	{"a call hangs", []string{"ended context", "deadlines"}, func(t testing.TB, a *altered) {
		end := make(chan struct{})
		t.Cleanup(func() { close(end) })
		a.load = func(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
			if ctx.Err() != nil {
				<-end
			}
			return a.honest.Load(ctx, key)
		}
	}},
	{"an error shows the value", []string{"errors"}, func(_ testing.TB, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			version, err := a.honest.Swap(ctx, key, old, value)
			if err != nil {
				err = fmt.Errorf("writing %q: %w", value, err)
			}
			return version, err
		}
	}},
	{"an error shows the version", []string{"errors"}, func(_ testing.TB, a *altered) {
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
	{"Keys yields all", []string{"Keys"}, func(_ testing.TB, a *altered) {
		a.keys = func(ctx context.Context, _ string) iter.Seq2[string, error] { return a.honest.Keys(ctx, "") }
	}},
	{"Keys yields none", []string{"Keys"}, func(_ testing.TB, a *altered) {
		a.keys = func(ctx context.Context, _ string) iter.Seq2[string, error] { return a.honest.Keys(ctx, "none") }
	}},
	{"Keys asks no context", []string{"Keys, ended context"}, func(_ testing.TB, a *altered) {
		a.keys = func(ctx context.Context, prefix string) iter.Seq2[string, error] {
			return a.honest.Keys(context.WithoutCancel(ctx), prefix)
		}
	}},
	{"Keys goes on after its error", []string{"Keys, ended context"}, func(_ testing.TB, a *altered) {
		a.keys = func(ctx context.Context, prefix string) iter.Seq2[string, error] {
			return func(yield func(string, error) bool) {
				if ctx.Err() == nil || yield("", ctx.Err()) {
					a.honest.Keys(context.WithoutCancel(ctx), prefix)(yield)
				}
			}
		}
	}},
	{"Wait sleeps through a change", []string{"Wait"}, func(_ testing.TB, a *altered) {
		a.wait = func(ctx context.Context, key string, not tokenstore.Version) error {
			<-ctx.Done()
			return ctx.Err()
		}
	}},
	{"Wait asks no context", []string{"Wait, ended context"}, func(t testing.TB, a *altered) {
		end := t.Context()
		a.wait = func(_ context.Context, key string, not tokenstore.Version) error {
			return a.honest.Wait(end, key, not)
		}
	}},
	{"Probe leaves a key behind", []string{"Probe"}, func(_ testing.TB, a *altered) {
		a.probe = func(ctx context.Context) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			_, err := a.honest.Swap(ctx, "probe-"+rand.Text(), "", []byte("v"))
			return err
		}
	}},
	{"Probe refuses what works", []string{"Probe"}, func(_ testing.TB, a *altered) {
		a.probe = func(ctx context.Context) error {
			return cmp.Or(ctx.Err(), errors.New("no keychain here"))
		}
	}},
	{"Probe asks no context", []string{"Probe, ended context"}, func(_ testing.TB, a *altered) {
		a.probe = func(context.Context) error { return nil }
	}},
	{"the zero time is long ago", []string{"SwapUntil"}, func(_ testing.TB, a *altered) {
		a.until = a.endsIf(func(until time.Time) bool { return time.Now().After(until) })
	}},
	{"a century is too long", []string{"SwapUntil"}, func(_ testing.TB, a *altered) {
		a.until = a.endsIf(func(until time.Time) bool { return time.Until(until) > 50*365*24*time.Hour })
	}},
	{"SwapUntil compares nothing", []string{"SwapUntil"}, func(_ testing.TB, a *altered) {
		a.until = func(ctx context.Context, key string, _ tokenstore.Version, value []byte, _ time.Time) (tokenstore.Version, error) {
			_, version, _ := a.honest.Load(ctx, key)
			return a.honest.Swap(ctx, key, version, value)
		}
	}},
	{"a time once given stays", []string{"SwapUntil, then Swap"}, staysTimed},
	{"stop stops nothing", []string{"Notify"}, func(_ testing.TB, a *altered) {
		a.talks()
		a.notify = func(tell func(key, text string)) func() {
			a.honest.Notify(tell)
			return func() {}
		}
	}},
	{"there is no stop", []string{"Notify"}, func(_ testing.TB, a *altered) {
		a.notify = func(func(key, text string)) func() { return nil }
	}},
	{"a call takes its time to give up", []string{"deadlines"}, func(_ testing.TB, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			// Longer than a busy machine stands still, and only for the value of this clause.
			if bytes.HasPrefix(value, []byte("1-")) && cutOff(ctx) {
				time.Sleep(2 * time.Second)
			}
			return a.honest.Swap(ctx, key, old, value)
		}
	}},
	{"a driver's own error for a context that ends", []string{"deadlines", "in doubt"}, func(_ testing.TB, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			if isMixed(value) && cutOff(ctx) {
				return "", errors.New("canceling statement due to user request")
			}
			return a.honest.Swap(ctx, key, old, value)
		}
	}},
	{"a Swap that was given up comes late", []string{"in doubt"}, func(t testing.TB, a *altered) {
		var late sync.WaitGroup
		t.Cleanup(late.Wait)
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			if !isMixed(value) || !cutOff(ctx) {
				return a.honest.Swap(ctx, key, old, value)
			}
			late.Go(func() {
				time.Sleep(40 * time.Millisecond)
				_, version, _ := a.honest.Load(context.WithoutCancel(ctx), key)
				_, _ = a.honest.Swap(context.WithoutCancel(ctx), key, version, value)
			})
			return "", ctx.Err()
		}
	}},
	{"half of what was given up is written", []string{"in doubt"}, func(_ testing.TB, a *altered) {
		a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
			if !isMixed(value) || bytes.HasPrefix(value, []byte("1-")) || !cutOff(ctx) {
				return a.honest.Swap(ctx, key, old, value)
			}
			_, _ = a.honest.Swap(context.WithoutCancel(ctx), key, old, value[:len(value)/2])
			return "", ctx.Err()
		}
	}},
	{"nobody ever lives", []string{"Hold"}, func(_ testing.TB, a *altered) {
		a.held = func(context.Context, string) (bool, error) { return false, nil }
	}},
	{"everybody lives", []string{"Hold"}, func(_ testing.TB, a *altered) {
		a.held = func(context.Context, string) (bool, error) { return true, nil }
	}},
	{"strange names live", []string{"Hold"}, func(_ testing.TB, a *altered) {
		a.held = func(ctx context.Context, name string) (bool, error) {
			if strings.ContainsAny(name, "/.") {
				return true, nil
			}
			return a.honest.Held(ctx, name)
		}
	}},
}

package storetest_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

// A sharedFlaw makes stores over one place break the clauses named, and no others.
type sharedFlaw struct {
	name   string
	clause []string
	spoil  func(t testing.TB, d *disk, a *altered)
}

// ofThisProcess is a lock that no other process knows.
var ofThisProcess = make(chan struct{}, 1)

var sharedFlaws = []sharedFlaw{
	{"a lock that outlives its holder", []string{"durable"}, func(_ testing.TB, d *disk, _ *altered) {
		d.lock = d.exclusive
		d.write = func(value, data []byte) error {
			invite(value)
			return d.replace(value, data)
		}
	}},
	{"a lock for each store", []string{"two stores", "two processes"}, func(_ testing.TB, d *disk, _ *altered) {
		d.lock = within(make(chan struct{}, 1))
	}},
	{"a lock for each process", []string{"two processes"}, func(_ testing.TB, d *disk, _ *altered) {
		d.lock = within(ofThisProcess)
	}},
	{"reads are remembered", []string{"two stores", "two processes", "Wait for another process"}, remembers},
	{"written in place", []string{"durable"}, func(_ testing.TB, d *disk, _ *altered) {
		d.write = func(value, data []byte) error {
			if err := os.WriteFile(d.path, data[:len(data)/2], 0o600); err != nil {
				return err
			}
			invite(value)
			return os.WriteFile(d.path, data, 0o600)
		}
	}},
	{"success before the write", []string{"durable"}, func(t testing.TB, d *disk, _ *altered) {
		var late sync.WaitGroup
		t.Cleanup(late.Wait)
		d.behind = func(value []byte, flush func()) {
			value = slices.Clone(value)
			late.Go(func() {
				invite(value)
				flush()
			})
		}
	}},
	{"a sign of life that outlives its holder", []string{"Hold and death"}, func(_ testing.TB, d *disk, a *altered) {
		sign := func(name string) string { return filepath.Join(filepath.Dir(d.path), "sign-"+name) }
		a.hold = func(_ context.Context, name string) (func(), error) {
			return func() { _ = os.Remove(sign(name)) }, os.WriteFile(sign(name), nil, 0o600)
		}
		a.held = func(ctx context.Context, name string) (bool, error) {
			if _, err := d.Held(ctx, name); err != nil {
				return false, err
			}
			_, err := os.Stat(sign(name))
			return err == nil, nil
		}
	}},
	{"signs of life within the process", []string{"Hold and death"}, func(_ testing.TB, _ *disk, a *altered) {
		memory := newHonest()
		a.hold, a.held = memory.Hold, memory.Held
	}},
	{"Wait within the process", []string{"Wait for another process"}, waitsWithin},
	{"versions begin anew after a time", []string{"SwapUntil"}, func(_ testing.TB, d *disk, _ *altered) {
		d.forgets = true
	}},
}

// invite gives death an opportunity where it is dealt out.
func invite(value []byte) {
	if isMixed(value) {
		time.Sleep(60 * time.Millisecond)
	}
}

// within makes a lock of a channel that is full while it is taken.
func within(taken chan struct{}) func(context.Context) (func(), error) {
	return func(ctx context.Context) (func(), error) {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		select {
		case taken <- struct{}{}:
			return func() { <-taken }, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// exclusive is a lock that is a file.
func (d *disk) exclusive(ctx context.Context) (func(), error) {
	for ctx.Err() == nil {
		f, err := os.OpenFile(d.path+".lock", os.O_CREATE|os.O_EXCL, 0o600)
		if err == nil {
			return func() { _ = os.Remove(f.Name()) }, f.Close()
		}
		if !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		time.Sleep(time.Millisecond)
	}
	return nil, ctx.Err()
}

// remembers reads a key once.
func remembers(_ testing.TB, _ *disk, a *altered) {
	type seen struct {
		value   []byte
		version tokenstore.Version
		err     error
	}
	lock := within(make(chan struct{}, 1))
	known := make(map[string]seen)
	a.load = func(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
		release, err := lock(ctx)
		if err != nil {
			return nil, "", err
		}
		defer release()
		s, ok := known[key]
		if !ok {
			s.value, s.version, s.err = a.honest.Load(ctx, key)
			if s.err == nil || errors.Is(s.err, tokenstore.ErrNotFound) {
				known[key] = s
			}
		}
		return slices.Clone(s.value), s.version, s.err
	}
	a.until = func(ctx context.Context, key string, old tokenstore.Version, value []byte, until time.Time) (tokenstore.Version, error) {
		release, err := lock(ctx)
		if err != nil {
			return "", err
		}
		defer release()
		version, err := a.honest.SwapUntil(ctx, key, old, value, until)
		if err == nil {
			delete(known, key)
		}
		return version, err
	}
	a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
		return a.until(ctx, key, old, value, time.Time{})
	}
}

// waitsWithin is woken by the store's own Swaps.
func waitsWithin(_ testing.TB, d *disk, a *altered) {
	var mu sync.Mutex
	changed := make(chan struct{})
	a.swap = func(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
		version, err := d.Swap(ctx, key, old, value)
		mu.Lock()
		defer mu.Unlock()
		close(changed)
		changed = make(chan struct{})
		return version, err
	}
	a.wait = func(ctx context.Context, key string, not tokenstore.Version) error {
		mu.Lock()
		change := changed
		mu.Unlock()
		_, version, err := d.Load(ctx, key)
		if version != not || err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
			return ctx.Err()
		}
		select {
		case <-change:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func TestBrokenSharedStores(t *testing.T) {
	t.Parallel()
	for _, f := range sharedFlaws {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			broken, skipped := storetest.Broken(t, f.open, 3*time.Second)
			require.Empty(t, skipped)
			require.Equal(t, f.clause, without(broken, f.clause))
		})
	}
}

func (f sharedFlaw) open(t testing.TB) tokenstore.Store {
	d := newDisk(storetest.Place(t))
	a := &altered{honest: d}
	f.spoil(t, d, a)
	return a
}

// spoiltEnv, when set, has TestSpoilt check a broken store, and fail.
const spoiltEnv = "STORETEST_SPOILT"

func TestSpoilt(t *testing.T) {
	i, err := strconv.Atoi(os.Getenv(spoiltEnv))
	if err != nil {
		t.Skip("TestRunTells runs it")
	}
	if i >= 0 {
		storetest.Run(t, sharedFlaws[i].open)
		return
	}
	storetest.Run(t, func(t testing.TB) tokenstore.Store {
		if os.Getenv("STORETEST_CHILD") != "" {
			t.Fatal("no disk for a second process")
		}
		return newDisk(storetest.Place(t))
	})
}

// Run says which rule is broken, and what another process has to say of it.
func TestRunTells(t *testing.T) {
	t.Parallel()
	lockEach := slices.IndexFunc(sharedFlaws, func(f sharedFlaw) bool { return f.name == "a lock for each process" })
	for name, tt := range map[string]struct {
		spoilt int
		failed []string
		says   []string
	}{
		"a broken store": {lockEach, []string{"two_processes"}, []string{
			"Two Stores opened over one place in several processes behave as one.", "updates, of which",
		}},
		"a store that another process cannot open": {-1, []string{
			"two_processes", "deadlines", "durable", "Wait_for_another_process", "Hold_and_death",
		}, []string{"has not opened the store: the other process has ended: exit status 1", "no disk for a second process"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestSpoilt$")
			cmd.Env = append(os.Environ(), spoiltEnv+"="+strconv.Itoa(tt.spoilt))
			out, err := cmd.CombinedOutput()
			exit := new(exec.ExitError)
			require.ErrorAs(t, err, &exit)
			var failed []string
			for _, match := range regexp.MustCompile(`(?m)^    --- FAIL: TestSpoilt/(\S+)`).FindAllSubmatch(out, -1) {
				failed = append(failed, string(match[1]))
			}
			require.Equal(t, tt.failed, failed, "%s", out)
			for _, words := range tt.says {
				require.Contains(t, string(out), words)
			}
		})
	}
}

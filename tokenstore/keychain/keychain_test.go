package keychain_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/keychain"
	"github.com/evergrant/evergrant/tokenstore/seal"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

var _ seal.KeySource = (*keychain.Store)(nil)

func TestContract(t *testing.T) {
	t.Run("short items", func(t *testing.T) {
		storetest.Run(t, func(t testing.TB) tokenstore.Store {
			return on(t, newFake(), systems["Windows"].platform, t.TempDir())
		})
	})
	t.Run("go-keyring", func(t *testing.T) {
		keyring.MockInit() // for the whole process: no test of this package may reach a real keychain
		var mock sync.Mutex
		storetest.Run(t, func(t testing.TB) tokenstore.Store {
			s, err := keychain.New("test", keychain.Options{Dir: t.TempDir()})
			require.NoError(t, err)
			return keychain.Through(s, func(r keychain.Ring) keychain.Ring { return &inTurn{r, &mock} })
		})
	})
}

// inTurn is a keychain that takes one access at a time, as real ones do and go-keyring's mock does not: a call that one store
// has left behind meets those of the next.
type inTurn struct {
	keychain.Ring
	turn *sync.Mutex
}

func (r *inTurn) Get(service, user string) (string, error) {
	r.turn.Lock()
	defer r.turn.Unlock()
	return r.Ring.Get(service, user)
}

func (r *inTurn) Set(service, user, text string) error {
	r.turn.Lock()
	defer r.turn.Unlock()
	return r.Ring.Set(service, user, text)
}

func (r *inTurn) Delete(service, user string) error {
	r.turn.Lock()
	defer r.turn.Unlock()
	return r.Ring.Delete(service, user)
}

func TestNewRefuses(t *testing.T) {
	for name, service := range map[string]string{
		"empty": "", "NUL": "a\x00", "newline": "a\nb", "no UTF-8": "\xff", "long": strings.Repeat("a", 129),
	} {
		t.Run(name, func(t *testing.T) {
			s, err := keychain.New(service, keychain.Options{Dir: t.TempDir()})
			require.Error(t, err)
			require.Nil(t, s)
		})
	}
}

func TestNewWithoutAHome(t *testing.T) {
	for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "AppData"} {
		t.Setenv(name, "")
	}
	_, err := keychain.New("test", keychain.Options{})
	require.Error(t, err)
	_, err = keychain.New("test", keychain.Options{Dir: t.TempDir()})
	require.NoError(t, err)
}

// noise is a value that cannot be compressed.
func noise(n int) []byte {
	value := make([]byte, n)
	_, _ = rand.Read(value)
	return value
}

func swap(t testing.TB, s *keychain.Store, key string, old tokenstore.Version, value []byte) tokenstore.Version {
	t.Helper()
	version, err := s.Swap(t.Context(), key, old, value)
	require.NoError(t, err)
	return version
}

func TestItems(t *testing.T) {
	f := newFake()
	s := over(t, f, t.TempDir())
	version := swap(t, s, "k", "", noise(1600))
	require.Equal(t, 1, f.users(), "what fits lies in one item")
	version = swap(t, s, "k", version, noise(10_000))
	require.Equal(t, 1+6, f.users())
	version = swap(t, s, "k", version, noise(5_000))
	require.Equal(t, 1+3, f.users(), "the parts of the former grant are gone")
	version = swap(t, s, "k", version, bytes.Repeat([]byte("token "), 1000))
	require.Equal(t, 1, f.users(), "what can be compressed is")
	version = swap(t, s, "k", version, noise(5_000))
	swap(t, s, "k", version, nil)
	require.Zero(t, f.users(), "nothing is left of a deleted grant")
}

// What a Swap needs of the keychain is one read and one write, whatever the grant was before.
func TestShortGrantCostsOneReadAndOneWrite(t *testing.T) {
	f := newFake()
	s := over(t, f, t.TempDir())
	version := swap(t, s, "k", "", noise(10_000))
	version = swap(t, s, "k", version, noise(5_000))
	for range 2 { // the second finds what the first has left
		version = swap(t, s, "k", version, []byte("v"))
	}
	var operations []string
	f.trouble = func(operation, user string) error {
		operations = append(operations, operation+" "+user)
		return nil
	}
	for range 3 {
		swap(t, s, "k", version, []byte("v"))
		_, now, err := s.Load(t.Context(), "k")
		require.NoError(t, err)
		version = now
		require.Equal(t, []string{"get grant-k", "set grant-k", "get grant-k"}, operations)
		operations = nil
	}
}

func TestSecretsOfOthersAreNotTouched(t *testing.T) {
	f := newFake()
	dir := t.TempDir()
	mine := over(t, f, dir)
	theirs, err := keychain.NewOn(f, keychain.Platform{Limit: keychain.ShortLimit}, "theirs", dir)
	require.NoError(t, err)
	version := swap(t, theirs, "k", "", noise(5_000))
	swap(t, mine, "k", swap(t, mine, "k", "", noise(5_000)), nil)
	_, again, err := theirs.Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, version, again)
}

// A process that dies at any moment leaves the former grant or the new one, and the next Swap leaves no
// parts behind.
func TestDeathAtEveryOperation(t *testing.T) {
	small := noise(100)
	large := func(system string) []byte { return noise(systems[system].platform.Limit * 3 / 2) } // two parts
	for system := range systems {
		for name, c := range map[string]struct{ before, after []byte }{
			"large to large": {large(system), large(system)},
			"large to small": {large(system), small},
			"small to large": {small, large(system)},
			"small to small": {small, noise(100)},
			"none to large":  {nil, large(system)},
			"none to small":  {nil, small},
			"large to none":  {large(system), nil},
			"small to none":  {small, nil},
		} {
			for _, late := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/after its effect %v", system, name, late), func(t *testing.T) {
					for at := 1; !dieAt(t, system, at, late, c.before, c.after); at++ {
					}
				})
			}
		}
	}
}

// dieAt has a process die in its operation number at, before it has an effect or after. It reports
// whether the process came through.
func dieAt(t *testing.T, system string, at int, late bool, before, after []byte) bool {
	f, dir := newFake(), t.TempDir()
	f.takes = systems[system].takes
	s := on(t, f, systems[system].platform, dir)
	old := swap(t, s, "k", "", before)
	n := 0
	f.trouble = func(string, string) error {
		if n++; n > at || n == at && !late {
			return errCut
		}
		return nil
	}
	f.aftermath = func(string, string) error {
		if n >= at {
			return errCut
		}
		return nil
	}
	_, swapped := s.Swap(t.Context(), "k", old, after)
	f.trouble, f.aftermath = nil, nil

	s = on(t, f, systems[system].platform, dir)
	value, version, err := s.Load(t.Context(), "k")
	if errors.Is(err, tokenstore.ErrNotFound) {
		err = nil
	}
	require.NoError(t, err, "cut at operation %d", at)
	if swapped == nil || !bytes.Equal(value, before) {
		require.Equal(t, string(after), string(value), "cut at operation %d", at)
	}
	keys, err := list(t, s, "")
	require.NoError(t, err)
	require.Equal(t, version != "", len(keys) == 1, "cut at operation %d: %q", at, keys)
	version = swap(t, s, "k", version, []byte("small"))
	require.Equal(t, 1, f.users(), "cut at operation %d: parts are left", at)
	swap(t, s, "k", version, nil)
	require.Zero(t, f.all())
	return n < at
}

func TestDamage(t *testing.T) {
	const user = "test:grant-k"
	for name, damage := range map[string]func(map[string]string){
		"head is empty":     func(i map[string]string) { i[user] = "" },
		"head is no JSON":   func(i map[string]string) { i[user] = "SECRET" },
		"head is other":     func(i map[string]string) { i[user] = `{"token":"SECRET"}` },
		"no version":        func(i map[string]string) { i[user] = strings.Replace(i[user], `"version"`, `"vorsion"`, 1) },
		"part is missing":   func(i map[string]string) { delete(i, user+"#a1") },
		"part is not whole": func(i map[string]string) { i[user+"#a1"] = i[user+"#a1"][4:] },
		"part is no base64": func(i map[string]string) { i[user+"#a1"] = "SECRET?" },
		"a letter changes": func(i map[string]string) {
			i[user+"#a1"] = i[user+"#a1"][:100] + another(i[user+"#a1"][100:101]) + i[user+"#a1"][101:]
		},
		"parts change": func(i map[string]string) { i[user+"#a0"], i[user+"#a1"] = i[user+"#a1"], i[user+"#a0"] },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			s := over(t, f, t.TempDir())
			version := swap(t, s, "k", "", noise(5_000))
			damage(f.items)
			before := fmt.Sprint(f.items)
			_, _, err := s.Load(t.Context(), "k")
			require.ErrorIs(t, err, tokenstore.ErrDamaged)
			require.NotContains(t, err.Error(), "SECRET")
			for _, old := range []tokenstore.Version{"", version} {
				for _, value := range [][]byte{nil, []byte("v")} {
					_, err := s.Swap(t.Context(), "k", old, value)
					require.ErrorIs(t, err, tokenstore.ErrDamaged)
				}
			}
			require.Equal(t, before, fmt.Sprint(f.items))
		})
	}
}

// another returns a letter of base64 other than letter.
func another(letter string) string {
	if letter == "A" {
		return "B"
	}
	return "A"
}

func TestGrantOfANewerProgram(t *testing.T) {
	f := newFake()
	f.items["test:grant-k"] = `{"evergrant":2,"who":"knows"}`
	s := over(t, f, t.TempDir())
	_, _, err := s.Load(t.Context(), "k")
	require.Error(t, err)
	require.NotErrorIs(t, err, tokenstore.ErrDamaged)
	_, err = s.Swap(t.Context(), "k", "", []byte("v"))
	require.Error(t, err)
	require.JSONEq(t, `{"evergrant":2,"who":"knows"}`, f.items["test:grant-k"])
}

// Reading without the lock may meet a Swap: the parts that the head named are gone then.
func TestLoadDuringASwap(t *testing.T) {
	f, dir := newFake(), t.TempDir()
	reader, writer := over(t, f, dir), over(t, f, dir)
	version := swap(t, writer, "k", "", noise(4_000))
	var met bool
	want := noise(5_000)
	f.trouble = func(operation, user string) error {
		if user == "grant-k#a1" && !met {
			met = true
			version = swap(t, writer, "k", version, want)
		}
		return nil
	}
	value, at, err := reader.Load(t.Context(), "k")
	require.NoError(t, err)
	require.True(t, met)
	require.Equal(t, version, at)
	require.Equal(t, want, value)
}

// forgetful is a keychain whose writes are lost without an error.
type forgetful struct{ *fake }

func (f forgetful) Set(string, string, string) error { return nil }

func TestWriteThatIsNotKept(t *testing.T) {
	f, dir := newFake(), t.TempDir()
	version := swap(t, over(t, f, dir), "k", "", []byte("v"))
	s := on(t, forgetful{f}, systems["macOS"].platform, dir)
	_, err := s.Swap(t.Context(), "k", version, []byte("w"))
	require.Error(t, err)
	require.NotErrorIs(t, err, tokenstore.ErrConflict)
	_, err = s.Key(t.Context(), true)
	require.Error(t, err)
}

func TestKey(t *testing.T) {
	f, dir := newFake(), t.TempDir()
	s := over(t, f, dir)
	key, err := s.Key(t.Context(), false)
	require.NoError(t, err)
	require.Nil(t, key)
	require.Zero(t, f.users())
	key, err = s.Key(t.Context(), true)
	require.NoError(t, err)
	require.Len(t, key, 32)
	want := bytes.Clone(key)
	clear(key)

	f.trouble = func(string, string) error { return errCut }
	key, err = s.Key(t.Context(), true)
	require.NoError(t, err, "the keychain is asked once")
	require.Equal(t, want, key)
	f.trouble = nil
	key, err = over(t, f, dir).Key(t.Context(), false)
	require.NoError(t, err)
	require.Equal(t, want, key)
}

func TestKeyIsMadeOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, dir := newFake(), t.TempDir()
		f.trouble = func(operation, _ string) error {
			if operation == opSet {
				time.Sleep(time.Second) // all others have looked by then, unless something holds them up
			}
			return nil
		}
		keys := make([][]byte, 8)
		var group sync.WaitGroup
		for i := range keys {
			s := over(t, f, dir) // as another process
			group.Go(func() {
				var err error
				if keys[i], err = s.Key(t.Context(), true); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		for _, key := range keys {
			require.Equal(t, keys[0], key)
		}
	})
}

func TestDamagedKeyIsNotReplaced(t *testing.T) {
	f := newFake()
	f.items["test:file-key"] = "c2hvcnQ="
	_, err := over(t, f, t.TempDir()).Key(t.Context(), true)
	require.ErrorIs(t, err, tokenstore.ErrDamaged)
	require.Equal(t, "c2hvcnQ=", f.items["test:file-key"])
}

func TestFilesSealedByTheKeychain(t *testing.T) {
	f, locks, dir := newFake(), t.TempDir(), filepath.Join(t.TempDir(), "grants")
	first, err := file.New(dir, file.Options{Key: over(t, f, locks)})
	require.NoError(t, err)
	_, err = first.Swap(t.Context(), "k", "", []byte("v"))
	require.NoError(t, err)
	second, err := file.New(dir, file.Options{Key: over(t, f, locks)})
	require.NoError(t, err)
	value, _, err := second.Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "v", string(value))

	clear(f.items)
	third, err := file.New(dir, file.Options{Key: over(t, f, locks)})
	require.NoError(t, err)
	_, _, err = third.Load(t.Context(), "k")
	require.ErrorIs(t, err, seal.ErrWrongKey)
	require.Zero(t, f.users())
}

func TestStoreShowsNoKey(t *testing.T) {
	f := newFake()
	f.items["test:file-key"] = "MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="
	s := over(t, f, t.TempDir())
	key, err := s.Key(context.Background(), false)
	require.NoError(t, err)
	require.Equal(t, "0123456789abcdefghijklmnopqrstuv", string(key))
	clear(f.items)
	var shown strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&shown, verb+"\n", s)
		fmt.Fprintf(&shown, verb+"\n", struct{ s *keychain.Store }{s})
	}
	slog.New(slog.NewTextHandler(&shown, nil)).Info("", "s", s)
	require.NoError(t, json.NewEncoder(&shown).Encode(s))
	for _, form := range []string{"012345678", "30313233", "48 49 50 51", "MDEyMzQ1"} {
		require.NotContains(t, shown.String(), form)
	}
}

func TestLockFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := over(t, newFake(), dir)
	_, _, err := s.Load(t.Context(), "k")
	require.ErrorIs(t, err, tokenstore.ErrNotFound)
	require.NoDirExists(t, dir, "reading needs none")
	swap(t, s, "k", "", []byte("v"))
	require.FileExists(t, filepath.Join(dir, "service-test.lock"))

	blocked := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(blocked, nil, 0o600))
	_, err = over(t, newFake(), filepath.Join(blocked, "d")).Swap(t.Context(), "k", "", []byte("v"))
	var pathError *os.PathError
	require.ErrorAs(t, err, &pathError)
}

// Whoever could write to the folder could hold locks in a program's name.
func TestTheFolderOfTheLocksIsThePersonsOwn(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("its modes say nothing")
	}
	above := filepath.Join(t.TempDir(), "above")
	s := over(t, newFake(), filepath.Join(above, "d"))
	_, err := s.Swap(t.Context(), "k", "", []byte("v"))
	require.NoError(t, err)
	for _, dir := range []string{above, filepath.Join(above, "d")} {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.EqualValues(t, 0o700, info.Mode().Perm(), dir)
	}
}

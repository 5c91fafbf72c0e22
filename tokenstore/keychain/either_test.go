package keychain_test

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/keychain"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

// errAbsent is what go-keyring says where there is no D-Bus.
var errAbsent = &exec.Error{Name: "dbus-launch", Err: exec.ErrNotFound}

func gone(string, string) error { return errAbsent }

// A desk is what the processes of one machine share: a keychain, a fallback and a folder for locks.
type desk struct {
	f        *fake
	fallback tokenstore.Store
	dir      string
}

func newDesk(t *testing.T) desk { return desk{newFake(), tokenstore.NewMemory(), t.TempDir()} }

// open makes an Either of a process that sees the keychain, or does not.
func (d desk) open(t testing.TB, sees bool) *keychain.Either {
	t.Helper()
	var r keychain.Ring = d.f
	if !sees {
		r = &fake{trouble: gone}
	}
	return on(t, r, keychain.Platform{Limit: 2400, Look: finds(nil)}, d.dir).OrElse(d.fallback)
}

func mustSwap(t testing.TB, s tokenstore.Store, old tokenstore.Version, value string) tokenstore.Version {
	t.Helper()
	version, err := s.Swap(t.Context(), "k", old, []byte(value))
	require.NoError(t, err)
	return version
}

// requireValue checks what a store has under the key, and returns its version.
func requireValue(t testing.TB, s tokenstore.Store, want string) tokenstore.Version {
	t.Helper()
	value, version, err := s.Load(t.Context(), "k")
	if want == "" {
		require.ErrorIs(t, err, tokenstore.ErrNotFound)
		return ""
	}
	require.NoError(t, err)
	require.Equal(t, want, string(value))
	return version
}

func TestEitherContract(t *testing.T) {
	t.Run("keychain there", func(t *testing.T) {
		storetest.Run(t, func(t testing.TB) tokenstore.Store {
			return desk{newFake(), tokenstore.NewMemory(), t.TempDir()}.open(t, true)
		})
	})
	t.Run("keychain away", func(t *testing.T) {
		storetest.Run(t, func(t testing.TB) tokenstore.Store {
			place := storetest.Place(t)
			files, err := file.New(filepath.Join(place, "files"), file.Options{Plaintext: true})
			require.NoError(t, err)
			return desk{nil, files, place}.open(t, false)
		})
	})
	t.Run("keychain coming back", func(t *testing.T) {
		storetest.Run(t, func(t testing.TB) tokenstore.Store {
			f := newFake()
			var calls atomic.Int64
			f.trouble = func(string, string) error {
				if calls.Add(1) <= 20 {
					return errAbsent
				}
				return nil
			}
			return desk{f, tokenstore.NewMemory(), t.TempDir()}.open(t, true)
		})
	})
}

func TestGrantLivesInTheKeychainIfThereIsOne(t *testing.T) {
	d := newDesk(t)
	version := mustSwap(t, d.open(t, true), "", "v")
	require.Equal(t, version, requireValue(t, d.open(t, true), "v"))
	requireValue(t, over(t, d.f, d.dir), "v")
	requireValue(t, d.fallback, "")
}

func TestGrantOfTheFallbackIsShared(t *testing.T) {
	d := newDesk(t)
	desktop, cron := d.open(t, true), d.open(t, false)
	version := mustSwap(t, cron, "", "v")
	require.Equal(t, version, requireValue(t, desktop, "v"))
	_, err := desktop.Swap(t.Context(), "k", "", []byte("w"))
	require.ErrorIs(t, err, tokenstore.ErrConflict)
	version = mustSwap(t, desktop, version, "w")
	require.Equal(t, version, requireValue(t, cron, "w"))
	require.Zero(t, d.f.all(), "what lives in the fallback stays there")
	mustSwap(t, desktop, version, "")
	requireValue(t, cron, "")
}

func TestFallbackPrevails(t *testing.T) {
	d := newDesk(t)
	desktop, cron := d.open(t, true), d.open(t, false)
	hidden := mustSwap(t, desktop, "", "old")
	requireValue(t, cron, "")
	version := mustSwap(t, cron, "", "new")
	require.Equal(t, version, requireValue(t, desktop, "new"))
	for _, value := range []string{"late", ""} {
		_, err := desktop.Swap(t.Context(), "k", hidden, []byte(value))
		require.ErrorIs(t, err, tokenstore.ErrConflict, "the keychain's version is no longer current")
	}
	mustSwap(t, desktop, version, "")
	requireValue(t, desktop, "")
	require.Zero(t, d.f.all(), "the grant that was hidden does not come back")
}

func TestLogoutAsksNobodyForWhatItCannotReach(t *testing.T) {
	for name, c := range map[string]struct {
		look error
		told bool
	}{"locked": {keychain.Locked, true}, "away": {keychain.Away, false}} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			version := mustSwap(t, d.open(t, false), "", "v")
			d.f.trouble = func(string, string) error { t.Error("the keychain was asked"); return nil }
			e := on(t, d.f, keychain.Platform{Limit: 2400, Look: finds(c.look)}, d.dir).OrElse(d.fallback)
			var told int
			e.Notify(func(string, string) { told++ })
			mustSwap(t, e, version, "")
			require.Equal(t, c.told, told == 1)
			requireValue(t, d.fallback, "")
		})
	}
}

func TestFallbackIsForAnAbsentKeychainOnly(t *testing.T) {
	for name, trouble := range map[string]error{
		"locked": keychain.ErrLocked, "denied": keychain.ErrDenied, "cancelled": keychain.ErrCancelled, "broken": errCut,
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.f.trouble = func(string, string) error { return trouble }
			e := d.open(t, true)
			_, _, err := e.Load(t.Context(), "k")
			require.ErrorIs(t, err, trouble)
			_, err = e.Swap(t.Context(), "k", "", []byte("v"))
			require.ErrorIs(t, err, trouble)
			_, err = list(t, e, "")
			require.ErrorIs(t, err, trouble)
			require.ErrorIs(t, e.Probe(t.Context()), trouble)
			requireValue(t, d.fallback, "")
		})
	}
}

// A keychain that does not answer may hold the grant: it is not absent.
func TestSilentKeychainIsNotAbsent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		answered := make(chan struct{})
		defer close(answered)
		d.f.trouble = func(string, string) error { <-answered; return nil }
		e := d.open(t, true)
		_, _, err := e.Load(t.Context(), "k")
		require.ErrorIs(t, err, keychain.ErrUnavailable)
		require.NotErrorIs(t, err, tokenstore.ErrNotFound)
		_, err = e.Swap(t.Context(), "k", "", []byte("v"))
		require.ErrorIs(t, err, keychain.ErrUnavailable)
		requireValue(t, d.fallback, "")
	})
}

func TestKeychainThatGoesAwayTakesNoGrantAlong(t *testing.T) {
	d := newDesk(t)
	e := d.open(t, true)
	version := mustSwap(t, e, "", "v")
	d.f.trouble = gone
	_, _, err := e.Load(t.Context(), "k")
	require.ErrorIs(t, err, keychain.ErrUnavailable)
	require.NotErrorIs(t, err, tokenstore.ErrNotFound, "it was met there, so nobody is sent to log in")
	for _, old := range []tokenstore.Version{version, ""} {
		_, err = e.Swap(t.Context(), "k", old, []byte("w"))
		require.ErrorIs(t, err, keychain.ErrUnavailable)
	}
	requireValue(t, d.fallback, "")
	d.f.trouble = nil
	require.Equal(t, version, requireValue(t, e, "v"))
}

func TestBrokenFallbackIsNotPassedOver(t *testing.T) {
	d := newDesk(t)
	mustSwap(t, d.open(t, true), "", "v")
	d.fallback = brokenStore{}
	e := d.open(t, true)
	_, _, err := e.Load(t.Context(), "k")
	require.ErrorIs(t, err, errCut)
	_, err = e.Swap(t.Context(), "k", "", []byte("w"))
	require.ErrorIs(t, err, errCut)
}

// brokenStore answers everything with errCut, and cannot list.
type brokenStore struct{}

func (brokenStore) Load(context.Context, string) ([]byte, tokenstore.Version, error) {
	return nil, "", errCut
}

func (brokenStore) Swap(context.Context, string, tokenstore.Version, []byte) (tokenstore.Version, error) {
	return "", errCut
}

func (brokenStore) Probe(context.Context) error { return errCut }

func TestEitherProbe(t *testing.T) {
	d := newDesk(t)
	require.NoError(t, d.open(t, false).Probe(t.Context()), "memory is no Prober")
	d.fallback = brokenStore{}
	require.ErrorIs(t, d.open(t, false).Probe(t.Context()), errCut)
	require.NoError(t, d.open(t, true).Probe(t.Context()), "the keychain is in use")
}

func TestEitherKeys(t *testing.T) {
	d := newDesk(t)
	desktop, cron := d.open(t, true), d.open(t, false)
	for key, e := range map[string]*keychain.Either{"a1": desktop, "a2": cron, "both": desktop} {
		_, err := e.Swap(t.Context(), key, "", []byte("v"))
		require.NoError(t, err)
	}
	_, err := cron.Swap(t.Context(), "both", "", []byte("w"))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		e      *keychain.Either
		prefix string
		want   []string
	}{
		"all":         {desktop, "", []string{"a1", "a2", "both"}},
		"some":        {desktop, "a", []string{"a1", "a2"}},
		"no keychain": {cron, "", []string{"a2", "both"}},
	} {
		t.Run(name, func(t *testing.T) {
			keys, err := list(t, c.e, c.prefix)
			require.NoError(t, err)
			require.ElementsMatch(t, c.want, keys)
		})
	}
	d.fallback = brokenStore{}
	_, err = list(t, d.open(t, true), "")
	require.ErrorIs(t, err, errors.ErrUnsupported)
}

func TestEitherNeedsNoKeychainToSayWhoLives(t *testing.T) {
	d := newDesk(t)
	desktop, cron := d.open(t, true), d.open(t, false)
	release, err := cron.Hold(t.Context(), "attempt")
	require.NoError(t, err)
	held, err := desktop.Held(t.Context(), "attempt")
	require.NoError(t, err)
	require.True(t, held)
	release()
	held, err = desktop.Held(t.Context(), "attempt")
	require.NoError(t, err)
	require.False(t, held)
}

// A program that was given the files alone sees who lives, and is seen.
func TestEitherLivesInTheFallbackToo(t *testing.T) {
	d := newDesk(t)
	files, err := file.New(filepath.Join(d.dir, "files"), file.Options{Plaintext: true})
	require.NoError(t, err)
	d.fallback = files
	e := d.open(t, true)
	for name, c := range map[string]struct{ holder, looker tokenstore.Liveness }{
		"holds in both":     {e, files},
		"looks at both":     {files, e},
		"looks at itself":   {e, e},
		"the keychain's":    {over(t, d.f, d.dir), e},
		"holds in keychain": {e, over(t, d.f, d.dir)},
	} {
		t.Run(name, func(t *testing.T) {
			for _, want := range []bool{true, false} {
				release, err := c.holder.Hold(t.Context(), "attempt")
				require.NoError(t, err)
				if !want {
					release()
				}
				held, err := c.looker.Held(t.Context(), "attempt")
				require.NoError(t, err)
				require.Equal(t, want, held)
				release()
			}
		})
	}
	_, err = e.Held(t.Context(), "../attempt")
	require.Error(t, err)

	d.fallback, err = file.New(d.dir, file.Options{Plaintext: true}) // in the keychain's own folder
	require.NoError(t, err)
	release, err := d.open(t, true).Hold(t.Context(), "attempt")
	require.NoError(t, err)
	release()
}

// What Either takes for an older grant in the keychain is the one that has just been copied there.
func TestCopyFromTheFallbackIntoTheKeychainBehindIt(t *testing.T) {
	d := newDesk(t)
	data, err := (&record.Record{Grant: "g", Generation: 3, Leases: 3, RefreshToken: "rt"}).Encode()
	require.NoError(t, err)
	mustSwap(t, d.open(t, false), "", string(data))
	ring := over(t, d.f, d.dir)
	require.NoError(t, tokenstore.Copy(t.Context(), d.open(t, true), ring))
	requireValue(t, d.fallback, "")
	value, _, err := ring.Load(t.Context(), "k")
	require.NoError(t, err, "the grant is in neither place")
	r, err := record.Decode(value)
	require.NoError(t, err)
	require.Equal(t, "rt", r.RefreshToken)

	// A copy that a person's logout finds there goes, too.
	mustSwap(t, d.open(t, false), "", string(data))
	mustSwap(t, d.open(t, true), requireValue(t, d.open(t, true), string(data)), "")
	_, _, err = ring.Load(t.Context(), "k")
	require.ErrorIs(t, err, tokenstore.ErrNotFound)
}

func TestNoticeOfThePlaceInUse(t *testing.T) {
	d := newDesk(t)
	e := d.open(t, true)
	var told []string
	stop := e.Notify(func(key, text string) { told = append(told, key+": "+text) })
	news := func() []string {
		defer func() { told = nil }()
		return told
	}
	mustSwap(t, e, "", "v")
	require.Equal(t, []string{"k: the grant is kept in the keychain"}, news())
	mustSwap(t, e, mustSwap(t, e, requireValue(t, e, "v"), "w"), "")
	require.Empty(t, news(), "no change is no news")

	d.f.trouble = gone
	version := mustSwap(t, e, "", "v")
	got := news()
	require.Len(t, got, 1)
	require.Contains(t, got[0], "k: the grant is kept in the fallback, not in the keychain, because of this: ")
	d.f.trouble = nil
	mustSwap(t, e, version, "")
	requireValue(t, e, "")
	mustSwap(t, d.open(t, false), "", "v")
	requireValue(t, e, "v")
	require.Equal(t, []string{"k: the grant is kept in the fallback, not in the keychain"}, news())
	stop()
	mustSwap(t, e, requireValue(t, e, "v"), "")
	mustSwap(t, e, "", "v")
	require.Empty(t, news())
}

// A process that sees the keychain and one that does not log in at the same time. Whoever comes second
// finds the other's grant or hides it: in the end all agree on one.
func TestLoginsOfBothKindsAtOnce(t *testing.T) {
	for range 50 {
		d := newDesk(t)
		both := []*keychain.Either{d.open(t, true), d.open(t, false)}
		var errs [2]error
		var group sync.WaitGroup
		for n, e := range both {
			group.Go(func() { _, errs[n] = e.Swap(t.Context(), "k", "", []byte{'0' + byte(n)}) })
		}
		group.Wait()
		require.NoError(t, errs[1], "nothing can conflict with a login in the fallback")
		if errs[0] != nil {
			require.ErrorIs(t, errs[0], tokenstore.ErrConflict)
			require.Zero(t, d.f.all())
		}
		require.Equal(t, requireValue(t, both[0], "1"), requireValue(t, both[1], "1"))
	}
}

// slowFallback is a fallback as one process sees it: what it finds is acted upon late.
type slowFallback struct {
	tokenstore.Store
	looked, proceed chan struct{}
}

func (s slowFallback) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	value, version, err := s.Store.Load(ctx, key)
	close(s.looked)
	<-s.proceed
	return value, version, err
}

func TestKeyComesIntoOnePlaceAtATime(t *testing.T) {
	d := newDesk(t)
	cron := d.open(t, false)
	slow := slowFallback{d.fallback, make(chan struct{}), make(chan struct{})}
	desktop := desk{d.f, slow, d.dir}.open(t, true)
	wrote := make(chan error)
	go func() {
		_, err := desktop.Swap(t.Context(), "k", "", []byte("desktop"))
		wrote <- err
	}()
	<-slow.looked
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := cron.Swap(ctx, "k", "", []byte("cron"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	requireValue(t, d.fallback, "")
	close(slow.proceed)
	require.NoError(t, <-wrote)
	mustSwap(t, cron, "", "cron")
	requireValue(t, d.open(t, true), "cron")
}

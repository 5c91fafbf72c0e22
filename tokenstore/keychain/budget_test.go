package keychain_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore/keychain"
)

// state is what a look finds, which changes while a call is under way.
type state struct {
	mu  sync.Mutex
	err error // guarded by mu
}

func (s *state) set(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

func (s *state) look(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// hung makes a keychain that answers no read until answered is closed, and a Store over it.
func hung(t *testing.T, p keychain.Platform) (s *keychain.Store, answered chan struct{}) {
	f := newFake()
	p.Limit = keychain.ShortLimit
	s = on(t, f, p, t.TempDir())
	setUp := p
	setUp.Unattended, setUp.Look = false, nil
	swap(t, on(t, f, setUp, t.TempDir()), "k", "", []byte("v"))
	answered = make(chan struct{})
	f.trouble = func(operation, _ string) error {
		if operation == opGet {
			<-answered
		}
		return nil
	}
	return s, answered
}

// loads returns how long a Load takes, and its error.
func loads(ctx context.Context, s *keychain.Store) (time.Duration, error) {
	began := time.Now()
	_, _, err := s.Load(ctx, "k")
	return time.Since(began), err
}

func TestPersonIsNotCutOff(t *testing.T) {
	for name, look := range map[string]error{"seen to be locked": keychain.Locked, "not to be seen": keychain.Opaque} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, answered := hung(t, keychain.Platform{Look: finds(look)})
				var told []string
				stop := s.Notify(func(key, text string) { told = append(told, key+text) })
				defer stop()
				time.AfterFunc(110*time.Second, func() { close(answered) })
				took, err := loads(t.Context(), s)
				require.NoError(t, err)
				require.Equal(t, 110*time.Second, took)
				require.Len(t, told, 1, "the program is told once that it waits")
			})
		})
	}
}

func TestPersonWhoNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, answered := hung(t, keychain.Platform{Look: finds(keychain.Locked)})
		took, err := loads(t.Context(), s)
		require.ErrorIs(t, err, keychain.ErrLocked)
		require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller set none")
		require.Equal(t, 2*time.Minute, took)
		close(answered)
	})
}

// Only the silence in one piece counts, not that before a prompt and that after it.
func TestPersonWhoIsAskedBetweenSlowItems(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now state
		s, answered := hung(t, keychain.Platform{Look: now.look})
		time.AfterFunc(4*time.Second, func() { now.set(keychain.Locked) })
		time.AfterFunc(time.Minute, func() { now.set(nil) })
		time.AfterFunc(time.Minute+4*time.Second, func() { close(answered) })
		took, err := loads(t.Context(), s)
		require.NoError(t, err)
		require.Equal(t, time.Minute+4*time.Second, took)
	})
}

func TestKeychainThatIsLockedWithNobodyThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now state
		s, answered := hung(t, keychain.Platform{Look: now.look, Unattended: true})
		defer close(answered)
		time.AfterFunc(time.Millisecond, func() { now.set(keychain.Locked) })
		took, err := loads(t.Context(), s)
		require.ErrorIs(t, err, keychain.ErrLocked)
		require.LessOrEqual(t, took, time.Second)
	})
}

func TestSilentKeychain(t *testing.T) {
	const silent = 5500 * time.Millisecond // 5 s from the glance that saw the last step
	for name, c := range map[string]struct {
		platform keychain.Platform
		deadline time.Duration // 0: none
		want     error
		takes    time.Duration
	}{
		"nobody is asked":              {keychain.Platform{Look: finds(nil)}, 0, keychain.ErrUnavailable, silent},
		"there is none any more":       {keychain.Platform{Look: finds(keychain.Away)}, 0, keychain.ErrUnavailable, silent},
		"nobody is asked for a moment": {keychain.Platform{Look: finds(nil)}, 1900 * time.Millisecond, keychain.ErrUnavailable, 1900 * time.Millisecond},
		"looking hangs too": {keychain.Platform{Look: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}}, 0, keychain.ErrUnavailable, silent},
		"unattended":                 {keychain.Platform{Look: finds(nil), Unattended: true}, 0, keychain.ErrUnavailable, silent},
		"unattended, not to be seen": {keychain.Platform{Look: finds(keychain.Opaque), Unattended: true}, 0, keychain.ErrLocked, silent},
		"unattended, locked":         {keychain.Platform{Look: finds(keychain.Locked), Unattended: true}, 0, keychain.ErrLocked, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, answered := hung(t, c.platform)
				defer close(answered)
				ctx := t.Context()
				if c.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, c.deadline)
					defer cancel()
				}
				took, err := loads(ctx, s)
				require.ErrorIs(t, err, c.want)
				require.Equal(t, c.takes, took)
				require.Equal(t, c.deadline > 0, context.DeadlineExceeded == ctx.Err())

				took, err = loads(t.Context(), s) // for the same reason, but at once
				require.ErrorIs(t, err, c.want)
				require.LessOrEqual(t, took, max(0, 2*time.Second-c.takes))
			})
		})
	}
}

// A value of many items may take as long as it takes.
func TestSlowItemsAreNoSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		s := on(t, f, keychain.Platform{Limit: keychain.ShortLimit, Look: finds(nil)}, t.TempDir())
		f.trouble = func(string, string) error {
			time.Sleep(4 * time.Second)
			return nil
		}
		began := time.Now()
		swap(t, s, "k", "", noise(20_000))
		require.Greater(t, time.Since(began), 40*time.Second)
	})
}

// What waits for its turn behind a call that is left behind does not wait on.
func TestQueueBehindASilentKeychain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, answered := hung(t, keychain.Platform{Look: finds(nil)})
		var group sync.WaitGroup
		for range 5 {
			group.Go(func() {
				if took, err := loads(t.Context(), s); err == nil || took > 6*time.Second {
					t.Errorf("%v after %v", err, took)
				}
			})
		}
		group.Wait()
		close(answered)
	})
}

func TestUnattendedAsksNobody(t *testing.T) {
	f := newFake()
	f.trouble = func(string, string) error { t.Error("the keychain was asked"); return nil }
	s := on(t, f, keychain.Platform{Limit: 2400, Unattended: true, Look: finds(keychain.Locked)}, t.TempDir())
	for name, call := range map[string]func() error{
		"Load":  func() error { _, _, err := s.Load(t.Context(), "k"); return err },
		"Swap":  func() error { _, err := s.Swap(t.Context(), "k", "", []byte("v")); return err },
		"Keys":  func() error { _, err := list(t, s, ""); return err },
		"Key":   func() error { _, err := s.Key(t.Context(), true); return err },
		"Probe": func() error { return s.Probe(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) { require.ErrorIs(t, call(), keychain.ErrLocked) })
	}
}

func TestKeyringThatWasNeverMade(t *testing.T) {
	f := newFake()
	f.trouble = func(string, string) error { return keychain.Locked } // go-keyring knows no better
	s := on(t, f, keychain.Platform{Limit: 2400, Look: finds(keychain.Away)}, t.TempDir())
	_, _, err := s.Load(t.Context(), "k")
	require.ErrorIs(t, err, keychain.ErrUnavailable)
	require.NotErrorIs(t, err, keychain.ErrLocked)
}

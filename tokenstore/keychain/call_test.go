package keychain_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/keychain"
)

// prompt holds up the operations of one kind until somebody answers.
type prompt struct {
	operation string
	answered  chan struct{}
	asked     int
}

func (p *prompt) trouble(operation, _ string) error {
	if operation == p.operation {
		p.asked++ // read after synctest.Wait only
		<-p.answered
	}
	return nil
}

// prompted makes a keychain that asks a person about operation, and a Store over it with one value.
func prompted(t *testing.T, dir, operation string) (*prompt, *fake, *keychain.Store, tokenstore.Version) {
	f := newFake()
	s := over(t, f, dir)
	version := swap(t, s, "k", "", []byte("v"))
	p := &prompt{operation: operation, answered: make(chan struct{})}
	f.trouble = p.trouble
	return p, f, s, version
}

// within runs call with a deadline d from now, and checks that it takes exactly that.
func within(t *testing.T, d time.Duration, call func(context.Context) error) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	began := time.Now()
	err := call(ctx)
	require.Equal(t, d, time.Since(began))
	return err
}

func load(s *keychain.Store) func(context.Context) error {
	return func(ctx context.Context) error { _, _, err := s.Load(ctx, "k"); return err }
}

func TestHangingKeychain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, f, s, version := prompted(t, t.TempDir(), opGet)
		err := within(t, time.Second, load(s))
		require.ErrorIs(t, err, keychain.ErrLocked)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		// The next one gives the abandoned one the rest of two seconds, later ones nothing.
		began := time.Now()
		_, _, err = s.Load(t.Context(), "k")
		require.ErrorIs(t, err, keychain.ErrLocked)
		require.Equal(t, time.Second, time.Since(began))
		for range 100 {
			_, err = s.Swap(t.Context(), "k", version, []byte("w"))
			require.ErrorIs(t, err, keychain.ErrLocked)
			_, err = s.Key(t.Context(), true)
			require.ErrorIs(t, err, keychain.ErrLocked)
		}
		require.Equal(t, time.Second, time.Since(began))
		synctest.Wait()
		require.Equal(t, 1, p.asked, "one call is left behind, not more")

		close(p.answered)
		synctest.Wait()
		value, _, err := s.Load(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "v", string(value))
		require.Equal(t, 1, f.users())
	})
}

func TestCancelledCallIsNoLockedKeychain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, s, _ := prompted(t, t.TempDir(), opGet)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(10*time.Millisecond, cancel)
		began := time.Now()
		_, _, err := s.Load(ctx, "k")
		require.ErrorIs(t, err, context.Canceled)
		require.NotErrorIs(t, err, keychain.ErrLocked)
		require.Equal(t, 10*time.Millisecond, time.Since(began))

		// The keychain was only slow: who comes next waits for it.
		time.AfterFunc(time.Second, func() { close(p.answered) })
		_, _, err = s.Load(t.Context(), "k")
		require.NoError(t, err)
	})
}

// A write that was left behind may land. Until it has, its lock keeps the others from writing.
func TestLateWriteKeepsItsLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		p, f, s, version := prompted(t, dir, opSet)
		err := within(t, time.Second, func(ctx context.Context) error {
			_, err := s.Swap(ctx, "k", version, []byte("late"))
			return err
		})
		require.ErrorIs(t, err, keychain.ErrLocked)

		other := over(t, f, dir) // as another process
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = other.Swap(ctx, "k", version, []byte("other"))
		require.ErrorIs(t, err, keychain.ErrLocked)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		value, _, err := other.Load(t.Context(), "k")
		require.NoError(t, err, "reading needs no lock")
		require.Equal(t, "v", string(value))

		close(p.answered)
		synctest.Wait()
		_, err = other.Swap(t.Context(), "k", version, []byte("other"))
		require.ErrorIs(t, err, tokenstore.ErrConflict)
		value, _, err = s.Load(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "late", string(value))
	})
}

// A call that hung before it wrote does not write when somebody unlocks the keychain later.
func TestCallThatWasLeftBehindWritesNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, value := range [][]byte{[]byte("late"), noise(5_000), nil} {
			p, f, s, version := prompted(t, t.TempDir(), opGet)
			err := within(t, time.Second, func(ctx context.Context) error {
				_, err := s.Swap(ctx, "k", version, value)
				return err
			})
			require.ErrorIs(t, err, keychain.ErrLocked)
			close(p.answered)
			synctest.Wait()
			got, _, err := s.Load(t.Context(), "k")
			require.NoError(t, err)
			require.Equal(t, "v", string(got))
			require.Equal(t, 1, f.users())
		}
	})
}

func TestCallsQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, _, s, _ := prompted(t, t.TempDir(), opGet)
		first := make(chan error)
		go func() { first <- load(s)(t.Context()) }()
		synctest.Wait()
		err := within(t, time.Second, load(s))
		require.ErrorIs(t, err, keychain.ErrLocked)
		synctest.Wait()
		require.Equal(t, 1, p.asked, "one call at a time is inside the keychain")
		close(p.answered)
		require.NoError(t, <-first)
	})
}

func TestContextThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), -time.Second)
	defer cancel()
	f := newFake()
	f.trouble = func(string, string) error { t.Error("the keychain was asked"); return nil }
	s := over(t, f, t.TempDir())
	_, _, err := s.Load(ctx, "k")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, keychain.ErrLocked, "nobody was asked")
	_, err = s.Key(ctx, true)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

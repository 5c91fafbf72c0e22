package tokenstore_test

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

// cupboard is a place with a load and a save, such as people have.
type cupboard struct {
	values sync.Map // of []byte, by key
	pause  time.Duration
}

func (c *cupboard) load(_ context.Context, key string) ([]byte, error) {
	value, ok := c.values.Load(key)
	if !ok {
		return nil, nil
	}
	return value.([]byte), nil
}

func (c *cupboard) save(_ context.Context, key string, value []byte) error {
	if c.pause > 0 {
		time.Sleep(c.pause)
	}
	c.values.Store(key, value)
	return nil
}

func TestFuncs(t *testing.T) {
	t.Run("an empty value is absence", func(t *testing.T) {
		storetest.Run(t, func(testing.TB) tokenstore.Store {
			c := new(cupboard)
			return tokenstore.Funcs(c.load, c.save)
		})
	})
	t.Run("absence is an error, the context is not asked, and saving takes its time", func(t *testing.T) {
		storetest.Run(t, func(testing.TB) tokenstore.Store {
			c := &cupboard{pause: time.Millisecond}
			load := func(ctx context.Context, key string) ([]byte, error) {
				value, err := c.load(ctx, key)
				if len(value) == 0 {
					err = tokenstore.ErrNotFound
				}
				return value, err
			}
			return tokenstore.Funcs(load, c.save)
		})
	})
}

func TestFuncsAreCalledOneByOneForAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := new(cupboard)
		var now, most atomic.Int64
		alone := func() func() {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			return func() { now.Add(-1) }
		}
		s := tokenstore.Funcs(
			func(ctx context.Context, key string) ([]byte, error) {
				defer alone()()
				return c.load(ctx, key)
			},
			func(ctx context.Context, key string, value []byte) error {
				defer alone()()
				return c.save(ctx, key, value)
			},
		)
		use := func(key string) {
			_, _ = s.Swap(t.Context(), key, "", []byte("v"))
			_, _, _ = s.Load(t.Context(), key)
		}
		var group sync.WaitGroup
		for range 3 {
			group.Go(func() { use("k") })
		}
		group.Wait()
		require.EqualValues(t, 1, most.Load())
		began := time.Now()
		group.Go(func() { use("a") })
		group.Go(func() { use("b") })
		group.Wait()
		require.Equal(t, 3*time.Second, time.Since(began), "one key waited for another")
	})
}

func TestFuncsLeavesBehindAFunctionThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cupboard{pause: time.Hour}
		s := tokenstore.Funcs(c.load, c.save)
		value := []byte("first")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := s.Swap(ctx, "k", "", value)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(began))
		copy(value, "XXXXX") // the caller's again, although the function still runs

		again, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, _, err = s.Load(again, "k")
		require.ErrorIs(t, err, context.DeadlineExceeded, "a key was read while its save was under way")
		_, _, err = s.Load(t.Context(), "other")
		require.ErrorIs(t, err, tokenstore.ErrNotFound)

		loaded, _, err := s.Load(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "first", string(loaded))
		require.Equal(t, time.Hour, time.Since(began))
	})
}

func TestFuncsSavesNothingForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		saved := false
		s := tokenstore.Funcs(
			func(context.Context, string) ([]byte, error) {
				time.Sleep(time.Minute)
				return nil, nil
			},
			func(context.Context, string, []byte) error {
				saved = true
				return nil
			},
		)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := s.Swap(ctx, "k", "", []byte("v"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(time.Hour)
		require.False(t, saved)
	})
}

func TestFuncsFail(t *testing.T) {
	broken := errors.New("the place is gone")
	none := func(context.Context, string) ([]byte, error) { return nil, nil }
	keep := func(context.Context, string, []byte) error { return nil }
	for name, tt := range map[string]struct {
		load       func(context.Context, string) ([]byte, error)
		save       func(context.Context, string, []byte) error
		loads      error
		swaps      error
		neverSaves bool
	}{
		"load":    {func(context.Context, string) ([]byte, error) { return nil, broken }, keep, broken, broken, true},
		"damaged": {func(context.Context, string) ([]byte, error) { return nil, tokenstore.ErrDamaged }, keep, tokenstore.ErrDamaged, tokenstore.ErrDamaged, true},
		"save":    {none, func(context.Context, string, []byte) error { return broken }, tokenstore.ErrNotFound, broken, false},
	} {
		t.Run(name, func(t *testing.T) {
			saved := false
			s := tokenstore.Funcs(tt.load, func(ctx context.Context, key string, value []byte) error {
				saved = true
				return tt.save(ctx, key, value)
			})
			_, version, err := s.Load(t.Context(), "k")
			require.ErrorIs(t, err, tt.loads)
			require.Empty(t, version)
			version, err = s.Swap(t.Context(), "k", "", []byte("v"))
			require.ErrorIs(t, err, tt.swaps)
			require.NotErrorIs(t, err, tokenstore.ErrConflict)
			require.Empty(t, version)
			require.NotEqual(t, tt.neverSaves, saved)
		})
	}
}

// A function that leaves its goroutine, as t.FailNow does, must not look like one that succeeded.
func TestFuncsThatDoNotReturn(t *testing.T) {
	c := new(cupboard)
	s := tokenstore.Funcs(c.load, func(context.Context, string, []byte) error {
		runtime.Goexit()
		return nil
	})
	_, err := s.Swap(t.Context(), "k", "", []byte("v"))
	require.Error(t, err)
	_, _, err = s.Load(t.Context(), "k")
	require.ErrorIs(t, err, tokenstore.ErrNotFound)
}

// This is the limit that the doc of Funcs states.
func TestTwoFuncsDoNotKnowEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &cupboard{pause: time.Second}
		errs := make(chan error)
		for _, value := range []string{"a", "b"} {
			s := tokenstore.Funcs(c.load, c.save)
			go func() {
				_, err := s.Swap(t.Context(), "k", "", []byte(value))
				errs <- err
			}()
		}
		require.NoError(t, <-errs)
		require.NoError(t, <-errs)
	})
}

var benchmarked = bytes.Repeat([]byte("v"), 2000)

func BenchmarkStoreFuncs(b *testing.B) {
	c := new(cupboard)
	s := tokenstore.Funcs(c.load, c.save)
	b.ReportAllocs()
	for b.Loop() {
		_, version, _ := s.Load(b.Context(), "k")
		_, _ = s.Swap(b.Context(), "k", version, benchmarked)
	}
}

func BenchmarkBareFuncs(b *testing.B) {
	c := new(cupboard)
	b.ReportAllocs()
	for b.Loop() {
		_, _ = c.load(b.Context(), "k")
		_ = c.save(b.Context(), "k", benchmarked)
	}
}

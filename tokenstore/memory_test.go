package tokenstore_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMemory(t *testing.T) {
	storetest.Run(t, func(testing.TB) tokenstore.Store { return tokenstore.NewMemory() })
}

func TestZeroMemory(t *testing.T) {
	t.Run("Swap", func(t *testing.T) {
		var m tokenstore.Memory
		_, _, err := m.Load(t.Context(), "k")
		require.ErrorIs(t, err, tokenstore.ErrNotFound)
		version, err := m.Swap(t.Context(), "k", "", []byte("v"))
		require.NoError(t, err)
		_, err = m.Swap(t.Context(), "k", version, nil)
		require.NoError(t, err)
	})
	t.Run("Wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var m tokenstore.Memory
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			require.ErrorIs(t, m.Wait(ctx, "k", ""), context.DeadlineExceeded)
		})
	})
}

func TestMemoryWakesEveryWaiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := tokenstore.NewMemory()
		began := time.Now()
		errs := make(chan error)
		for range 3 {
			go func() { errs <- m.Wait(t.Context(), "k", "") }()
		}
		time.Sleep(time.Minute)
		_, err := m.Swap(t.Context(), "other", "", []byte("v"))
		require.NoError(t, err)
		time.Sleep(time.Minute)
		_, err = m.Swap(t.Context(), "k", "", []byte("v"))
		require.NoError(t, err)
		for range 3 {
			require.NoError(t, <-errs)
		}
		require.Equal(t, 2*time.Minute, time.Since(began))
	})
}

func TestMemoryWaiterLeavesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := tokenstore.NewMemory()
		for range 2 { // the second time around nobody waits any more when the others come
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			left, stayed := make(chan error), make(chan error)
			go func() { left <- m.Wait(ctx, "k", "") }()
			require.ErrorIs(t, <-left, context.DeadlineExceeded)

			ctx, cancel = context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			go func() { stayed <- m.Wait(t.Context(), "k", "") }()
			go func() { left <- m.Wait(ctx, "k", "") }()
			require.ErrorIs(t, <-left, context.DeadlineExceeded)
			version, err := m.Swap(t.Context(), "k", "", []byte("v"))
			require.NoError(t, err)
			require.NoError(t, <-stayed)
			_, err = m.Swap(t.Context(), "k", version, nil)
			require.NoError(t, err)
		}
	})
}

func TestMemoryShowsNoValue(t *testing.T) {
	m := tokenstore.NewMemory()
	_, err := m.Swap(t.Context(), "k", "", []byte("SECRET"))
	require.NoError(t, err)
	var shown strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&shown, verb+"\n", m)
		fmt.Fprintf(&shown, verb+"\n", struct{ m *tokenstore.Memory }{m})
	}
	slog.New(slog.NewTextHandler(&shown, nil)).Info("", "store", m)
	slog.New(slog.NewJSONHandler(&shown, nil)).Info("", "store", m)
	require.NoError(t, json.NewEncoder(&shown).Encode(m))
	require.NotContains(t, shown.String(), "SECRET")
	require.NotContains(t, shown.String(), "83 69 67 82") // as %v and %d show bytes
	require.NotContains(t, strings.ToLower(shown.String()), "534543524554")
}

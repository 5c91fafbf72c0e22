//go:build !race

package client_test

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
)

// TestTokenAtHandCostsNothing holds the way of a request through a session: an atomic load, no
// allocation, no I/O.
func TestTokenAtHandCostsNothing(t *testing.T) {
	s := newStrict()
	alice := open(t, s.config(nil)).Session("alice")
	require.NoError(t, alice.Adopt(t.Context(), s.grant()))
	ctx := t.Context()
	require.Zero(t, testing.AllocsPerRun(1000, func() {
		if _, err := alice.Token(ctx); err != nil {
			t.Fatal(err)
		}
	}))
}

// idle is a store that counts what it is asked.
type idle struct {
	tokenstore.Store
	asked atomic.Int64
}

func (s *idle) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	s.asked.Add(1)
	return s.Store.Load(ctx, key)
}

func (s *idle) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	s.asked.Add(1)
	return s.Store.Swap(ctx, key, old, value)
}

func TestTokenAtHandTouchesNoStore(t *testing.T) {
	s, store := newStrict(), &idle{Store: tokenstore.NewMemory()}
	alice := open(t, s.config(store)).Session("alice")
	require.NoError(t, alice.Adopt(t.Context(), s.grant()))
	_, err := alice.Token(t.Context())
	require.NoError(t, err)
	before := store.asked.Load()
	for range 1000 {
		_, err := alice.Token(t.Context())
		require.NoError(t, err)
	}
	require.Equal(t, before, store.asked.Load())
}

// TestRequestCostsThreeAllocations holds what a request costs beside the sending, the copy and its header, whatever the
// length of the token.
func TestRequestCostsThreeAllocations(t *testing.T) {
	for name, length := range map[string]int{"short token": 10, "long token": 10_000} {
		t.Run(name, func(t *testing.T) {
			s := newStrict()
			alice := open(t, s.config(nil)).Session("alice")
			token := s.grant()
			token.AccessToken = strings.Repeat("x", length)
			require.NoError(t, alice.Adopt(t.Context(), token))
			answer := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}
			hc := alice.Wrap(&http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return answer, nil })})
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.test/", nil)
			require.NoError(t, err)
			req.Header.Set("Accept", "application/json")
			send := func() {
				if _, err := hc.Transport.RoundTrip(req); err != nil {
					t.Fatal(err)
				}
			}
			require.LessOrEqual(t, testing.AllocsPerRun(1000, send), 3.0)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range 1000 {
				send()
			}
			runtime.ReadMemStats(&after)
			require.LessOrEqual(t, (after.TotalAlloc-before.TotalAlloc)/1000, uint64(750), "bytes")
		})
	}
}

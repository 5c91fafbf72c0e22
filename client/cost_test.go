//go:build !race

package client_test

import (
	"net/http"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
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

// TestRequestCostsThreeAllocations holds what a request costs beside the sending: the copy, and its header.
func TestRequestCostsThreeAllocations(t *testing.T) {
	s := newStrict()
	alice := open(t, s.config(nil)).Session("alice")
	require.NoError(t, alice.Adopt(t.Context(), s.grant()))
	answer := &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}
	hc := alice.Wrap(&http.Client{Transport: roundTripper(func(*http.Request) (*http.Response, error) { return answer, nil })})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://api.test/", nil)
	require.NoError(t, err)
	req.Header.Set("Accept", "application/json")
	require.LessOrEqual(t, testing.AllocsPerRun(1000, func() {
		if _, err := hc.Transport.RoundTrip(req); err != nil {
			t.Fatal(err)
		}
	}), 3.0)
}

// TestSessionIsSmall holds what a session costs in memory, the text of its token apart.
func TestSessionIsSmall(t *testing.T) {
	const n = 20_000
	s := newStrict()
	c := open(t, s.config(nil))
	held := make([]*client.Session, n)
	keys := make([]string, n)
	for i := range keys {
		keys[i] = string(rune('a'+i%26)) + http.StatusText(200) + string(rune(0x4e00+i))
	}
	before := heap()
	for i := range held {
		held[i] = c.Session(keys[i])
	}
	each := float64(heap()-before) / n
	t.Logf("%.0f bytes a session that was not used yet", each)
	require.Less(t, each, 512.0)
	runtime.KeepAlive(held)
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

//go:build !race

package client_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
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

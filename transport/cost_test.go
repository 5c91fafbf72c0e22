//go:build !race

package transport_test

import (
	"context"
	"net/http"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/transport"
)

// steady is a Source of one token.
type steady struct{ token *oauth2.Token }

func (s steady) Token(context.Context) (*oauth2.Token, error) { return s.token, nil }

func (s steady) Renew(context.Context, *oauth2.Token) (*oauth2.Token, error) { return s.token, nil }

// bare answers everything with the least there is.
var bare = roundTripper(func(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
})

// byHand is how a token is attached without a library.
func byHand(token string) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		req = req.Clone(req.Context())
		req.Header.Set("Authorization", "Bearer "+token)
		return bare(req)
	})
}

func typical(t testing.TB) *http.Request {
	req := get(t, api)
	req.Header = http.Header{
		"Accept": {"application/json"}, "User-Agent": {"program/1.0"}, "X-Request-Id": {"4f1c"},
		"Accept-Language": {"en"}, "If-None-Match": {`"x"`},
	}
	return req
}

// What a Transport adds to a request does not grow with the token, the list of origins or redirects.
func TestCost(t *testing.T) {
	redirected := typical(t)
	redirected.Response = &http.Response{Request: typical(t)}
	listed := []string{"https://a.example.com", "https://b.example.com", "https://api.example.com"}
	for name, tt := range map[string]struct {
		req     *http.Request
		token   string
		origins []string
	}{
		"short token": {typical(t), "x", nil},
		"long token":  {typical(t), strings.Repeat("x", 10_000), nil},
		"origins":     {typical(t), "x", listed},
		"redirect":    {redirected, "x", nil},
	} {
		t.Run(name, func(t *testing.T) {
			tr := &transport.Transport{Source: steady{&oauth2.Token{AccessToken: tt.token}}, Base: bare, Origins: tt.origins}
			send := func(rt http.RoundTripper) func() {
				return func() {
					if _, err := rt.RoundTrip(tt.req); err != nil {
						t.Fatal(err)
					}
				}
			}
			send(tr)()
			allocs := testing.AllocsPerRun(1000, send(tr)) - testing.AllocsPerRun(1000, send(bare))
			require.LessOrEqual(t, allocs, 3.0, "allocations")
			bytes := bytesPerRun(1000, send(tr)) - bytesPerRun(1000, send(bare))
			require.LessOrEqual(t, bytes, 750.0, "bytes")
		})
	}
}

func bytesPerRun(runs int, f func()) float64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range runs {
		f()
	}
	runtime.ReadMemStats(&after)
	return float64(after.TotalAlloc-before.TotalAlloc) / float64(runs)
}

func BenchmarkRoundTrip(b *testing.B) {
	const token = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl"
	for name, rt := range map[string]http.RoundTripper{
		"bare":      bare,
		"plain":     byHand(token),
		"transport": &transport.Transport{Source: steady{&oauth2.Token{AccessToken: token}}, Base: bare},
	} {
		b.Run(name, func(b *testing.B) {
			req := typical(b)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := rt.RoundTrip(req); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

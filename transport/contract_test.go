package transport_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/transport"
)

// "RoundTrip should not modify the request, except for consuming and closing the Request's Body" (I8).
// Shows R6750-2.3-1, R9700-4.3.2-1, O21-5.1-1, MCP25-TOK-1.
func TestRequestIsNotChanged(t *testing.T) {
	tests := map[string][]*http.Response{
		"accepted":       {answer(200, "")},
		"rejected":       {answer(401, ""), answer(200, "")},
		"rejected twice": {answer(401, ""), answer(401, "")},
	}
	for name, answers := range tests {
		t.Run(name, func(t *testing.T) {
			req, _, _ := post(t, "content", true)
			req.Header = http.Header{"X-One": {"1"}, "X-Two": {"2", "3"}}
			req.Host = "virtual.example.com"
			req.Trailer = http.Header{"X-Sum": nil}
			before, header, url := *req, req.Header.Clone(), *req.URL
			b := &base{answers: answers}
			spoiling := roundTripper(func(sent *http.Request) (*http.Response, error) {
				require.NotSame(t, req, sent)
				require.Equal(t, header, req.Header, "while it is being sent")
				sent.Header.Set("X-One", "spoilt")
				sent.Header.Del("X-Two")
				return b.RoundTrip(sent)
			})
			_, err := (&transport.Transport{Source: &rotation{}, Base: spoiling}).RoundTrip(req)
			require.NoError(t, err)
			require.Len(t, b.sent, len(answers))
			require.Equal(t, header, req.Header)
			require.Equal(t, url, *req.URL)
			before.GetBody, req.GetBody = nil, nil // functions are not comparable
			require.Equal(t, before, *req)
			for _, s := range b.sent {
				require.Equal(t, req.Method, s.request.Method)
				require.Same(t, req.URL, s.request.URL)
				require.Equal(t, req.Host, s.request.Host)
				require.Equal(t, req.ContentLength, s.request.ContentLength)
				require.Equal(t, req.Trailer, s.request.Trailer)
				require.Equal(t, req.Context(), s.request.Context())
				require.Equal(t, "content", s.body)
			}
		})
	}
}

func TestRequestWithoutHeader(t *testing.T) {
	req := get(t, api)
	req.Header = nil
	b := &base{answers: []*http.Response{answer(200, "")}}
	_, err := (&transport.Transport{Source: &rotation{}, Base: b}).RoundTrip(req)
	require.NoError(t, err)
	require.Nil(t, req.Header)
	require.Equal(t, []string{"Bearer token-1"}, b.tokens())
}

// The rest of the header arrives, and the token does not grow into it.
func TestHeaderArrives(t *testing.T) {
	req := get(t, api)
	want := http.Header{}
	for _, name := range []string{"A", "B", "C", "D", "E", "F", "G", "H", "I"} {
		req.Header.Set(name, "x")
		want.Set(name, "x")
	}
	b := &base{answers: []*http.Response{answer(401, ""), answer(200, "")}}
	_, err := (&transport.Transport{Source: &rotation{}, Base: b}).RoundTrip(req)
	require.NoError(t, err)
	for i, token := range []string{"Bearer token-1", "Bearer token-2"} {
		got := maps.Clone(b.sent[i].request.Header)
		require.Equal(t, []string{token}, got["Authorization"])
		delete(got, "Authorization")
		require.Equal(t, want, got)
	}
}

// Who logs answers must not log tokens (I10).
func TestAnswerNamesCallersRequest(t *testing.T) {
	for name, answers := range map[string][]*http.Response{
		"first answer":  {answer(200, "")},
		"second answer": {answer(401, ""), answer(200, "")},
		"step-up":       {answer(401, "", `Bearer error="insufficient_scope"`)},
	} {
		t.Run(name, func(t *testing.T) {
			req := get(t, api)
			resp, err := (&transport.Transport{Source: &rotation{}, Base: &base{answers: answers}}).RoundTrip(req)
			require.NoError(t, err)
			require.Same(t, req, resp.Request)
			require.NotContains(t, resp.Request.Header, "Authorization")
		})
	}
}

// "RoundTrip must return err == nil if it obtained a response", and an error without one.
func TestErrorsOfBase(t *testing.T) {
	broken := errors.New("connection refused")
	t.Run("first send", func(t *testing.T) {
		failing := roundTripper(func(*http.Request) (*http.Response, error) { return nil, broken })
		resp, err := (&transport.Transport{Source: source{t: t}, Base: failing}).RoundTrip(get(t, api))
		require.Equal(t, broken, err)
		require.Nil(t, resp)
	})
	t.Run("second send", func(t *testing.T) {
		first := answer(401, "")
		b := &base{answers: []*http.Response{first}}
		failing := roundTripper(func(req *http.Request) (*http.Response, error) {
			if len(b.sent) == 1 {
				return nil, broken
			}
			return b.RoundTrip(req)
		})
		resp, err := (&transport.Transport{Source: &rotation{}, Base: failing}).RoundTrip(get(t, api))
		require.Equal(t, broken, err)
		require.Nil(t, resp)
		bodyOf(first).requireClosedOnce(t)
	})
	t.Run("neither answer nor error", func(t *testing.T) {
		silent := roundTripper(func(*http.Request) (*http.Response, error) { return nil, nil })
		resp, err := (&transport.Transport{Source: source{t: t}, Base: silent}).RoundTrip(get(t, api))
		require.ErrorIs(t, err, transport.ErrConfig)
		require.Nil(t, resp)
	})
	t.Run("answer without a body", func(t *testing.T) {
		b := &base{answers: []*http.Response{{StatusCode: 401}, {StatusCode: 204}}}
		tr := &transport.Transport{Source: &rotation{}, Base: b, Rejected: func(resp *http.Response) bool {
			_, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			return false
		}}
		resp, err := tr.RoundTrip(get(t, api))
		require.NoError(t, err)
		require.Equal(t, 204, resp.StatusCode)
		require.Empty(t, read(t, resp))
	})
}

func TestErrorsOfSource(t *testing.T) {
	b := &base{answers: []*http.Response{answer(200, "")}}
	s := source{t: t, token: func(context.Context) (*oauth2.Token, error) { return nil, errOutage }}
	hc := &http.Client{Transport: &transport.Transport{Source: s, Base: b}}
	_, err := hc.Do(get(t, api))
	require.ErrorIs(t, err, errOutage)
	require.Empty(t, b.sent)
}

func TestConfiguration(t *testing.T) {
	tests := []struct {
		name string
		tr   *transport.Transport
	}{
		{"no source", &transport.Transport{}},
		{"empty", &transport.Transport{Source: source{t: t}, Origins: []string{""}}},
		{"no scheme", &transport.Transport{Source: source{t: t}, Origins: []string{"api.example.com"}}},
		{"no host", &transport.Transport{Source: source{t: t}, Origins: []string{"https://:443"}}},
		{"another scheme", &transport.Transport{Source: source{t: t}, Origins: []string{"ftp://api.example.com"}}},
		{"path", &transport.Transport{Source: source{t: t}, Origins: []string{"https://api.example.com/v1"}}},
		{"query", &transport.Transport{Source: source{t: t}, Origins: []string{"https://api.example.com?x=1"}}},
		{"fragment", &transport.Transport{Source: source{t: t}, Origins: []string{"https://api.example.com#x"}}},
		{"wildcard", &transport.Transport{Source: source{t: t}, Origins: []string{"https://*.example.com"}}},
		{"password", &transport.Transport{Source: source{t: t}, Origins: []string{"https://u:s3cret@api.example.com"}}},
		{"no URL", &transport.Transport{Source: source{t: t}, Origins: []string{"https://u:s3cret@api.example.com:x"}}},
		{"behind a good one", &transport.Transport{Source: source{t: t}, Origins: []string{"https://api.example.com", "x"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := &base{answers: []*http.Response{answer(200, "")}}
			tt.tr.Base = b
			for range 2 {
				req, body, _ := post(t, "content", false)
				_, err := tt.tr.RoundTrip(req)
				require.ErrorIs(t, err, transport.ErrConfig)
				require.NotContains(t, err.Error(), "s3cret")
				body.requireClosedOnce(t)
			}
			require.Empty(t, b.sent)
		})
	}
}

type idle struct {
	http.RoundTripper
	closed int
}

func (i *idle) CloseIdleConnections() { i.closed++ }

func TestCloseIdleConnections(t *testing.T) {
	able := &idle{RoundTripper: &base{}}
	(&http.Client{Transport: &transport.Transport{Base: able}}).CloseIdleConnections()
	require.Equal(t, 1, able.closed)

	require.NotPanics(t, (&transport.Transport{Base: &base{}}).CloseIdleConnections)
}

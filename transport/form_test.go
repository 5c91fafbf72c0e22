package transport_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/transport"
)

func TestTokenInAnotherForm(t *testing.T) {
	for _, tt := range []struct{ name, header, field, want, challenge string }{
		{name: "another field", header: "x-access-token: {token}", field: "X-Access-Token", want: "token-%d"},
		{name: "another scheme", header: "Authorization: Zoho-oauthtoken {token}", field: "Authorization", want: "Zoho-oauthtoken token-%d"},
		{name: "another scheme that the server names", header: "Authorization: Zoho-oauthtoken {token}", field: "Authorization", want: "Zoho-oauthtoken token-%d", challenge: "zoho-oauthtoken"},
		{name: "in the midst", header: `Authorization:GenieKey key="{token}"`, field: "Authorization", want: `GenieKey key="token-%d"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var challenges []string
			if tt.challenge != "" {
				challenges = []string{tt.challenge}
			}
			b := &base{answers: []*http.Response{answer(401, "", challenges...), answer(200, "")}}
			rt := &transport.Transport{Source: &rotation{}, Base: b, Header: tt.header}
			req := get(t, api)
			resp, err := rt.RoundTrip(req)
			require.NoError(t, err)
			require.Equal(t, 200, resp.StatusCode)
			require.Len(t, b.sent, 2)
			for i, sent := range b.sent {
				require.Equal(t, http.Header{tt.field: {fmt.Sprintf(tt.want, i+1)}}, sent.request.Header)
			}
			require.Empty(t, req.Header)
		})
	}
}

// A request that brings its own token, in the usual form or in the other, is left alone.
func TestOwnTokenInAnotherForm(t *testing.T) {
	for _, own := range []string{"Authorization", "x-access-token"} {
		b := &base{answers: []*http.Response{answer(401, "")}}
		rt := &transport.Transport{Source: &rotation{}, Base: b, Header: "X-Access-Token: {token}", Fields: http.Header{"Client-Id": {"app"}}}
		req := get(t, api)
		req.Header[own] = []string{"mine"}
		_, err := rt.RoundTrip(req)
		require.NoError(t, err)
		require.Len(t, b.sent, 1)
		require.Equal(t, http.Header{own: {"mine"}}, b.sent[0].request.Header)
	}
}

// A bound token never leaves its form (RFC 9449 §7.1).
func TestBoundTokenInNoOtherForm(t *testing.T) {
	b := &base{answers: []*http.Response{answer(200, "")}}
	p := proving{&rotation{kind: "DPoP"}}
	_, err := (&transport.Transport{Source: p, Base: b, Header: "X-Access-Token: {token}"}).RoundTrip(get(t, api))
	require.NoError(t, err)
	require.Equal(t, []string{"DPoP token-1"}, b.sent[0].authorization)
	require.Empty(t, b.sent[0].request.Header["X-Access-Token"])
}

// proving makes proofs that prove nothing.
type proving struct{ transport.Source }

func (proving) Prove(context.Context, *oauth2.Token, string, string, string) (string, error) {
	return "proof", nil
}

func TestFieldsBesideTheToken(t *testing.T) {
	fields := http.Header{"Client-Id": {"app"}, "User-Agent": {"library"}}
	rt := &transport.Transport{Source: &rotation{}, Fields: fields, Origins: []string{"https://api.example"}}
	send := func(address string) http.Header {
		b := &base{answers: []*http.Response{answer(200, "")}}
		rt.Base = b
		req := get(t, address)
		req.Header["user-agent"] = []string{"program"}
		_, err := rt.RoundTrip(req)
		require.NoError(t, err)
		return b.sent[0].request.Header
	}
	require.Equal(t, http.Header{"Authorization": {"Bearer token-1"}, "Client-Id": {"app"}, "user-agent": {"program"}}, send("https://api.example/"))
	require.Equal(t, http.Header{"user-agent": {"program"}}, send("https://elsewhere.example/"), "they go where the token goes")
}

func TestFormsThatCannotBe(t *testing.T) {
	for _, header := range []string{
		"Authorization", "Authorization: Bearer", ": {token}", "X Y: {token}", "{token}: x", "X-Token: {token}\r\nX-More: y", "X-Töken: {token}",
	} {
		_, err := (&transport.Transport{Source: source{t: t}, Base: unasked(t), Header: header}).RoundTrip(get(t, api))
		require.ErrorIs(t, err, transport.ErrConfig, header)
	}
}

// unasked must not be asked.
func unasked(t *testing.T) http.RoundTripper {
	return roundTripper(func(*http.Request) (*http.Response, error) {
		t.Error("a request was sent")
		return answer(200, ""), nil
	})
}

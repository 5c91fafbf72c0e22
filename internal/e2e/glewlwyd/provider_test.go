package glewlwyd_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/e2e/glewlwyd"
)

func start(t *testing.T) (*glewlwyd.Provider, *oauth2.Config) {
	t.Helper()
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	p := glewlwyd.Start(t, key.Public())
	return p, &oauth2.Config{
		ClientID: glewlwyd.Web, ClientSecret: glewlwyd.Secret, RedirectURL: glewlwyd.Callback,
		Scopes: []string{"openid", glewlwyd.Scope},
		Endpoint: oauth2.Endpoint{
			AuthURL: p.Issuer + "/auth", TokenURL: p.Issuer + "/token", AuthStyle: oauth2.AuthStyleInHeader,
		},
	}
}

func call(t *testing.T, p *glewlwyd.Provider, authorization string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.UserInfo(), nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", authorization)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp
}

func TestWhatSetsItApart(t *testing.T) {
	p, c := start(t)
	verifier := oauth2.GenerateVerifier()
	callback := p.SignIn(c.AuthCodeURL("some-state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("nonce", "some-nonce"))).Query()
	require.Equal(t, p.Issuer, callback.Get("iss"))
	first, err := c.Exchange(t.Context(), callback.Get("code"), oauth2.VerifierOption(verifier))
	require.NoError(t, err)
	require.Equal(t, "bearer", first.TokenType)
	require.Equal(t, http.StatusOK, call(t, p, "Bearer "+first.AccessToken).StatusCode)
	refused := call(t, p, "bearer "+first.AccessToken)
	require.Equal(t, http.StatusUnauthorized, refused.StatusCode)
	require.Empty(t, refused.Header.Get("WWW-Authenticate"))

	p.DestroyAccessToken(first.AccessToken)
	require.Equal(t, http.StatusUnauthorized, call(t, p, "Bearer "+first.AccessToken).StatusCode)
	spent := &oauth2.Token{RefreshToken: first.RefreshToken}
	second, err := c.TokenSource(t.Context(), spent).Token()
	require.NoError(t, err, "its refresh token lives on")
	require.NotEqual(t, first.RefreshToken, second.RefreshToken)

	_, err = c.TokenSource(t.Context(), spent).Token()
	refusal, ok := errors.AsType[*oauth2.RetrieveError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, http.StatusBadRequest, refusal.Response.StatusCode)
	require.Empty(t, refusal.Body)
}

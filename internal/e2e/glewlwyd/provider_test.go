package glewlwyd_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/provider"
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

// TestProfile: what sets its client authentication apart is said by a profile that a program writes.
func TestProfile(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	p := glewlwyd.Start(t, key.Public())
	secret := client.Config{ClientID: glewlwyd.Raw, ClientSecret: glewlwyd.RawSecret}
	assertion := client.Config{ClientID: glewlwyd.Keyed, ClientKey: &client.Key{Signer: key, ID: "key 1"}}
	for name, row := range map[string]struct {
		config  client.Config
		profile *provider.Provider
		works   bool
	}{
		"Basic, form-encoded":                 {secret, nil, false},
		"Basic, as it is":                     {secret, &provider.Provider{RawBasic: true}, true},
		"an assertion for the issuer":         {assertion, nil, false},
		"an assertion for the token endpoint": {assertion, &provider.Provider{AssertionForEndpoint: true}, true},
	} {
		t.Run(name, func(t *testing.T) {
			row.config.Issuer, row.config.Provider, row.config.Scopes = p.Issuer, row.profile, []string{glewlwyd.Scope}
			row.config.Grant = client.ClientCredentials{}
			c, err := client.New(row.config)
			require.NoError(t, err)
			ctx := t.Context()
			t.Cleanup(func() { _ = c.Close(ctx) }) // gives up what is still tried
			if !row.works {                        // it answers an empty 403, which is tried again as a proxy's would be
				var cancel func()
				ctx, cancel = context.WithTimeout(ctx, 300*time.Millisecond)
				defer cancel()
			}
			token, err := c.Session("").Token(ctx)
			require.Equal(t, row.works, err == nil, "%v", err)
			if row.works {
				require.NotEmpty(t, token.AccessToken)
			}
		})
	}
}

// TestWhomAssertionsAreFor: the token endpoint, as OpenID Connect Core says (section 9), and not the issuer.
func TestWhomAssertionsAreFor(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	p := glewlwyd.Start(t, key.Public())
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "key 1"}}, nil)
	require.NoError(t, err)
	for audience, status := range map[string]int{p.Issuer + "/token": http.StatusOK, p.Issuer: http.StatusForbidden} {
		claims, err := json.Marshal(map[string]any{
			"iss": glewlwyd.Keyed, "sub": glewlwyd.Keyed, "aud": audience, "jti": rand.Text(),
			"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
		})
		require.NoError(t, err)
		signed, err := signer.Sign(claims)
		require.NoError(t, err)
		assertion, err := signed.CompactSerialize()
		require.NoError(t, err)
		resp, err := http.PostForm(p.Issuer+"/token", url.Values{
			"grant_type": {"client_credentials"}, "scope": {glewlwyd.Scope}, "client_id": {glewlwyd.Keyed}, "client_assertion": {assertion},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
		})
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, status, resp.StatusCode, audience)
	}
}

package zitadelop_test

import (
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/e2e/zitadelop"
)

func config(p *zitadelop.Provider, clientID string) *oauth2.Config {
	c := &oauth2.Config{
		ClientID: clientID,
		Endpoint: oauth2.Endpoint{
			AuthURL:       p.Issuer + "/auth",
			TokenURL:      p.Issuer + "/oauth/token",
			DeviceAuthURL: p.Issuer + "/device_authorization",
			AuthStyle:     oauth2.AuthStyleInParams,
		},
		RedirectURL: zitadelop.Callback,
		Scopes:      []string{"openid", "offline_access"},
	}
	if clientID != zitadelop.Native {
		c.ClientSecret = zitadelop.Secret
		c.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	}
	return c
}

func signIn(t *testing.T, p *zitadelop.Provider, c *oauth2.Config) *oauth2.Token {
	t.Helper()
	verifier := oauth2.GenerateVerifier()
	callback := p.SignIn(c.AuthCodeURL("some-state", oauth2.S256ChallengeOption(verifier))).Query()
	require.Equal(t, "some-state", callback.Get("state"))
	token, err := c.Exchange(t.Context(), callback.Get("code"), oauth2.VerifierOption(verifier))
	require.NoError(t, err)
	return token
}

func call(t *testing.T, p *zitadelop.Provider, accessToken string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.UserInfo(), nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+accessToken)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp
}

func TestRotation(t *testing.T) {
	p := zitadelop.Start(t, 0)
	for _, client := range []string{zitadelop.Native, zitadelop.Web} {
		t.Run(client, func(t *testing.T) {
			c := config(p, client)
			if client == zitadelop.Native {
				c.RedirectURL = "http://localhost:4321/callback"
			}
			first := signIn(t, p, c)
			require.Equal(t, http.StatusOK, call(t, p, first.AccessToken).StatusCode)

			spent := &oauth2.Token{RefreshToken: first.RefreshToken}
			second, err := c.TokenSource(t.Context(), spent).Token()
			require.NoError(t, err)
			require.NotEqual(t, first.RefreshToken, second.RefreshToken)
			dead := call(t, p, first.AccessToken)
			require.Equal(t, http.StatusForbidden, dead.StatusCode, "a refresh ends the access token before it")
			require.Empty(t, dead.Header.Get("WWW-Authenticate"))

			_, err = c.TokenSource(t.Context(), spent).Token()
			var refused *oauth2.RetrieveError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, "invalid_grant", refused.ErrorCode)
			require.Equal(t, http.StatusOK, call(t, p, second.AccessToken).StatusCode, "reuse ends nothing here")
		})
	}
}

func TestAccessTokensExpire(t *testing.T) {
	p := zitadelop.Start(t, time.Second)
	token := signIn(t, p, config(p, zitadelop.Web))
	require.LessOrEqual(t, token.ExpiresIn, int64(1))
	require.Eventually(t, func() bool {
		return call(t, p, token.AccessToken).StatusCode == http.StatusForbidden
	}, 3*time.Second, 10*time.Millisecond)
}

func TestConcurrentRefreshesOneWins(t *testing.T) {
	p := zitadelop.Start(t, 0)
	c := config(p, zitadelop.Web)
	spent := &oauth2.Token{RefreshToken: signIn(t, p, c).RefreshToken}
	won := make(chan *oauth2.Token, 8)
	var all sync.WaitGroup
	for range cap(won) {
		all.Go(func() {
			if token, err := c.TokenSource(t.Context(), spent).Token(); err == nil {
				won <- token
			}
		})
	}
	all.Wait()
	require.Len(t, won, 1)
}

func TestDeviceFlow(t *testing.T) {
	p := zitadelop.Start(t, 0)
	c := config(p, zitadelop.Device)
	device, err := c.DeviceAuth(t.Context())
	require.NoError(t, err)
	p.Approve(device.UserCode)
	device.Interval = 1
	token, err := c.DeviceAccessToken(t.Context(), device)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, call(t, p, token.AccessToken).StatusCode)
}

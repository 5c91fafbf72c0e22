package demo_test

import (
	"context"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/evergrant/evergrant/examples/internal/demo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// config is a public client as x/oauth2 has it: these tests are about the provider, not about Evergrant.
func config(p *demo.Provider) *oauth2.Config {
	return &oauth2.Config{
		ClientID: demo.ClientID,
		Scopes:   []string{"openid", "offline_access"},
		Endpoint: oauth2.Endpoint{
			AuthURL:       p.Issuer + "/authorize",
			TokenURL:      p.Issuer + "/oauth/token",
			DeviceAuthURL: p.Issuer + "/device_authorization",
			AuthStyle:     oauth2.AuthStyleInParams,
		},
	}
}

func start(t *testing.T, life time.Duration) (*demo.Provider, *demo.API) {
	p, err := demo.StartProvider(life, nil)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	api := demo.StartAPI(p)
	t.Cleanup(api.Close)
	return p, api
}

func browser(t *testing.T) *http.Client {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &http.Client{Jar: jar}
}

// login takes a person through the code flow.
func login(t *testing.T, c *oauth2.Config) *oauth2.Token {
	var callback url.Values
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { callback = r.URL.Query() }))
	defer app.Close()
	c.RedirectURL = app.URL + "/callback"
	verifier := oauth2.GenerateVerifier()
	require.NoError(t, demo.SignIn(t.Context(), browser(t), c.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier))))
	require.Equal(t, "state", callback.Get("state"))
	token, err := c.Exchange(t.Context(), callback.Get("code"), oauth2.VerifierOption(verifier))
	require.NoError(t, err)
	return token
}

func refresh(t *testing.T, c *oauth2.Config, refreshToken string) (*oauth2.Token, error) {
	return c.TokenSource(t.Context(), &oauth2.Token{RefreshToken: refreshToken}).Token()
}

// call returns what the API answers to an access token.
func call(t *testing.T, api *demo.API, accessToken string) *http.Response {
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, api.URL, nil)
	require.NoError(t, err)
	if accessToken != "" {
		r.Header.Set("Authorization", "Bearer "+accessToken)
	}
	resp, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp
}

func TestProvider_rotates(t *testing.T) {
	p, api := start(t, 300*time.Second)
	c := config(p)
	first := login(t, c)
	second, err := refresh(t, c, first.RefreshToken)
	require.NoError(t, err)
	require.NotEqual(t, first.RefreshToken, second.RefreshToken)
	require.Equal(t, http.StatusUnauthorized, call(t, api, first.AccessToken).StatusCode, "the access token before ends with its refresh token")
	require.Equal(t, http.StatusOK, call(t, api, second.AccessToken).StatusCode)

	_, err = refresh(t, c, first.RefreshToken)
	var refused *oauth2.RetrieveError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "invalid_grant", refused.ErrorCode)
	require.Equal(t, demo.Counts{Logins: 1, Renewals: 1, Refused: 1}, p.Counts())
}

func TestProvider_revokesAccessTokensAndKeepsGrants(t *testing.T) {
	p, api := start(t, 300*time.Second)
	c := config(p)
	token := login(t, c)
	require.Equal(t, http.StatusOK, call(t, api, token.AccessToken).StatusCode)
	p.RevokeAccessTokens()
	resp := call(t, api, token.AccessToken)
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Equal(t, `Bearer realm="api", error="invalid_token"`, resp.Header.Get("WWW-Authenticate"))
	renewed, err := refresh(t, c, token.RefreshToken)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, call(t, api, renewed.AccessToken).StatusCode)
}

func TestProvider_endsAccessTokens(t *testing.T) {
	p, api := start(t, time.Second)
	token := login(t, config(p))
	require.EqualValues(t, 1, token.ExpiresIn)
	require.Equal(t, http.StatusOK, call(t, api, token.AccessToken).StatusCode)
	require.Eventually(t, func() bool { return call(t, api, token.AccessToken).StatusCode == http.StatusUnauthorized },
		5*time.Second, 100*time.Millisecond)
}

func TestProvider_deviceFlow(t *testing.T) {
	p, api := start(t, 300*time.Second)
	c := config(p)
	device, err := c.DeviceAuth(t.Context())
	require.NoError(t, err)
	require.NoError(t, demo.SignIn(t.Context(), browser(t), device.VerificationURIComplete))
	token, err := c.DeviceAccessToken(t.Context(), device)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, call(t, api, token.AccessToken).StatusCode)
	_, err = refresh(t, c, token.RefreshToken)
	require.NoError(t, err)
}

func TestProvider_clientCredentials(t *testing.T) {
	p, api := start(t, 300*time.Second)
	c := clientcredentials.Config{ClientID: demo.DaemonID, ClientSecret: demo.DaemonSecret, TokenURL: p.Issuer + "/oauth/token"}
	token, err := c.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, call(t, api, token.AccessToken).StatusCode)
}

func TestAPI_challenges(t *testing.T) {
	_, api := start(t, 300*time.Second)
	tests := []struct{ name, token, challenge string }{
		{"no token", "", `Bearer realm="api"`},
		{"a stranger's token", "stranger", `Bearer realm="api", error="invalid_token"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			resp := call(t, api, tt.token)
			require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
			require.Equal(t, tt.challenge, resp.Header.Get("WWW-Authenticate"))
		})
	}
	require.Equal(t, 2, api.Refused())
}

func TestSignIn_failsWithoutSecrets(t *testing.T) {
	p, _ := start(t, 300*time.Second)
	err := demo.SignIn(context.Background(), browser(t), p.Issuer+"/login/username?authRequestID=unknown")
	require.ErrorContains(t, err, "403")
	require.NotContains(t, err.Error(), "unknown")
}

package leeway_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/leeway"
)

func TestDjango(t *testing.T) {
	const grace = 3 * time.Second
	p := leeway.Django{Grace: grace}.Start(t)
	c, first := signIn(t, p)

	second := refresh(t, c, first)
	spent := time.Now()
	require.NotEqual(t, first.RefreshToken, second.RefreshToken)
	require.Equal(t, http.StatusUnauthorized, call(t, p, first), "a refresh ends the access token before")
	again := refresh(t, c, first)
	require.Equal(t, second.RefreshToken, again.RefreshToken)
	require.Equal(t, second.AccessToken, again.AccessToken)
	require.Equal(t, http.StatusOK, call(t, p, second))

	time.Sleep(time.Until(spent.Add(grace)))
	requireRefused(t, c, first)
	refresh(t, c, second) // the grant lives on

	requireLedger(t, p.Log(), second)
}

func TestDjangoWithoutGrace(t *testing.T) {
	p := leeway.Django{}.Start(t)
	c, first := signIn(t, p)
	second := refresh(t, c, first)
	requireRefused(t, c, first)
	require.Equal(t, http.StatusOK, call(t, p, second))
}

func TestDoorkeeper(t *testing.T) {
	p := leeway.Doorkeeper{}.Start(t)
	c, first := signIn(t, p)

	second := refresh(t, c, first)
	require.NotEqual(t, first.RefreshToken, second.RefreshToken)
	require.Equal(t, http.StatusOK, call(t, p, first))
	third := refresh(t, c, first)
	require.NotEqual(t, second.RefreshToken, third.RefreshToken)
	require.Equal(t, http.StatusOK, call(t, p, third), "the first use of a successor")
	require.Equal(t, http.StatusUnauthorized, call(t, p, first))
	requireRefused(t, c, first)
	refresh(t, c, third) // the grant lives on

	requireLedger(t, p.Log(), third)
}

// requireLedger wants the ledger to tell of a login, of three presentations of its refresh token, of which the last was
// refused, and of one of the last token.
func requireLedger(t *testing.T, log []ledger.TokenRequest, last *oauth2.Token) {
	t.Helper()
	require.Len(t, log, 5)
	first := log[0].Issued
	for i, want := range []ledger.TokenRequest{
		{GrantType: "authorization_code", Status: http.StatusOK},
		{GrantType: "refresh_token", Status: http.StatusOK, Presented: first},
		{GrantType: "refresh_token", Status: http.StatusOK, Presented: first, Reuse: true},
		{GrantType: "refresh_token", Status: http.StatusBadRequest, Error: "invalid_grant", Presented: first, Reuse: true},
		{GrantType: "refresh_token", Status: http.StatusOK, Presented: ledger.Name(last.RefreshToken)},
	} {
		got := log[i]
		require.Equal(t, want.Status == http.StatusOK, got.Issued != "", "%+v", got)
		require.NotZero(t, got.Time)
		want.ClientID, want.Time, want.UserAgent, want.Issued = leeway.ClientID, got.Time, got.UserAgent, got.Issued
		require.Equal(t, want, got)
	}
	require.Equal(t, ledger.Name(last.RefreshToken), log[2].Issued)
}

func TestAccessTokensExpire(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *leeway.Provider{
		"django":     leeway.Django{AccessTokenLife: time.Second}.Start,
		"doorkeeper": leeway.Doorkeeper{AccessTokenLife: time.Second}.Start,
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t)
			_, token := signIn(t, p)
			require.EqualValues(t, 1, token.ExpiresIn)
			for end := time.Now().Add(3 * time.Second); call(t, p, token) != http.StatusUnauthorized; time.Sleep(50 * time.Millisecond) {
				require.True(t, time.Now().Before(end), "the token does not end")
			}
		})
	}
}

func TestAnAccessTokenEndsBeforeItsTime(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *leeway.Provider{
		"django": leeway.Django{}.Start, "doorkeeper": leeway.Doorkeeper{}.Start,
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t)
			c, token := signIn(t, p)
			p.ExpireAccessToken(token.AccessToken)
			require.Equal(t, http.StatusUnauthorized, call(t, p, token))
			require.Equal(t, http.StatusOK, call(t, p, refresh(t, c, token)))
		})
	}
}

func TestManyAtOnce(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *leeway.Provider{
		"django":     leeway.Django{Grace: time.Minute}.Start,
		"doorkeeper": leeway.Doorkeeper{}.Start,
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t)
			c, first := signIn(t, p)
			outcomes := make(chan error, 100)
			for range cap(outcomes) {
				go func() {
					_, err := present(t, c, first)
					outcomes <- err
				}()
			}
			for range cap(outcomes) {
				require.NoError(t, <-outcomes, "a request fails because of another")
			}
		})
	}
}

func signIn(t *testing.T, p *leeway.Provider) (*oauth2.Config, *oauth2.Token) {
	t.Helper()
	c := &oauth2.Config{
		ClientID: leeway.ClientID, Endpoint: p.Endpoint(), RedirectURL: leeway.Callback, Scopes: []string{leeway.Scope},
	}
	verifier := oauth2.GenerateVerifier()
	callback := p.SignIn(c.AuthCodeURL("some-state", oauth2.S256ChallengeOption(verifier)), "alice").Query()
	require.Equal(t, "some-state", callback.Get("state"))
	token, err := c.Exchange(t.Context(), callback.Get("code"), oauth2.VerifierOption(verifier))
	require.NoError(t, err)
	require.NotEmpty(t, token.RefreshToken)
	require.Equal(t, http.StatusOK, call(t, p, token))
	return c, token
}

// present presents the refresh token of old.
func present(t *testing.T, c *oauth2.Config, old *oauth2.Token) (*oauth2.Token, error) {
	return c.TokenSource(t.Context(), &oauth2.Token{RefreshToken: old.RefreshToken}).Token()
}

func refresh(t *testing.T, c *oauth2.Config, old *oauth2.Token) *oauth2.Token {
	t.Helper()
	token, err := present(t, c, old)
	require.NoError(t, err)
	return token
}

func requireRefused(t *testing.T, c *oauth2.Config, old *oauth2.Token) {
	t.Helper()
	_, err := present(t, c, old)
	refused, ok := errors.AsType[*oauth2.RetrieveError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "invalid_grant", refused.ErrorCode)
}

// call calls the API and returns the status.
func call(t *testing.T, p *leeway.Provider, token *oauth2.Token) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.API(), nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

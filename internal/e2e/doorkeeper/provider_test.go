package doorkeeper_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/e2e/doorkeeper"
)

func signIn(t *testing.T, p *doorkeeper.Provider) (*oauth2.Config, *oauth2.Token) {
	t.Helper()
	c := &oauth2.Config{
		ClientID: doorkeeper.ClientID, Endpoint: p.Endpoint(), RedirectURL: doorkeeper.Callback,
		Scopes: []string{doorkeeper.Scope},
	}
	verifier := oauth2.GenerateVerifier()
	callback := p.SignIn(c.AuthCodeURL("some-state", oauth2.S256ChallengeOption(verifier)), "alice").Query()
	require.Equal(t, "some-state", callback.Get("state"))
	token, err := c.Exchange(t.Context(), callback.Get("code"), oauth2.VerifierOption(verifier))
	require.NoError(t, err)
	require.NotEmpty(t, token.RefreshToken)
	require.Equal(t, http.StatusOK, call(t, p, token.AccessToken))
	return c, token
}

// refresh presents a refresh token and returns the answer or the error code.
func refresh(t *testing.T, c *oauth2.Config, refreshToken string) (*oauth2.Token, string) {
	t.Helper()
	token, err := c.TokenSource(t.Context(), &oauth2.Token{RefreshToken: refreshToken}).Token()
	if err == nil {
		return token, ""
	}
	var refused *oauth2.RetrieveError
	require.ErrorAs(t, err, &refused)
	return nil, refused.ErrorCode
}

func call(t *testing.T, p *doorkeeper.Provider, accessToken string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.API(), nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+accessToken)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

func TestLeeway(t *testing.T) {
	p := doorkeeper.Start(t, doorkeeper.Config{})
	c, first := signIn(t, p)

	second, refused := refresh(t, c, first.RefreshToken)
	require.Empty(t, refused)
	require.NotEqual(t, first.RefreshToken, second.RefreshToken)
	require.Equal(t, http.StatusOK, call(t, p, first.AccessToken))

	third, refused := refresh(t, c, first.RefreshToken)
	require.Empty(t, refused)
	require.NotEqual(t, second.RefreshToken, third.RefreshToken)
	require.Equal(t, http.StatusOK, call(t, p, third.AccessToken), "the first use of a successor")
	require.Equal(t, http.StatusUnauthorized, call(t, p, first.AccessToken))
	_, refused = refresh(t, c, first.RefreshToken)
	require.Equal(t, "invalid_grant", refused)
	_, refused = refresh(t, c, third.RefreshToken)
	require.Empty(t, refused, "the grant lives on")

	log := p.Log()
	require.Len(t, log, 5)
	require.Equal(t, "authorization_code", log[0].GrantType)
	require.Equal(t, log[0].Issued, log[1].Presented)
	require.Equal(t, log[2].Issued, log[4].Presented)
	require.Equal(t, []bool{false, false, true, true, false}, []bool{log[0].Reuse, log[1].Reuse, log[2].Reuse, log[3].Reuse, log[4].Reuse})
	require.Equal(t, "invalid_grant", log[3].Error)
	require.Equal(t, http.StatusBadRequest, log[3].Status)
}

func TestAccessTokensExpire(t *testing.T) {
	p := doorkeeper.Start(t, doorkeeper.Config{AccessTokenLife: time.Second})
	_, token := signIn(t, p)
	require.EqualValues(t, 1, token.ExpiresIn)
	require.Eventually(t, func() bool {
		return call(t, p, token.AccessToken) == http.StatusUnauthorized
	}, 3*time.Second, 50*time.Millisecond)
}

func TestManyAtOnce(t *testing.T) {
	p := doorkeeper.Start(t, doorkeeper.Config{})
	c, first := signIn(t, p)
	codes := make(chan int, 100)
	for range cap(codes) {
		go func() {
			_, err := c.TokenSource(t.Context(), &oauth2.Token{RefreshToken: first.RefreshToken}).Token()
			if err != nil {
				codes <- http.StatusInternalServerError
				return
			}
			codes <- http.StatusOK
		}()
	}
	for range cap(codes) {
		require.Equal(t, http.StatusOK, <-codes, "no request fails because of another")
	}
}

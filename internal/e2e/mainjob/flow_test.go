package mainjob_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
)

func TestADeviceLogsIn(t *testing.T) {
	t.Parallel()
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true, AlwaysRefreshToken: true})
	c := newClient(t, sealed(t, native(p.Issuer)))
	for _, tt := range []struct {
		name    string
		answer  func(address string)
		refused string
	}{
		{name: "approved", answer: func(address string) { p.Approve(address, alice) }},
		{name: "denied", answer: p.Deny, refused: "access_denied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := c.Session(tt.name)
			shown, outcome := make(chan client.Verification, 1), make(chan error, 1)
			go func() {
				outcome <- s.Login(t.Context(), client.Device{Prompt: func(_ context.Context, v client.Verification) error {
					shown <- v
					return nil
				}})
			}()
			v := <-shown
			require.NotEmpty(t, v.UserCode)
			require.Greater(t, time.Until(v.Expiry), 9*time.Minute)
			tt.answer(v.URIComplete)
			err := <-outcome
			if tt.refused != "" {
				refusal, ok := errors.AsType[*client.Error](err)
				require.True(t, ok, "%v", err)
				require.Equal(t, tt.refused, refusal.Code)
				_, err = get(s.HTTPClient(), p.API())
				require.ErrorIs(t, err, client.ErrLoginRequired)
				return
			}
			require.NoError(t, err)
			requireWorks(t, s, p)
			_, err = s.Renew(t.Context(), nil)
			require.NoError(t, err)
			requireWorks(t, s, p)
			require.Len(t, of("refresh_token", p.Log()), 1)
		})
	}
}

func requireWorks(t *testing.T, s *client.Session, p *oidcprovider.Provider) {
	t.Helper()
	status, err := get(s.HTTPClient(), p.API())
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
}

func TestALoginBegunElsewhereIsFinishedHere(t *testing.T) {
	t.Parallel()
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true})
	s := newClient(t, sealed(t, backend(p.Issuer))).Session(alice)
	line := start(t, task{Do: begin, Issuer: p.Issuer})
	address, text := line(), line()
	ours := func() *client.Pending {
		var p client.Pending
		require.NoError(t, p.UnmarshalText([]byte(text)))
		return &p
	}
	require.Equal(t, address, ours().URL)

	// Mallory begins a login of her own and has Alice's browser bring its callback.
	theirs, err := s.Start(t.Context(), client.AuthCode{Params: consent})
	require.NoError(t, err)
	stray := p.SignIn(theirs.URL, "mallory").Query()
	require.ErrorIs(t, s.Finish(t.Context(), ours(), stray), client.ErrPending)
	require.Empty(t, p.Log(), "her code was not sent")
	// Did she know the state, her code would still not be for Alice's verifier (RFC 7636).
	callback := p.SignIn(address, alice).Query()
	stray.Set("state", callback.Get("state"))
	refusal, ok := errors.AsType[*client.Error](s.Finish(t.Context(), ours(), stray))
	require.True(t, ok)
	require.Equal(t, "invalid_grant", refusal.Code)
	status, err := s.Status(t.Context())
	require.NoError(t, err)
	require.False(t, status.LoggedIn)

	require.NoError(t, s.Finish(t.Context(), ours(), callback))
	status, err = s.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, alice, status.Subject)
	requireWorks(t, s, p)
	_, err = s.Renew(t.Context(), nil)
	require.NoError(t, err)
	requireWorks(t, s, p)
	require.Len(t, of("refresh_token", p.Log()), 1)
}

func TestAServiceNeedsNobody(t *testing.T) {
	t.Parallel()
	p := oidcprovider.Start(t, oidcprovider.Config{AccessTokenLife: life})
	s := newClient(t, sealed(t, client.Config{
		Issuer: p.Issuer, ClientID: oidcprovider.Daemon, ClientSecret: oidcprovider.Secret, Scopes: []string{"openid"},
		Grant: client.ClientCredentials{},
	})).Session("service")
	const workers, span = 20, 9 * time.Second
	answers, errs := gather(workers, s.HTTPClient(), p.API()).after(span)
	requireAllServed(t, answers, errs, workers*int(span/time.Second))

	ledger := p.Log()
	require.Len(t, of("client_credentials", ledger), len(ledger))
	require.GreaterOrEqual(t, len(ledger), int(span/life), "no token outlives its time")
	require.LessOrEqual(t, len(ledger), int(span/earliest)+2, "one request for all, and none too early")
}

func TestLogoutRevokesAndDeletes(t *testing.T) {
	t.Parallel()
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true})
	c := newClient(t, sealed(t, native(p.Issuer)))
	s := c.Session(alice)
	logAliceIn(t, s, p)
	_, err := s.Renew(t.Context(), nil)
	require.NoError(t, err)
	requireWorks(t, s, p)
	token, err := s.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{alice}, keys(t, c))
	require.Equal(t, 1, p.Stats().Live.RefreshTokens)

	require.NoError(t, s.Logout(t.Context()))
	require.Zero(t, p.Stats().Live.RefreshTokens)
	require.Zero(t, p.Stats().Live.Grants)
	require.Empty(t, keys(t, c))
	_, err = get(s.HTTPClient(), p.API())
	require.ErrorIs(t, err, client.ErrLoginRequired)
	require.Len(t, of("refresh_token", p.Log()), 1, "nothing was spent after the logout")

	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.API(), nil)
	require.NoError(t, err)
	token.SetAuthHeader(req)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode, "a copy of the access token is dead, too")
}

func keys(t *testing.T, c *client.Client) []string {
	t.Helper()
	var all []string
	for key, err := range c.Keys(t.Context()) {
		require.NoError(t, err)
		all = append(all, key)
	}
	return all
}

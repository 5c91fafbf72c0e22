package client_test

import (
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore"
)

// TestGrantsOfFromOAuth2LieUnderTheTokenEndpoint: the Config that its doc shows finds them, one with an Issuer does not.
func TestGrantsOfFromOAuth2LieUnderTheTokenEndpoint(t *testing.T) {
	s := clienttest.New(t)
	s.Listen()
	config, store := s.Config(), tokenstore.NewMemory()
	c, err := client.FromOAuth2(config, store)
	require.NoError(t, err)
	require.NoError(t, c.Session("alice").Adopt(t.Context(), s.Login("read")))
	require.NoError(t, c.Close(t.Context()))

	var events []client.Event
	equal := client.Config{
		Endpoint:     config.Endpoint,
		ClientID:     config.ClientID,
		ClientSecret: config.ClientSecret,
		Scopes:       config.Scopes,
		RedirectURL:  config.RedirectURL,
		Store:        store,
		OnEvent:      func(e client.Event) { events = append(events, e) },
	}
	c, err = client.New(equal)
	require.NoError(t, err)
	_, err = c.Session("alice").Renew(t.Context(), nil)
	require.NoError(t, err)
	require.NoError(t, c.Close(t.Context()))
	require.NotEmpty(t, events)

	equal.Issuer, equal.OnEvent = s.Issuer, nil
	c, err = client.New(equal)
	require.NoError(t, err)
	_, err = c.Session("alice").Token(t.Context())
	require.ErrorIs(t, err, client.ErrLoginRequired)
	require.NoError(t, c.Close(t.Context()))
}

// TestComingFromOAuth2 has the section of that name in the package's doc: what takes the place of what.
func TestComingFromOAuth2(t *testing.T) {
	get := func(t *testing.T, hc *http.Client, url string) int {
		t.Helper()
		resp, err := hc.Get(url)
		require.NoError(t, err)
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		return resp.StatusCode
	}
	t.Run("a second cache keeps a revoked token", func(t *testing.T) {
		s := clienttest.New(t)
		s.Listen()
		api := s.NewAPI("api.test")
		alice := s.NewClient(client.Config{}).Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), s.Login("read")))
		cached, own := oauth2.NewClient(t.Context(), alice.TokenSource()), alice.HTTPClient()
		defer http.DefaultClient.CloseIdleConnections()
		require.Equal(t, 200, get(t, cached, api.URL))
		s.RevokeAccessToken("")
		require.Equal(t, 401, get(t, cached, api.URL))
		require.Equal(t, 200, get(t, own, api.URL), "the session renews")
		require.Equal(t, 401, get(t, cached, api.URL), "the cache still has the old one")
	})
	t.Run("AuthCodeURL, SetAuthURLParam, Exchange, HTTPClient", func(t *testing.T) {
		s := clienttest.New(t) // that no client but its own reaches: AuthServerClient is what speaks to it
		c := s.NewClient(client.Config{RedirectURL: "https://app.test/callback", AuthServerClient: s.HTTPClient("mine")})
		p, err := c.Session("alice").Start(t.Context(), client.AuthCode{Params: url.Values{"login_hint": {"alice@example.com"}}})
		require.NoError(t, err)
		u, err := url.Parse(p.URL)
		require.NoError(t, err)
		require.Equal(t, "alice@example.com", u.Query().Get("login_hint"))
		require.Equal(t, "S256", u.Query().Get("code_challenge_method"))
		callback, err := s.Browse(t.Context(), p.URL)
		require.NoError(t, err)
		require.NoError(t, c.Session("alice").Finish(t.Context(), p, callback.Query()))
		for _, r := range s.Requests() {
			require.Equal(t, "mine", r.Process)
		}
	})
	t.Run("RetrieveError", func(t *testing.T) {
		s := clienttest.New(t)
		alice := s.NewClient(client.Config{}).Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), &oauth2.Token{RefreshToken: "of nobody"}))
		_, err := alice.Token(t.Context())
		var e *client.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "invalid_grant", e.Code)
		require.Equal(t, 400, e.StatusCode)
		require.NotErrorAs(t, err, new(*oauth2.RetrieveError))
	})
}

package interop_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
)

// row is a row of the matrix. show fails the test unless what it is about works, or is shown to be lacking.
type row struct {
	name string
	show func(t *testing.T, s *server) verdict
}

const (
	deviceGrant   = "urn:ietf:params:oauth:grant-type:device_code"
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"

	accessTokenType = "urn:ietf:params:oauth:token-type:access_token"
)

// The rows, by name: columns of their own name them, too.
const (
	codeAndPKCE  = "code + PKCE"
	refresh      = "refresh with rotation"
	replay       = "replay of an old refresh token"
	revokedEarly = "early revocation → renewal"
	device       = "device"
	machine      = "client credentials"
	keyJWT       = "private_key_jwt"
	pushed       = "PAR"
	proofs       = "DPoP with nonces"
	mutualTLS    = "mTLS"
	revocation   = "revocation"
	discovery    = "discovery"
	resources    = "resource indicators"
	exchange     = "token exchange"
	identity     = "id_token"
	logout       = "logout"
	garbage      = "garbage for an access token → renewal"
	wrongSecret  = "client authentication failure"
)

var rows = []row{
	{codeAndPKCE, showCode},
	{refresh, showRefresh},
	{replay, showReplay},
	{revokedEarly, showEarlyRevocation(person)},
	{device, showDevice},
	{machine, showClientCredentials(daemon)},
	{keyJWT, showClientCredentials(keyed)},
	{pushed, showPAR},
	{proofs, showDPoP},
	{mutualTLS, showClientCredentials(bearing)},
	{revocation, showRevocation},
	{discovery, showDiscovery},
	{resources, nil},
	{exchange, lacksGrant(exchangeGrant, url.Values{
		"subject_token": {"none"}, "subject_token_type": {accessTokenType},
	}, "unsupported_grant_type")},
	{identity, showIDToken},
	{logout, showLogout(nil)},
	{garbage, showGarbage},
	{wrongSecret, showWrongSecret},
}

func showCode(t *testing.T, s *server) verdict {
	session, w := s.login(t, person)
	s.requireWorks(t, session)
	redeemed := w.of("authorization_code")
	require.Len(t, redeemed, 1)
	require.GreaterOrEqual(t, len(redeemed[0].form.Get("code_verifier")), 43)
	// A verifier that is not this code's is refused: the challenge has arrived.
	other, _ := s.open(t, person)
	pending, err := other.Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	mixed, err := other.Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	callback, stray := s.signIn(t, pending.URL).Query(), s.signIn(t, mixed.URL).Query()
	callback.Set("code", stray.Get("code"))
	require.Error(t, other.Finish(t.Context(), pending, callback))
	return pass()
}

func showRefresh(t *testing.T, s *server) verdict {
	session, w := s.login(t, person)
	first := w.refreshToken(t)
	for range 2 {
		renew(t, session)
		s.requireWorks(t, session)
	}
	sent := w.of("refresh_token")
	require.Len(t, sent, 2)
	require.Equal(t, first, sent[0].form.Get("refresh_token"))
	require.NotEqual(t, first, sent[1].form.Get("refresh_token"), "the token was not replaced")
	require.Equal(t, sent[0].answer["refresh_token"], sent[1].form.Get("refresh_token"))
	return pass()
}

// showReplay has a second program use a copy of the refresh token.
func showReplay(t *testing.T, s *server) verdict {
	session, w := s.login(t, person)
	old := w.refreshToken(t)
	renew(t, session)
	s.requireWorks(t, session)

	copied, _ := s.open(t, person)
	require.NoError(t, copied.Adopt(t.Context(), &oauth2.Token{RefreshToken: old}))
	requireRefused(t, copied, s.replayed)
	if s.replayed.spread {
		requireRefused(t, session, s.replayed)
	} else {
		renew(t, session)
	}
	return pass(s.replayed.words())
}

func (r replayed) words() string {
	said := words(&client.Error{StatusCode: r.status, Code: r.code})
	if r.code != "invalid_grant" {
		said += ": doubted, and asked again after 30 s before a login is required"
	}
	if r.spread {
		return said + "; its successor dies, too"
	}
	return said + "; its successor lives"
}

// requireRefused wants the server to refuse to renew, and a login to be required if it has said why.
func requireRefused(t *testing.T, session *client.Session, by replayed) {
	t.Helper()
	_, err := session.Renew(t.Context(), nil)
	refusal, ok := errors.AsType[*client.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, by.code, refusal.Code)
	require.Equal(t, by.status, refusal.StatusCode)
	require.Equal(t, by.code == "invalid_grant", errors.Is(err, client.ErrLoginRequired), "%v", err)
}

func showEarlyRevocation(r role) func(*testing.T, *server) verdict {
	return func(t *testing.T, s *server) verdict {
		session, w := s.login(t, r)
		s.requireWorks(t, session)
		before := current(t, session)
		s.end(t, before.AccessToken)
		s.requireWorks(t, session)
		require.NotEqual(t, before.AccessToken, current(t, session).AccessToken)
		require.Len(t, w.of("refresh_token"), 1)
		return pass()
	}
}

func showDevice(t *testing.T, s *server) verdict {
	r := gadget
	if _, ok := s.clients[r]; !ok {
		r = person
	}
	session, w := s.open(t, r)
	require.NoError(t, session.Login(t.Context(), client.Device{Prompt: func(_ context.Context, v client.Verification) error {
		s.approve(t, v)
		return nil
	}}))
	s.requireWorks(t, session)
	require.NotEmpty(t, w.of(deviceGrant))
	return pass()
}

func showClientCredentials(r role) func(*testing.T, *server) verdict {
	return func(t *testing.T, s *server) verdict {
		session, w := s.open(t, r)
		s.requireWorks(t, session)
		first := current(t, session)
		require.NotEqual(t, first.AccessToken, renew(t, session).AccessToken)
		s.requireWorks(t, session)
		for _, sent := range w.of("client_credentials") {
			require.Equal(t, r == keyed, sent.form.Has("client_assertion"))
		}
		return pass()
	}
}

func showPAR(t *testing.T, s *server) verdict {
	session, _ := s.open(t, person)
	pending, err := session.Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	address, err := url.Parse(pending.URL)
	require.NoError(t, err)
	require.NotEmpty(t, address.Query().Get("request_uri"))
	require.False(t, address.Query().Has("code_challenge"), "the request is not in the address")
	require.NoError(t, session.Finish(t.Context(), pending, s.signIn(t, pending.URL).Query()))
	s.requireWorks(t, session)
	return pass()
}

func showDPoP(t *testing.T, s *server) verdict {
	session, w := s.login(t, person, func(c *client.Config) { c.DPoP = &client.DPoP{} })
	s.requireWorks(t, session)
	renew(t, session)
	s.requireWorks(t, session)
	require.Equal(t, "DPoP", current(t, session).TokenType)
	require.Equal(t, 1, w.refused("use_dpop_nonce"), "a nonce is wanted, and learnt once")
	return pass()
}

func showRevocation(t *testing.T, s *server) verdict {
	r := s.confidential()
	session, w := s.login(t, r)
	s.requireWorks(t, session)
	token := w.refreshToken(t)
	require.NoError(t, session.Logout(t.Context()))
	_, err := session.Token(t.Context())
	require.ErrorIs(t, err, client.ErrLoginRequired)

	copied, _ := s.open(t, r)
	require.NoError(t, copied.Adopt(t.Context(), &oauth2.Token{RefreshToken: token}))
	_, err = copied.Token(t.Context())
	refusal, ok := errors.AsType[*client.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, http.StatusBadRequest, refusal.StatusCode, "%v", err)
	return pass()
}

func showDiscovery(t *testing.T, s *server) verdict {
	config := s.clients[person]
	require.NotEmpty(t, config.Issuer)
	require.Equal(t, oauth2.Endpoint{}, config.Endpoint, "nothing but the issuer")
	session, _ := s.open(t, person)
	pending, err := session.Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	address, err := url.Parse(pending.URL)
	require.NoError(t, err)
	endpoint, err := url.Parse(s.document(t)["authorization_endpoint"].(string))
	require.NoError(t, err)
	require.Equal(t, endpoint.Host+endpoint.Path, address.Host+address.Path)
	return pass()
}

// asksWho adds the scope by which a server gives an id token.
func asksWho(c *client.Config) {
	if !slices.Contains(c.Scopes, "openid") {
		c.Scopes = append([]string{"openid"}, c.Scopes...)
	}
}

// showIDToken has the id token of a login verified by the server's keys, and UserInfo agree with it.
func showIDToken(t *testing.T, s *server) verdict {
	session, w := s.login(t, person, asksWho)
	require.NotEmpty(t, w.of("authorization_code")[0].answer["id_token"])
	require.Contains(t, s.document(t), "jwks_uri", "or the signature would not be looked at")
	var said, asked struct{ Iss, Sub string }
	require.NoError(t, session.Claims(t.Context(), &said))
	require.Equal(t, s.document(t)["issuer"], said.Iss)
	require.NotEmpty(t, said.Sub)
	require.NoError(t, session.UserInfo(t.Context(), &asked))
	require.Equal(t, said.Sub, asked.Sub)
	renew(t, session)
	status, err := session.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, said.Sub, status.Subject)
	return pass()
}

// showLogout has the server take the id token for a hint of who it is that leaves, and no other for it. further are
// parameters of the address.
func showLogout(further url.Values) func(*testing.T, *server) verdict {
	return func(t *testing.T, s *server) verdict {
		session, _ := s.login(t, s.confidential(), asksWho)
		params := url.Values{"state": {"a state"}}
		maps.Copy(params, further)
		address, err := session.EndSessionURL(t.Context(), params)
		require.NoError(t, err)
		if err := session.Logout(t.Context()); s.document(t)["revocation_endpoint"] == nil {
			require.ErrorIs(t, err, errors.ErrUnsupported)
		} else {
			require.NoError(t, err)
		}
		end, err := url.Parse(address)
		require.NoError(t, err)
		query := end.Query()
		require.NotEmpty(t, query.Get("id_token_hint"))
		status, good := leave(t, s, end)
		require.Less(t, status, http.StatusBadRequest)
		query.Set("id_token_hint", "e30.e30.e30")
		end.RawQuery = query.Encode()
		badStatus, bad := leave(t, s, end)
		require.NotEqual(t, []any{status, good}, []any{badStatus, bad}, "the hint makes no difference")
		return pass()
	}
}

// leave opens the address of a logout, and returns where it leads.
func leave(t *testing.T, s *server, end *url.URL) (status int, to string) {
	t.Helper()
	browser := *s.http
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := browser.Get(end.String())
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	location, err := url.Parse(resp.Header.Get("Location"))
	require.NoError(t, err)
	return resp.StatusCode, location.Path + " " + location.Query().Get("prompt") // glewlwyd says there what the page shall do
}

// showWrongSecret shows a wrong secret in both of the ways in which one is sent.
func showWrongSecret(t *testing.T, s *server) verdict {
	methods := []string{"client_secret_basic", "client_secret_post"}
	said := make([]chan error, len(methods))
	for i, method := range methods {
		session, _ := s.open(t, daemon, func(c *client.Config) { c.ClientSecret, c.AuthMethod = "wrong", method })
		said[i] = make(chan error, 1)
		go func() {
			_, err := session.Token(t.Context())
			said[i] <- err
		}()
	}
	var found []string
	for i := range methods {
		err := <-said[i]
		refusal, ok := errors.AsType[*client.Error](err)
		require.True(t, ok, "%v", err)
		require.NotErrorIs(t, err, client.ErrLoginRequired)
		found = append(found, words(refusal))
	}
	return pass(strings.Join(slices.Compact(found), ", in the form "))
}

// showGarbage has a session begin with an access token that is none of the server's, and with a good refresh token.
func showGarbage(t *testing.T, s *server) verdict {
	_, w := s.login(t, person)
	session, again := s.open(t, person)
	require.NoError(t, session.Adopt(t.Context(), &oauth2.Token{
		AccessToken: "garbage", RefreshToken: w.refreshToken(t), Expiry: time.Now().Add(time.Hour),
	}))
	s.requireWorks(t, session)
	require.Len(t, again.of("refresh_token"), 1)
	return pass()
}

// fixed are parameters that are always the same.
func fixed(params url.Values) func(context.Context) (url.Values, error) {
	return func(context.Context) (url.Values, error) { return params, nil }
}

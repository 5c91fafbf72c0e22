package client_test

import (
	"bytes"
	"encoding/gob"
	"errors"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore"
)

// login has a person log in through Start and Finish.
func login(t *testing.T, server *clienttest.Server, s *client.Session) {
	t.Helper()
	p, err := s.Start(t.Context(), client.AuthCode{Replace: true})
	require.NoError(t, err)
	callback, err := server.Browse(t.Context(), p.URL)
	require.NoError(t, err)
	require.NoError(t, s.Finish(t.Context(), p, callback.Query()))
}

// A program adopts the token of its configuration at every start. Once a person has logged in again, that token is
// history, and stays so.
func TestAdoptAtEveryStartDoesNotUndoALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store := clienttest.New(t), tokenstore.NewMemory()
		kept := server.Login("read")
		start := func() *client.Session {
			s := server.NewClient(web(store)).Session("alice")
			require.NoError(t, s.Adopt(t.Context(), kept))
			return s
		}
		_, err := start().Renew(t.Context(), nil)
		require.NoError(t, err)
		server.KillAll()
		_, err = start().Renew(t.Context(), nil)
		require.ErrorIs(t, err, client.ErrLoginRequired)

		for range 2 { // logins follow one another
			login(t, server, start())
			_, err = start().Renew(t.Context(), nil)
			require.NoError(t, err, "the login's grant is there still")
		}

		another := server.Login("read")
		require.NoError(t, start().Adopt(t.Context(), another), "another token is meant")
		_, err = server.NewClient(web(store)).Session("alice").Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, server.Reuses())
	})
}

// Replicas with an older configuration start beside those with the newer one.
func TestAdoptOfAnOlderConfigurationDoesNotUndoTheNewer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store := clienttest.New(t), tokenstore.NewMemory()
		older, newer := server.Login("read"), server.Login("read")
		for _, kept := range []*oauth2.Token{older, newer, older, newer, older} {
			s := server.NewClient(web(store)).Session("alice")
			require.NoError(t, s.Adopt(t.Context(), kept))
			_, err := s.Renew(t.Context(), nil)
			require.NoError(t, err)
		}
		require.Empty(t, server.Reuses())
		require.NoError(t, server.NewClient(web(store)).Session("alice").Logout(t.Context()))
		s := server.NewClient(web(store)).Session("alice")
		require.NoError(t, s.Adopt(t.Context(), older))
		status, err := s.Status(t.Context())
		require.NoError(t, err)
		require.True(t, status.LoggedIn, "after a logout it is adopted anew")
	})
}

// What a token says of itself stays with it.
func TestAdoptKeepsWhatTheTokenSays(t *testing.T) {
	for name, said := range map[string]any{
		"JSON": map[string]any{"scope": "read write", "refresh_expires_in": 7200.0, "refresh_token_expires_in": 7200.0},
		"form": url.Values{"scope": {"read write"}, "refresh_expires_in": {"7200"}, "refresh_token_expires_in": {"7200"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := clienttest.New(t).NewClient(client.Config{}).Session("")
			require.NoError(t, s.Adopt(t.Context(), (&oauth2.Token{AccessToken: "AT", RefreshToken: "RT"}).WithExtra(said)))
			status, err := s.Status(t.Context())
			require.NoError(t, err)
			require.Equal(t, []string{"read", "write"}, status.Scopes)
			token, err := s.Token(t.Context())
			require.NoError(t, err)
			require.Equal(t, "read write", token.Extra("scope"))
			require.EqualValues(t, 7200, token.Extra("refresh_expires_in"))
			require.EqualValues(t, 7200, token.Extra("refresh_token_expires_in"))
		})
	}
	t.Run("nothing", func(t *testing.T) {
		s := clienttest.New(t).NewClient(client.Config{}).Session("")
		require.NoError(t, s.Adopt(t.Context(), (&oauth2.Token{AccessToken: "AT"}).WithExtra(url.Values{})))
		token, err := s.Token(t.Context())
		require.NoError(t, err)
		for _, name := range []string{"scope", "refresh_expires_in", "refresh_token_expires_in"} {
			require.Nil(t, token.Extra(name))
		}
	})
}

// A login that cannot be saved is taken back also where the record tells of an adopted token.
func TestLoginAfterAnAdoptionThatCannotBeSavedIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server, store := clienttest.New(t), newFaulty()
		alice := server.NewClient(web(store)).Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), server.Login("read")))
		p, err := alice.Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		callback, err := server.Browse(t.Context(), p.URL)
		require.NoError(t, err)
		require.Equal(t, 1, server.Grants())
		store.set(failFrom(1))
		require.ErrorIs(t, alice.Finish(t.Context(), p, callback.Query()), errDisk)
		require.Equal(t, 1, server.Grants(), "the adopted one")
	})
}

// What Session.Token gives out is not the whole grant: its refresh token stays with the session.
func TestAdoptRefusesATokenThatASessionGoesOnRenewing(t *testing.T) {
	for name, scopes := range map[string][]string{"with an id token": {"openid", "read"}, "with nothing else": nil} {
		t.Run(name, func(t *testing.T) {
			server := clienttest.New(t)
			c := server.NewClient(client.Config{Scopes: scopes})
			require.NoError(t, c.Session("begun").Adopt(t.Context(), server.Login(scopes...)))
			lent, err := c.Session("begun").Token(t.Context())
			require.NoError(t, err)
			copied := *lent
			for _, key := range []string{"begun", "alice"} {
				require.Error(t, c.Session(key).Adopt(t.Context(), &copied))
			}
			status, err := c.Session("alice").Status(t.Context())
			require.NoError(t, err)
			require.False(t, status.LoggedIn)
			_, err = c.Session("begun").Renew(t.Context(), nil)
			require.NoError(t, err, "the session has what it had")
		})
	}
	t.Run("but takes one that nobody renews", func(t *testing.T) {
		c := clienttest.New(t).NewClient(client.Config{})
		require.NoError(t, c.Session("begun").Adopt(t.Context(), &oauth2.Token{AccessToken: "AT"}))
		lent, err := c.Session("begun").Token(t.Context())
		require.NoError(t, err)
		require.NoError(t, c.Session("alice").Adopt(t.Context(), lent))
	})
}

func TestNobodyLogsInWhereNobodyIsNeeded(t *testing.T) {
	server := clienttest.New(t)
	s := server.NewClient(client.Config{Grant: client.ClientCredentials{}, RedirectURL: "https://app.test/callback"}).Session("")
	for name, do := range map[string]func() error{
		"Login": func() error {
			return s.Login(t.Context(), client.Browser{Open: func(string) error { panic("nobody is asked") }})
		},
		"Start": func() error { _, err := s.Start(t.Context(), client.AuthCode{}); return err },
		"Adopt": func() error { return s.Adopt(t.Context(), &oauth2.Token{AccessToken: "AT"}) },
	} {
		t.Run(name, func(t *testing.T) {
			e, ok := errors.AsType[*client.ConfigError](do())
			require.True(t, ok)
			require.Equal(t, "Config.Grant", e.Field)
		})
	}
	_, err := s.Token(t.Context())
	require.NoError(t, err)
}

func TestLoginWithoutAFlow(t *testing.T) {
	_, ok := errors.AsType[*client.ConfigError](open(t, good()).Session("").Login(t.Context(), nil))
	require.True(t, ok)
}

// Google's credentials.json has "http://localhost". The port that is then taken is sent to the server, which must allow
// any (RFC 8252 §7.3).
func TestBrowserTakesAnyPortWhereTheRedirectURLNamesNone(t *testing.T) {
	for _, address := range []string{"http://localhost", "http://127.0.0.1/callback", "http://127.0.0.1:/callback"} {
		t.Run(address, func(t *testing.T) {
			s, stop := clienttest.New(t).NewClient(client.Config{RedirectURL: address}).Session(""), errors.New("seen")
			err := s.Login(t.Context(), client.Browser{Open: func(asked string) error {
				u, err := url.Parse(asked)
				require.NoError(t, err)
				require.Regexp(t, `^http://(localhost|127\.0\.0\.1):[1-9]\d*(/callback)?$`, u.Query().Get("redirect_uri"))
				return stop
			}})
			require.ErrorIs(t, err, stop)
		})
	}
}

// Web sessions are kept by encoding/gob here and there.
func TestPendingThroughGob(t *testing.T) {
	begun(t, func(t *testing.T, _ *clienttest.Server, alice *client.Session, p *client.Pending, back url.Values) {
		var kept bytes.Buffer
		require.NoError(t, gob.NewEncoder(&kept).Encode(struct{ Login client.Pending }{*p}))
		var read struct{ Login client.Pending }
		require.NoError(t, gob.NewDecoder(&kept).Decode(&read))
		require.Equal(t, p.URL, read.Login.URL)
		require.NoError(t, alice.Finish(t.Context(), &read.Login, back))
	})
}

// A client of oauth2.Config.Client has a transport that sends a token of its own.
func TestWrapTakesThePlaceOfOAuth2sTransport(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, alice *client.Session, _ *http.Client) {
		static := oauth2.StaticTokenSource(&oauth2.Token{AccessToken: "old"})
		former := s.HTTPClient("")
		for range 2 {
			former.Transport = &oauth2.Transport{Source: static, Base: former.Transport}
		}
		require.Equal(t, http.StatusOK, get(t, alice.Wrap(former), api.URL))
		require.Zero(t, api.Refused())
		require.IsType(t, new(oauth2.Transport), former.Transport, "the caller's is as it was")
	})
}

// A program must know whether to forget an account.
func TestLogoutSaysWhetherTheGrantWasDeleted(t *testing.T) {
	logout := func(t *testing.T, happen func(*clienttest.Server, *faulty)) (loggedIn bool, err error) {
		synctest.Test(t, func(t *testing.T) {
			server, store := clienttest.New(t), newFaulty()
			alice := server.NewClient(web(store)).Session("alice")
			require.NoError(t, alice.Adopt(t.Context(), server.Login("read")))
			happen(server, store)
			err = alice.Logout(t.Context())
			store.set(nil)
			status, statusErr := alice.Status(t.Context())
			require.NoError(t, statusErr)
			loggedIn = status.LoggedIn
		})
		return loggedIn, err
	}
	t.Run("not revoked", func(t *testing.T) {
		loggedIn, err := logout(t, func(s *clienttest.Server, _ *faulty) { s.Fail("/revoke", clienttest.Fault{Status: 500}) })
		require.ErrorIs(t, err, client.ErrNotRevoked)
		require.NotErrorIs(t, err, errors.ErrUnsupported)
		require.False(t, loggedIn)
	})
	t.Run("not revocable", func(t *testing.T) {
		loggedIn, err := logout(t, func(s *clienttest.Server, _ *faulty) {
			s.Change(func() { s.Policy.Metadata = map[string]any{"revocation_endpoint": nil} })
		})
		require.ErrorIs(t, err, client.ErrNotRevoked)
		require.ErrorIs(t, err, errors.ErrUnsupported)
		require.False(t, loggedIn)
	})
	t.Run("not deleted", func(t *testing.T) {
		loggedIn, err := logout(t, func(s *clienttest.Server, store *faulty) {
			s.Fail("/revoke", clienttest.Fault{Status: 500})
			store.set(failFrom(1))
		})
		require.ErrorIs(t, err, errDisk)
		require.NotErrorIs(t, err, client.ErrNotRevoked)
		require.True(t, loggedIn)
	})
}

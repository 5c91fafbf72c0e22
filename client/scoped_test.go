package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore"
)

// scopedWorld is a session with the scopes openid, read and write.
func scopedWorld(t *testing.T, f func(t *testing.T, s *clienttest.Server, store tokenstore.Store, alice *client.Session)) {
	synctest.Test(t, func(t *testing.T) {
		s, store := clienttest.New(t), tokenstore.NewMemory()
		config := web(store)
		config.Scopes = []string{"openid", "read", "write"}
		alice := s.NewClient(config).Session("alice")
		p, err := alice.Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		back, err := s.Browse(t.Context(), p.URL)
		require.NoError(t, err)
		require.NoError(t, alice.Finish(t.Context(), p, back.Query()))
		f(t, s, store, alice)
	})
}

func scopesOf(t *testing.T, s *client.Session) any {
	t.Helper()
	got, err := s.Token(t.Context())
	require.NoError(t, err)
	return got.Extra("scope")
}

// An answer that does not name the scopes leaves them as they were, whatever it said before.
func TestR6749_6_5(t *testing.T) {
	d := newDesk()
	d.answer = func(n int, _ url.Values) (int, string) {
		scope := ""
		if n == 1 {
			scope = `,"scope":"read write"`
		}
		return 200, fmt.Sprintf(`{"access_token":"AT%d","token_type":"Bearer","expires_in":3600%s}`, n, scope)
	}
	alice := d.session(t, nil)
	for range 3 {
		_, err := alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, "read write", scopesOf(t, alice))
		status, err := alice.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"read", "write"}, status.Scopes)
	}
	require.Len(t, d.letters(), 3)
}

// A narrowed token changes nothing of the grant, however often it is renewed.
// Shows R9700-2.3-1.
func TestScoped(t *testing.T) {
	scopedWorld(t, func(t *testing.T, s *clienttest.Server, store tokenstore.Store, alice *client.Session) {
		reader := alice.Scoped("read")
		require.Same(t, reader, alice.Scoped("read", "read"))
		require.Same(t, alice.Scoped("read", "openid"), alice.Scoped("openid", "read"))
		require.Same(t, alice, reader.Scoped())
		for range 3 {
			require.Equal(t, "read", scopesOf(t, reader))
			require.Equal(t, "openid read write", scopesOf(t, alice), "what is not asked for is unchanged")
			time.Sleep(2 * time.Hour)
		}
		require.NotEqual(t, token(t, alice), token(t, reader))
		status, err := alice.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"openid", "read", "write"}, status.Scopes)
		status, err = reader.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"read"}, status.Scopes)
		require.Empty(t, s.Reuses())

		elsewhere := s.NewClient(web(store)).Session("alice").Scoped("read")
		asked := len(s.Requests())
		require.Equal(t, token(t, reader), token(t, elsewhere), "another program finds it in the store")
		require.Len(t, s.Requests(), asked)
		require.Equal(t, `client.Session("alice" with read)`, fmt.Sprint(reader))
	})
}

func TestR6749_6_4(t *testing.T) {
	scopedWorld(t, func(t *testing.T, s *clienttest.Server, _ tokenstore.Store, alice *client.Session) {
		asked := len(s.Requests())
		_, err := alice.Scoped("read", "admin").Token(t.Context())
		e, ok := errors.AsType[*client.Error](err)
		require.True(t, ok)
		require.Equal(t, "invalid_scope", e.Code)
		require.Zero(t, e.StatusCode)
		require.ErrorContains(t, err, "admin")
		require.Len(t, s.Requests(), asked, "nobody was asked")
		require.Equal(t, "read", scopesOf(t, alice.Scoped("read")), "the others go on")
	})
}

// What is narrowed for one resource stays apart from the rest.
func TestScopedForAResource(t *testing.T) {
	scopedWorld(t, func(t *testing.T, s *clienttest.Server, _ tokenstore.Store, alice *client.Session) {
		mail := s.NewAPI("mail.test")
		reader := alice.Resource(mail.URL).Scoped("read")
		require.Equal(t, http.StatusOK, get(t, reader.Wrap(s.HTTPClient("")), mail.URL))
		require.Equal(t, "read", scopesOf(t, reader))
		require.Equal(t, "openid read write", scopesOf(t, alice.Resource(mail.URL)))
		require.Same(t, alice.Resource(mail.URL), reader.Scoped())
		require.Same(t, alice, reader.Resource(""))
		require.Equal(t, `client.Session("alice" for https://mail.test with read)`, fmt.Sprint(reader))
	})
}

// A server that does not say has granted what was asked for (RFC 6749 §5.1).
func TestScopedWithoutAWord(t *testing.T) {
	d := newDesk()
	s := d.session(t, nil)
	require.Equal(t, "a b", scopesOf(t, s.Scoped("b", "a")), "with what is granted unknown, the server decides")
	require.Equal(t, "a b", d.letters()[0].form.Get("scope"))
	require.Nil(t, scopesOf(t, s))
	require.NotContains(t, d.letters()[1].form, "scope")
}

func TestScopedOfAConfiguredGrant(t *testing.T) {
	d := newDesk()
	s := open(t, d.config(func(c *client.Config) {
		c.ClientSecret, c.Grant, c.Scopes = "secret", client.ClientCredentials{}, []string{"read", "write"}
	})).Session("")
	token(t, s)
	token(t, s.Scoped("read"))
	require.Equal(t, "read write", d.letters()[0].form.Get("scope"))
	require.Equal(t, "read", d.letters()[1].form.Get("scope"))
}

// Further parameters go with refreshes and with nothing else.
func TestTokenParams(t *testing.T) {
	d := newDesk()
	params := url.Values{"audience": {"a", "b"}}
	s := d.session(t, func(c *client.Config) { c.TokenParams = params })
	params.Set("audience", "changed")
	token(t, s)
	require.NoError(t, s.Logout(t.Context()))
	require.Equal(t, url.Values{
		"grant_type": {"refresh_token"}, "refresh_token": {"RT"}, "client_id": {"app/1"}, "audience": {"a", "b"},
	}, d.letters()[0].form)
	require.False(t, slices.ContainsFunc(d.letters()[1:], func(l letter) bool { return l.form.Has("audience") }))
}

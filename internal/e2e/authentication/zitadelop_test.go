package authentication_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/zitadelop"
	"github.com/evergrant/evergrant/transport"
)

func session(t *testing.T, config client.Config) *client.Session {
	t.Helper()
	c, err := client.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) })
	return c.Session("")
}

// A key that the server trusts is all that the JWT bearer grant takes.
func TestJWTBearerOnZitadel(t *testing.T) {
	p := zitadelop.Start(t, 0)
	key := newRSA(t)
	p.Trust("robot", "key 1", key.Public())
	robot := func(signer *client.Key) *client.Session {
		return session(t, client.Config{
			Issuer: p.Issuer, Scopes: []string{"openid"},
			Grant: client.JWTBearer{Key: signer, Issuer: "robot"},
		})
	}
	s := robot(&client.Key{Signer: key, ID: "key 1"})
	first, err := s.Token(t.Context())
	require.NoError(t, err)
	second, err := s.Renew(t.Context(), first)
	require.NoError(t, err)
	require.NotEqual(t, first.AccessToken, second.AccessToken)

	_, err = robot(&client.Key{Signer: newRSA(t), ID: "key 1"}).Token(t.Context())
	e, ok := errors.AsType[*client.Error](err)
	require.True(t, ok, "%v", err)
	require.NotErrorIs(t, err, client.ErrLoginRequired)
	require.NotEmpty(t, e.Code)
}

// A web backend exchanges the token of the person who has logged in, for itself and for somebody to act for.
func TestTokenExchangeOnZitadel(t *testing.T) {
	p := zitadelop.Start(t, 0)
	base := client.Config{Issuer: p.Issuer, ClientID: zitadelop.Web, ClientSecret: zitadelop.Secret, RedirectURL: zitadelop.Callback}
	login := base
	login.Scopes = []string{"openid", "offline_access"}
	person := session(t, login)
	pending, err := person.Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	require.NoError(t, person.Finish(t.Context(), pending, p.SignIn(pending.URL).Query()))
	subject := func(string) transport.Source { return person }

	for name, grant := range map[string]client.TokenExchange{
		"impersonation": {Subject: subject, SubjectType: "access_token", RequestedType: "access_token"},
		"delegation": {
			Subject: subject, SubjectType: "access_token", Actor: subject, ActorType: "access_token", RequestedType: "access_token",
		},
		"of the id token": {Subject: subject, SubjectType: "id_token", RequestedType: "access_token"},
	} {
		t.Run(name, func(t *testing.T) {
			config := base
			config.Scopes, config.Grant = []string{"openid"}, grant
			s := session(t, config)
			first, err := s.Token(t.Context())
			require.NoError(t, err)
			require.Equal(t, "urn:ietf:params:oauth:token-type:access_token", first.Extra("issued_token_type"))
			require.Equal(t, http.StatusOK, get(t, s.HTTPClient(), p.UserInfo()))
			_, err = s.Renew(t.Context(), nil)
			require.NoError(t, err)
		})
	}
	t.Run("R8693-2.2.2-1 a token that the server refuses", func(t *testing.T) {
		config := base
		config.Scopes = []string{"openid"}
		config.Grant = client.TokenExchange{
			Subject:     func(string) transport.Source { return stale{person} },
			SubjectType: "access_token", RequestedType: "access_token",
		}
		_, err := session(t, config).Token(t.Context())
		require.NoError(t, err, "a fresh one was asked for")
	})
}

// stale is a source whose token the server does not know until it is renewed.
type stale struct{ transport.Source }

func (stale) Token(context.Context) (*oauth2.Token, error) {
	return &oauth2.Token{AccessToken: "from another server"}, nil
}

package client_test

import (
	"context"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

// scopesByKey is a store in which every session has a grant for the scopes that its key is made of.
type scopesByKey struct{ tokenstore.Store }

func (scopesByKey) Load(_ context.Context, key string) ([]byte, tokenstore.Version, error) {
	_, _, name, err := tokenstore.SplitKey(key)
	if err != nil {
		return nil, "", err
	}
	now := time.Now()
	data, err := (&record.Record{
		Grant: "g", Generation: 1, Leases: 1, RefreshToken: "RT", Scopes: strings.Fields(name),
		Access: map[string]*record.Access{"": {Token: "AT", Type: "Bearer", Issued: now, Expiry: now.Add(time.Hour)}},
	}).Encode()
	return data, "1", err
}

// TestNoServerSaysThatATokenIsAllThereIs: only the session knows whether it keeps a refresh token.
func TestNoServerSaysThatATokenIsAllThereIs(t *testing.T) {
	d := newDesk()
	d.answer = func(int, url.Values) (int, string) {
		return 200, `{"access_token":"AT1","token_type":"Bearer","expires_in":3600,"":true,"more":1}`
	}
	s := d.session(t, func(c *client.Config) { withSecret(c); c.Grant = client.ClientCredentials{} })
	got, err := s.Token(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 1, got.Extra("more"))
	require.Nil(t, got.Extra(""))
}

// TestExtraIsEachTokensOwn has sessions of few scopes take turns: what one of them is told is not another's.
func TestExtraIsEachTokensOwn(t *testing.T) {
	config := good()
	config.Store = scopesByKey{}
	c := open(t, config)
	for range 2 {
		for _, scopes := range []string{"read", "read write", "", "read"} {
			got, err := c.Session(scopes).Token(t.Context())
			require.NoError(t, err)
			if scopes == "" {
				require.Nil(t, got.Extra("scope"))
				continue
			}
			require.Equal(t, scopes, got.Extra("scope"))
		}
	}
}

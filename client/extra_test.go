package client_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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

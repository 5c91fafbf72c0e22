package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/examples/internal/demo"
	"github.com/evergrant/evergrant/tokenstore/file"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDevice_asksOnce(t *testing.T) {
	p, err := demo.StartProvider(300*time.Second, nil)
	require.NoError(t, err)
	defer p.Close()
	api := demo.StartAPI(p)
	defer api.Close()
	dir := t.TempDir()
	config := func() client.Config {
		store, err := file.New(dir, file.Options{Plaintext: true})
		require.NoError(t, err)
		return client.Config{Issuer: p.Issuer, ClientID: demo.ClientID, Scopes: []string{"openid", "offline_access"}, Store: store}
	}

	var shown, first, second bytes.Buffer
	confirm := func(ctx context.Context, v client.Verification) error {
		require.NoError(t, show(&shown)(ctx, v))
		require.Contains(t, shown.String(), v.UserCode)
		return demo.SignIn(ctx, http.DefaultClient, v.URIComplete) // the person, on a phone
	}
	require.NoError(t, run(t.Context(), config(), &first, confirm, api.URL))
	require.JSONEq(t, `{"name": "alice"}`, first.String())

	nobody := func(context.Context, client.Verification) error { return errors.New("nobody is there") }
	p.RevokeAccessTokens()
	require.NoError(t, run(t.Context(), config(), &second, nobody, api.URL))
	require.JSONEq(t, `{"name": "alice"}`, second.String())
	require.Equal(t, demo.Counts{Logins: 1, Renewals: 1}, p.Counts())
}

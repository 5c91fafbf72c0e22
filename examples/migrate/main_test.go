package main

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/examples/internal/demo"
	"github.com/evergrant/evergrant/tokenstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The file keeps the refresh token of before the first rotation. A program that ends before it has removed the file, and
// starts again, must not spend it a second time.
func TestMigrate_startsAgainAndAgain(t *testing.T) {
	p, err := demo.StartProvider(300*time.Second, nil)
	require.NoError(t, err)
	defer p.Close()
	api := demo.StartAPI(p)
	defer api.Close()
	config, tokenFile := legacy(t, p)
	store := tokenstore.NewMemory()
	file, err := os.ReadFile(tokenFile)
	require.NoError(t, err)

	for range 3 {
		require.NoError(t, os.WriteFile(tokenFile, file, 0o600))
		p.RevokeAccessTokens() // as if a long time had passed
		var out bytes.Buffer
		require.NoError(t, run(t.Context(), &out, config, tokenFile, store, api.URL))
		require.JSONEq(t, `{"name": "alice"}`, out.String())
	}
	require.Equal(t, demo.Counts{Logins: 1, Renewals: 3}, p.Counts())

	require.NoFileExists(t, tokenFile, "after a logout it would be adopted anew")
	require.NoError(t, run(t.Context(), &bytes.Buffer{}, config, tokenFile, store, api.URL), "the file is not needed any more")
}

func TestMigrate_quotesNoToken(t *testing.T) {
	name := filepath.Join(t.TempDir(), "token.json")
	require.NoError(t, os.WriteFile(name, []byte(`{"refresh_token": s3cret}`), 0o600))
	config := &oauth2.Config{ClientID: "x", Endpoint: oauth2.Endpoint{TokenURL: "https://accounts.example.com/token"}}
	err := run(t.Context(), &bytes.Buffer{}, config, name, tokenstore.NewMemory(), "https://api.example.com")
	require.ErrorContains(t, err, "token.json")
	require.NotContains(t, err.Error(), "s3cret")
}

// legacy is what the program had before: an oauth2.Config, and a token in a file.
func legacy(t *testing.T, p *demo.Provider) (*oauth2.Config, string) {
	var callback url.Values
	app := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { callback = r.URL.Query() }))
	defer app.Close()
	config := &oauth2.Config{
		ClientID:    demo.ClientID,
		RedirectURL: app.URL + "/callback",
		Scopes:      []string{"openid", "offline_access"},
		Endpoint:    oauth2.Endpoint{AuthURL: p.Issuer + "/authorize", TokenURL: p.Issuer + "/oauth/token"},
	}
	verifier := oauth2.GenerateVerifier()
	require.NoError(t, demo.SignIn(t.Context(), http.DefaultClient, config.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier))))
	token, err := config.Exchange(t.Context(), callback.Get("code"), oauth2.VerifierOption(verifier))
	require.NoError(t, err)
	data, err := json.Marshal(token)
	require.NoError(t, err)
	name := filepath.Join(t.TempDir(), "token.json")
	require.NoError(t, os.WriteFile(name, data, 0o600))
	return config, name
}

package authorization_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/chromium"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/tokenstore/file"
)

const callback = "https://app.example/callback"

func newClient(t *testing.T, config client.Config) *client.Client {
	t.Helper()
	c, err := client.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) })
	return c
}

func backend(p *oidcprovider.Provider) client.Config {
	return client.Config{
		Issuer: p.Issuer, ClientID: oidcprovider.WebBasic, ClientSecret: oidcprovider.Secret,
		Scopes: []string{"openid", "offline_access", "api:read"}, RedirectURL: callback,
	}
}

func start(t *testing.T, s *client.Session, params url.Values) *client.Pending {
	t.Helper()
	p, err := s.Start(t.Context(), client.AuthCode{Params: params})
	require.NoError(t, err)
	return p
}

func names(query url.Values) []string {
	var all []string
	for name := range query {
		all = append(all, name)
	}
	return all
}

// Shows R9126-2-1, R9126-2.1-1, R9126-4-1, R9126-4-2, R9207-2.4-1.
func TestOIDCProviderTakesPushedRequests(t *testing.T) {
	t.Parallel()
	p := oidcprovider.Start(t, oidcprovider.Config{
		Rotate: true, RedirectURIs: []string{callback},
		Features: map[string]any{"pushedAuthorizationRequests": map[string]any{"enabled": true, "requirePushedAuthorizationRequests": true}},
	})
	s := newClient(t, backend(p)).Session("alice")
	pending := start(t, s, nil)
	address, err := url.Parse(pending.URL)
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"client_id", "request_uri"}, names(address.Query()))
	response := p.SignIn(pending.URL, "alice").Query()
	require.Equal(t, p.Issuer, response.Get("iss"), "this provider names itself")

	forged := url.Values{"code": response["code"], "state": response["state"], "iss": {p.Issuer + "/"}}
	require.ErrorIs(t, s.Finish(t.Context(), pending, forged), client.ErrPending)
	require.NoError(t, s.Finish(t.Context(), pending, response))
	_, err = s.Renew(t.Context(), nil)
	require.NoError(t, err, "offline_access was granted, with the consent that was asked for")

	t.Run("a request is good once", func(t *testing.T) {
		resp, err := http.Get(pending.URL)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, http.StatusBadRequest, resp.StatusCode)
	})
	t.Run("a refusal is told", func(t *testing.T) {
		config := backend(p)
		config.RedirectURL = "https://app.example/elsewhere"
		_, err := newClient(t, config).Session("").Start(t.Context(), client.AuthCode{})
		var e *client.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "invalid_request", e.Code)
		require.Contains(t, err.Error(), "redirect_uri")
	})
	t.Run("nobody is asked with prompt=none", func(t *testing.T) {
		pending := start(t, s, url.Values{"prompt": {"none"}})
		resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Get(pending.URL)
		require.NoError(t, err)
		defer resp.Body.Close()
		to, err := resp.Location()
		require.NoError(t, err)
		require.ErrorIs(t, s.Finish(t.Context(), pending, to.Query()), client.ErrInteractionRequired)
	})
}

// Shows R8707-2.1-1, R8707-2.2-1, R8707-2-6: two resources, one refresh token.
func TestOIDCProviderGivesTokensForResources(t *testing.T) {
	t.Parallel()
	const mail, files = "https://mail.example/", "https://files.example/v1"
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true, RedirectURIs: []string{callback}, Resources: []string{mail, files}})
	account := newClient(t, backend(p)).Session("alice")
	pending := start(t, account.Resource(mail), url.Values{"resource": {files}})
	require.NoError(t, account.Finish(t.Context(), pending, p.SignIn(pending.URL, "alice").Query()))
	require.Len(t, p.Log(), 1)
	seen := map[string]bool{}
	for _, s := range []*client.Session{account.Resource(mail), account.Resource(files), account} {
		token, err := s.Token(t.Context())
		require.NoError(t, err)
		require.False(t, seen[token.AccessToken])
		seen[token.AccessToken] = true
	}
	require.Len(t, p.Log(), 3, "the first came with the login")
	_, err := account.Renew(t.Context(), nil)
	require.NoError(t, err)

	// This provider spends the refresh token before it looks at the resource, and gives no other: the grant is gone.
	_, err = account.Resource("https://unknown.example").Token(t.Context())
	var e *client.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "invalid_target", e.Code)
	require.NotErrorIs(t, err, client.ErrLoginRequired, "which it does not say")
}

// Shows R9396-2-1, R9396-3-1, R9396-5-1, R9396-6-1, R9396-7-1.
func TestOIDCProviderGrantsAuthorizationDetails(t *testing.T) {
	t.Parallel()
	const api, payment = "https://pay.example/", `[{"type":"payment","amount":"9.50 €"}]`
	p := oidcprovider.Start(t, oidcprovider.Config{
		Rotate: true, RedirectURIs: []string{callback}, Resources: []string{api}, DetailTypes: []string{"payment"},
	})
	want := []any{map[string]any{"type": "payment", "amount": "9.50 €"}}
	details := func(s *client.Session) any {
		token, err := s.Token(t.Context())
		require.NoError(t, err)
		return token.Extra("authorization_details")
	}
	account := newClient(t, backend(p)).Session("alice")
	s := account.Resource(api)
	pending := start(t, s, url.Values{"authorization_details": {payment}})
	require.NoError(t, s.Finish(t.Context(), pending, p.SignIn(pending.URL, "alice").Query()))
	require.Equal(t, want, details(s), "granted with the scopes")
	_, err := s.Renew(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, want, details(s))

	_, err = s.Start(t.Context(), client.AuthCode{Params: url.Values{"authorization_details": {`[{"type":"unknown"}]`}}})
	var e *client.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, "invalid_authorization_details", e.Code)
}

// A real browser posts the response from the provider's own page to the loopback listener.
func TestOIDCProviderPostsTheResponse(t *testing.T) {
	t.Parallel()
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true})
	b := chromium.Start(t)
	s := newClient(t, client.Config{
		Issuer: p.Issuer, ClientID: oidcprovider.Native, Scopes: []string{"openid", "offline_access"},
	}).Session("alice")
	address, outcome := make(chan string, 1), make(chan error, 1)
	go func() {
		outcome <- s.Login(t.Context(), client.Browser{
			Params: url.Values{"response_mode": {"form_post"}},
			Open:   func(a string) error { address <- a; return nil },
		})
	}()
	b.SignIn(<-address, "alice")
	require.NoError(t, <-outcome)
	for end := time.Now().Add(10 * time.Second); b.Title() != "You are logged in"; {
		require.True(t, time.Now().Before(end), b.Title())
		time.Sleep(50 * time.Millisecond)
	}
	require.Regexp(t, "/callback/done$", b.Location())
	resp, err := s.HTTPClient().Get(p.API())
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

// Shows R6749-10.4-1, MCP26-BIND-1, MCP26-META-1: the next run of a program whose configuration has changed meanwhile.
func TestAnotherProcessWithAnotherIssuerNeverSendsTheRefreshToken(t *testing.T) {
	t.Parallel()
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true})
	folder := t.TempDir()
	store, err := file.New(folder, file.Options{Plaintext: true})
	require.NoError(t, err)
	s := newClient(t, client.Config{
		Issuer: p.Issuer, ClientID: oidcprovider.Native, Scopes: []string{"openid", "offline_access"},
		RedirectURL: "http://127.0.0.1:5555/callback", Store: store,
	}).Session("alice")
	pending := start(t, s, nil)
	require.NoError(t, s.Finish(t.Context(), pending, p.SignIn(pending.URL, "alice").Query()))

	evil := newThief(t, p.Issuer)
	run := func(c changed) string {
		c.Folder = folder
		text, err := json.Marshal(c)
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), successor+"="+string(text))
		said, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", said)
		return strings.TrimSpace(string(said))
	}
	require.Equal(t, "a token", run(changed{Issuer: p.Issuer}), "the same configuration finds the grant")
	require.Equal(t, "login required", run(changed{Issuer: evil.URL}))
	require.Equal(t, "login required", run(changed{TokenURL: evil.URL + "/token"}))
	require.Contains(t, run(changed{Issuer: evil.URL + "/liar"}), "login required")
	require.Empty(t, evil.seen())
	_, err = s.Renew(t.Context(), nil)
	require.NoError(t, err)
}

// thief is a server that would take any refresh token.
type thief struct {
	*httptest.Server
	mu    sync.Mutex
	posts []string // guarded by mu
}

// newThief starts one that says under /liar that it is another issuer.
func newThief(t *testing.T, honest string) *thief {
	f := new(thief)
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.posts = append(f.posts, r.URL.Path)
			return
		}
		issuer := f.URL
		if strings.HasSuffix(r.URL.Path, "/liar") {
			issuer = honest
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"issuer": issuer, "token_endpoint": f.URL + "/token"})
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *thief) seen() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.posts
}

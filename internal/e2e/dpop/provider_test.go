package dpop_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/dpop"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/transport"
)

// house is a provider, a resource server and a store.
type house struct {
	t        *testing.T
	provider *oidcprovider.Provider
	resource *dpop.Resource
	store    tokenstore.Store
	wire     *counter
}

// counter counts the requests that a resource server gets.
type counter struct {
	base http.RoundTripper
	n    int
}

func (c *counter) RoundTrip(req *http.Request) (*http.Response, error) {
	c.n++
	return c.base.RoundTrip(req)
}

func (c *counter) CloseIdleConnections() { (&http.Client{Transport: c.base}).CloseIdleConnections() }

func newHouse(t *testing.T, config oidcprovider.Config) *house {
	p := oidcprovider.Start(t, config)
	h := &house{t: t, provider: p, store: tokenstore.NewMemory()}
	h.resource = dpop.NewResource(t, p.Issuer+"/token/introspection", oidcprovider.WebPost, oidcprovider.Secret)
	h.wire = &counter{base: h.resource.Client.Transport}
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return h
}

// open is a process over the store.
func (h *house) open(id string, dpop *client.DPoP) *client.Client {
	h.t.Helper()
	config := client.Config{
		Issuer: h.provider.Issuer, ClientID: id, Scopes: []string{"openid", "offline_access"},
		RedirectURL: "http://127.0.0.1:5555/callback", Store: h.store, DPoP: dpop,
	}
	switch id {
	case oidcprovider.Daemon:
		config.ClientSecret, config.Grant, config.Scopes = oidcprovider.Secret, client.ClientCredentials{}, []string{"api:read"}
	case oidcprovider.WebBasic:
		config.ClientSecret = oidcprovider.Secret
	}
	c, err := client.New(config)
	require.NoError(h.t, err)
	h.t.Cleanup(func() { require.NoError(h.t, c.Close(context.Background())) })
	return c
}

func (h *house) login(s *client.Session) {
	h.t.Helper()
	pending, err := s.Start(h.t.Context(), client.AuthCode{Params: url.Values{"prompt": {"consent"}}})
	require.NoError(h.t, err)
	callback := h.provider.SignIn(pending.URL, "alice")
	require.NoError(h.t, s.Finish(h.t.Context(), pending, callback.Query()))
}

// ask calls the resource server in the session's name and returns how many requests that took.
func (h *house) ask(s *client.Session) int {
	h.t.Helper()
	before := h.wire.n
	resp, err := s.Wrap(&http.Client{Transport: h.wire}).Post(h.resource.URL+"/things?x=1", "text/plain", strings.NewReader("content"))
	require.NoError(h.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(h.t, err)
	_, refused := h.resource.Log()
	require.Equalf(h.t, http.StatusOK, resp.StatusCode, "%v", refused)
	require.Equal(h.t, "content", string(body))
	return h.wire.n - before
}

// userinfo asks the provider's own resource, which checks proofs itself.
func (h *house) userinfo(s *client.Session) {
	h.t.Helper()
	hc := s.HTTPClient()
	defer hc.CloseIdleConnections()
	resp, err := hc.Get(h.provider.Issuer + "/me")
	require.NoError(h.t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(h.t, err)
	require.Equal(h.t, http.StatusOK, resp.StatusCode)
	require.JSONEq(h.t, `{"sub":"alice"}`, string(body))
}

func newKey(t *testing.T) *client.Key {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return &client.Key{Signer: key}
}

// Shows R9449-5-1, R9449-5-2, R9449-7-1, R9449-8-1, R9449-9-1, R9449-10-1, R9449-11.4-1.
//
// On a provider that wants every token bound, with and without nonces.
func TestAGrantWithAKey(t *testing.T) {
	for name, config := range map[string]oidcprovider.Config{
		"without nonces": {Rotate: true, DPoPBound: true},
		"with nonces":    {Rotate: true, DPoPBound: true, DPoPNonces: true},
	} {
		for _, id := range []string{oidcprovider.Native, oidcprovider.WebBasic} {
			for key, own := range map[string]*client.Key{"a key of the grant's own": nil, "a key of the program's": newKey(t)} {
				t.Run(name+"/"+id+"/"+key, func(t *testing.T) {
					h := newHouse(t, config)
					binding := &client.DPoP{Key: own}
					alice := h.open(id, binding).Session("alice")
					h.login(alice)
					got, err := alice.Token(t.Context())
					require.NoError(t, err)
					require.Equal(t, "DPoP", got.TokenType)
					require.Equal(t, 1, h.ask(alice))
					h.userinfo(alice)

					alice = h.open(id, binding).Session("alice") // after a restart
					for range 3 {
						_, err := alice.Renew(t.Context(), nil)
						require.NoError(t, err)
						require.Equal(t, 1, h.ask(alice))
					}
					h.userinfo(alice)

					fresh, err := alice.Token(t.Context())
					require.NoError(t, err)
					h.provider.DestroyAccessToken(fresh.AccessToken)
					h.resource.WantNonce("a-nonce")
					require.Equal(t, 3, h.ask(alice), "once more for the nonce, once more for the token")
					require.Equal(t, 1, h.ask(alice))
					for _, line := range h.provider.Log() {
						require.False(t, line.Reuse)
					}
					require.NoError(t, alice.Logout(t.Context()))
					require.Zero(t, h.provider.Stats().Live.RefreshTokens)
				})
			}
		}
	}
}

func TestClientCredentialsWithAKey(t *testing.T) {
	h := newHouse(t, oidcprovider.Config{DPoPBound: true, DPoPNonces: true})
	daemon := h.open(oidcprovider.Daemon, &client.DPoP{}).Session("")
	require.Equal(t, 1, h.ask(daemon))
	_, err := daemon.Renew(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, 1, h.ask(daemon))
	require.Equal(t, 1, h.ask(h.open(oidcprovider.Daemon, &client.DPoP{}).Session("")))
}

func TestADeviceWithAKey(t *testing.T) {
	h := newHouse(t, oidcprovider.Config{Rotate: true, DPoPBound: true, DPoPNonces: true})
	alice := h.open(oidcprovider.Native, &client.DPoP{}).Session("alice")
	require.NoError(t, alice.Login(t.Context(), client.Device{Prompt: func(_ context.Context, v client.Verification) error {
		h.provider.Approve(v.URIComplete, "alice")
		return nil
	}}))
	require.Equal(t, 1, h.ask(alice))
}

// TestTokensWithoutTheirKeyAreOfNoUse: neither the tokens at the resource, nor the refresh token at the provider.
func TestTokensWithoutTheirKeyAreOfNoUse(t *testing.T) {
	h := newHouse(t, oidcprovider.Config{Rotate: true})
	own := newKey(t)
	alice := h.open(oidcprovider.Native, &client.DPoP{Key: own}).Session("alice")
	h.login(alice)
	got, err := alice.Token(t.Context())
	require.NoError(t, err)

	for _, scheme := range []string{"Bearer ", "DPoP "} {
		req, err := http.NewRequest(http.MethodGet, h.provider.Issuer+"/me", nil)
		require.NoError(t, err)
		req.Header.Set("Authorization", scheme+got.AccessToken)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.GreaterOrEqual(t, resp.StatusCode, 400)
	}
	thief := h.open(oidcprovider.Native, &client.DPoP{Key: newKey(t)}).Session("alice")
	_, err = thief.Token(t.Context())
	require.ErrorIs(t, err, client.ErrLoginRequired)
	require.Len(t, h.provider.Log(), 1, "nothing was sent to the provider")
	h.userinfo(alice)
}

// TestABearerGrantIsBoundLater at a provider that binds who asks for it.
func TestABearerGrantIsBoundLater(t *testing.T) {
	h := newHouse(t, oidcprovider.Config{Rotate: true, DPoPNonces: true})
	before := h.open(oidcprovider.WebBasic, nil).Session("alice")
	h.login(before)
	got, err := before.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "Bearer", got.TokenType)

	alice := h.open(oidcprovider.WebBasic, &client.DPoP{}).Session("alice")
	require.Equal(t, 1, h.ask(alice))
	h.userinfo(alice)
}

// Shows R9449-5-3.
func TestAProviderThatDoesNotBind(t *testing.T) {
	h := newHouse(t, oidcprovider.Config{Rotate: true, Features: map[string]any{"dPoP": map[string]any{"enabled": false}}})
	alice := h.open(oidcprovider.Native, &client.DPoP{}).Session("alice")
	pending, err := alice.Start(t.Context(), client.AuthCode{Params: url.Values{"prompt": {"consent"}}})
	require.NoError(t, err)
	err = alice.Finish(t.Context(), pending, h.provider.SignIn(pending.URL, "alice").Query())
	require.ErrorIs(t, err, transport.ErrToken)
	require.Zero(t, h.provider.Stats().Live.RefreshTokens, "what it gave was taken back")
	status, err := alice.Status(t.Context())
	require.NoError(t, err)
	require.False(t, status.LoggedIn)
}

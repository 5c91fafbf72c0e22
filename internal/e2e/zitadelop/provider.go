// Package zitadelop runs zitadel's OpenID provider in the test's own process. What sets it apart: a protected resource
// answers without a challenge, and 403 to a token that has ended; the old access token ends as soon as a refresh is done.
package zitadelop

import (
	"crypto"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/zitadel/oidc/v3/example/server/exampleop"
	"github.com/zitadel/oidc/v3/example/server/storage"

	"github.com/evergrant/evergrant/internal/e2e/person"
)

// The clients that every provider knows.
const (
	Native   = "native" // public: code, refresh; redirects to Callback, on any port
	Web      = "web"    // Secret by client_secret_basic: code, refresh; redirects to Callback as it stands
	Device   = "device" // Secret by client_secret_basic: device
	Keyed    = "keyed"  // private_key_jwt by a key that Trust names: code, refresh; redirects to Callback as it stands
	Secret   = "web-secret"
	Callback = "http://localhost/callback"

	Service       = "sid1" // ServiceSecret by client_secret_basic: client credentials
	ServiceSecret = "verysecret"
)

// The provider's only account that tests use.
const (
	account  = "test-user@localhost"
	password = "verysecure"
	subject  = "id1"
)

// Provider is a provider that runs until its test ends.
type Provider struct {
	Issuer  string
	t       testing.TB
	storage *shortLived
}

// Start starts a provider whose access tokens live for life; zero: five minutes, the most it gives.
func Start(t testing.TB, life time.Duration) *Provider {
	t.Helper()
	if life == 0 {
		life = 5 * time.Minute
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	issuer := "http://localhost:" + port
	clients := map[string]*storage.Client{
		Native: storage.NativeClient(Native, Callback),
		Web:    storage.WebClient(Web, Secret, Callback),
		Device: storage.DeviceClient(Device, Secret),
		Keyed:  storage.WebClient(Keyed, "", Callback),
	}
	p := &Provider{Issuer: issuer, t: t, storage: &shortLived{
		Storage: storage.NewStorageWithClients(storage.NewUserStore(issuer), clients),
		life:    life,
		ends:    map[string]time.Time{},
		keys:    map[string]any{},
	}}
	// The logger becomes the whole process's: the example logs every request.
	server := &http.Server{Handler: exampleop.SetupServer(issuer, p.storage, slog.New(slog.DiscardHandler), false)}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return p
}

// Trust takes the word of issuer, signed with the private half of public under a key id, for who asks for access (RFC
// 7523, section 2.1).
func (p *Provider) Trust(issuer, keyID string, public crypto.PublicKey) {
	p.storage.mu.Lock()
	defer p.storage.mu.Unlock()
	p.storage.keys[issuer+"/"+keyID] = public
}

// UserInfo is the address of a protected resource.
func (p *Provider) UserInfo() string { return p.Issuer + "/userinfo" }

// SignIn opens an authorization URL in a new browser, signs in, and returns the callback address that the provider
// sends the browser to, unvisited.
func (p *Provider) SignIn(authorizationURL string) *url.URL {
	p.t.Helper()
	issuer, err := url.Parse(p.Issuer)
	require.NoError(p.t, err)
	answers := url.Values{"username": {account}, "password": {password}}
	callback := person.New(p.t, answers, issuer.Host).Walk(authorizationURL)
	require.NotNil(p.t, callback, "the provider sent the browser nowhere")
	return callback
}

// Approve grants a device what it asked for (RFC 8628).
func (p *Provider) Approve(userCode string) {
	p.t.Helper()
	require.NoError(p.t, p.storage.CompleteDeviceAuthorization(p.t.Context(), userCode, subject))
}

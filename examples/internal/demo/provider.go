// Package demo runs, inside a program, what the examples need around them: a real OpenID provider, an API
// that checks every token with it, and a person with a browser. Nothing here is about Evergrant; a
// program that copies an example replaces it by its own provider and API.
package demo

import (
	"context"
	"crypto/rand"
	"net/http"
	"net/http/httptest"
	"sync"
	"time"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/op"
)

const (
	// ClientID is a native app: public, any loopback port at /callback, code and device flow.
	ClientID = "evergrant-example"

	// DaemonID and DaemonSecret are a service of the client credentials grant.
	DaemonID, DaemonSecret = "sid1", "verysecret"
)

// Provider is an OpenID provider on a loopback port: zitadel/oidc's, which is certified, over the
// in-memory storage of its examples. Refresh tokens rotate: each is good for one use, and with it the
// access token before ends. It is safe for concurrent use.
type Provider struct {
	// Issuer is its issuer identifier, an http URL on a loopback port.
	Issuer string

	server    *httptest.Server
	apiSecret string

	mu      sync.Mutex // guards everything below, and serves one request at a time
	grants  *grants
	clients map[string]*storage.Client
}

// StartProvider starts a provider whose access tokens live for life, in whole seconds. log is called with
// what the provider does, one line at a time; nil: nobody listens. Close it at the end.
func StartProvider(life time.Duration, log func(event string)) (*Provider, error) {
	p := &Provider{apiSecret: rand.Text(), server: httptest.NewUnstartedServer(nil)}
	p.Issuer = "http://" + p.server.Listener.Addr().String()
	p.clients = map[string]*storage.Client{
		ClientID: storage.NativeClient(ClientID, "http://127.0.0.1/callback"),
		apiID:    storage.WebClient(apiID, p.apiSecret),
	}
	p.grants = newGrants(p.clients, life, log)

	config := &op.Config{
		CodeMethodS256:        true,
		AuthMethodPost:        true,
		GrantTypeRefreshToken: true,
		DeviceAuthorization: op.DeviceAuthorizationConfig{
			Lifetime: 5 * time.Minute, PollInterval: time.Second, UserFormPath: "/device", UserCode: op.UserCodeBase20,
		},
	}
	rand.Read(config.CryptoKey[:])
	server, err := op.NewProvider(config, p.grants, op.StaticIssuer(p.Issuer), op.WithAllowInsecure())
	if err != nil {
		p.server.Close()
		return nil, err
	}
	p.server.Config.Handler = p.oneAtATime(withLogin(server, p.Issuer, p.grants.Storage))
	p.server.Start()
	return p, nil
}

// oneAtATime serves one request at a time: the storage underneath hands the same records to all of them.
func (p *Provider) oneAtATime(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// Register adds a confidential web client that authenticates by client_secret_basic.
func (p *Provider) Register(id, secret, redirectURL string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clients[id] = storage.WebClient(id, secret, redirectURL)
}

// RevokeAccessTokens ends every access token before its time, as an administrator or a security event does.
// The grants stay.
func (p *Provider) RevokeAccessTokens() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.grants.revokeAll()
}

// Counts is what a provider's token endpoint has done.
type Counts struct {
	Logins   int // grants given to a person's client, or to a service
	Renewals int // refresh tokens spent
	Refused  int // refresh tokens refused: unknown, or spent before
}

// Counts returns what the token endpoint has done so far.
func (p *Provider) Counts() Counts {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.grants.counts
}

// Close ends the provider.
func (p *Provider) Close() { p.server.Close() }

// introspect asks the provider, as the API, whether a token is good (RFC 7662).
func (p *Provider) introspect(ctx context.Context, token string) (introspection, error) {
	return introspect(ctx, p.server.Client(), p.Issuer+"/oauth/introspect", p.apiSecret, token)
}

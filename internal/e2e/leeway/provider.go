// Package leeway starts, on loopback, authorization servers that rotate refresh tokens and forgive a client that has lost an
// answer: a refresh token that has been spent is good for a while.
package leeway

import (
	"net/http"
	"net/url"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/person"
)

// The clients that every provider knows. Redirects go to Callback.
const (
	ClientID = "native" // public: code, refresh
	Web      = "web"    // Secret: code, refresh
	Daemon   = "daemon" // Secret: client credentials
	Secret   = "a-secret-of-confidential-clients"
	Callback = "http://127.0.0.1/callback"
	Scope    = "read"
)

// Provider is a provider that runs until its test ends. Its methods end the test when the provider does not do as told;
// like those of testing.T that do so, they are for the test's own goroutine.
type Provider struct {
	Address string // where it listens, host:port
	Issuer  string // empty: it has no discovery
	t       testing.TB
	path    string // of the endpoints
}

// TokenPath is the path of the token endpoint.
func (p *Provider) TokenPath() string { return p.path + "/token" }

// Endpoint is where the provider's endpoints are.
func (p *Provider) Endpoint() oauth2.Endpoint {
	return oauth2.Endpoint{
		AuthURL: p.own(p.path + "/authorize"), TokenURL: p.own(p.TokenPath()), AuthStyle: oauth2.AuthStyleInParams,
	}
}

// RevocationURL is the revocation endpoint (RFC 7009), which the metadata of neither names.
func (p *Provider) RevocationURL() string { return p.own(p.path + "/revoke") }

// API is the address of a protected resource: 200 and JSON for an active token, else 401 with a challenge.
func (p *Provider) API() string { return p.own("/api") }

// Protected is the address of a resource that refuses as Django's framework does: an empty 403 without a challenge.
func (p *Provider) Protected() string { return p.own("/protected") }

func (p *Provider) own(path string) string { return "http://" + p.Address + path }

// SignIn opens an authorization URL, with account signed in (it needs no registration) and consenting, and returns the
// callback address that the provider sends the browser to, unvisited.
func (p *Provider) SignIn(authorizationURL, account string) *url.URL {
	p.t.Helper()
	to := person.New(p.t, nil, p.Address).Walk(authorizationURL + "&login_hint=" + url.QueryEscape(account))
	require.NotNil(p.t, to, "the provider sent the browser nowhere")
	return to
}

// ExpireAccessToken ends an access token before its time; its refresh token lives on.
func (p *Provider) ExpireAccessToken(token string) {
	p.t.Helper()
	resp, err := http.Post(p.own("/test/expire"), "text/plain", strings.NewReader(token))
	require.NoError(p.t, err)
	require.NoError(p.t, resp.Body.Close())
	require.Equal(p.t, http.StatusNoContent, resp.StatusCode)
}

// Log is every token request so far, in the order in which they were done.
func (p *Provider) Log() []ledger.TokenRequest {
	p.t.Helper()
	return ledger.Get(p.t, p.own("/test/log"))
}

// seconds is life, ten minutes if that is zero.
func seconds(life time.Duration) int {
	if life == 0 {
		life = 10 * time.Minute
	}
	return int(life / time.Second)
}

// source is the path of a file beside this one.
func source(name string) string {
	_, here, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(here), name)
}

// Package doorkeeper starts Doorkeeper, the authorization server inside GitLab and Mastodon, on loopback. It rotates refresh
// tokens and keeps a leeway: a refresh token that has been spent is good, for ever new successors, until the access token
// that came with one of them is first used. Until then the access token before is good, too.
package doorkeeper

import (
	"net/url"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/person"
	"github.com/evergrant/evergrant/internal/e2e/process"
)

// The one client: a public one, for code and refresh.
const (
	ClientID = "native"
	Callback = "http://127.0.0.1/callback"
	Scope    = "read"
)

const (
	ruby = "/usr/bin/ruby" // the one that Debian's packages are for
	gems = "/usr/share/rubygems-integration/all/specifications/doorkeeper-[0-9]*.gemspec"
)

// Config says what provider to start.
type Config struct {
	// AccessTokenLife is how long access tokens live, in whole seconds. Zero: ten minutes.
	AccessTokenLife time.Duration
}

// Provider is a provider that runs until its test ends. Its methods end the test when the provider does not do as told;
// like those of testing.T that do so, they are for the test's own goroutine.
type Provider struct {
	Address string // where it listens, host:port
	t       testing.TB
}

// Start starts a provider and waits until it is ready.
func Start(t testing.TB, c Config) *Provider {
	t.Helper()
	process.Need(t, ruby)
	if found, _ := filepath.Glob(gems); found == nil {
		process.Missing(t, "the package ruby-doorkeeper")
	}
	if c.AccessTokenLife == 0 {
		c.AccessTokenLife = 10 * time.Minute
	}
	_, here, _, _ := runtime.Caller(0)
	cmd := exec.Command(ruby, filepath.Join(filepath.Dir(here), "server.rb"))
	p := &Provider{t: t}
	process.Serve(t, cmd, map[string]any{
		"access_token_seconds": int(c.AccessTokenLife / time.Second),
		"client_id":            ClientID,
		"folder":               t.TempDir(),
		"redirect_uri":         Callback,
	}, p)
	return p
}

// Endpoint is where the provider's endpoints are. It has no discovery.
func (p *Provider) Endpoint() oauth2.Endpoint {
	return oauth2.Endpoint{AuthURL: p.own("/oauth/authorize"), TokenURL: p.own("/oauth/token"), AuthStyle: oauth2.AuthStyleInParams}
}

// RevocationURL is the revocation endpoint (RFC 7009).
func (p *Provider) RevocationURL() string { return p.own("/oauth/revoke") }

// API is the address of a protected resource: 200 and JSON for an active token, else 401 with a challenge.
func (p *Provider) API() string { return p.own("/api") }

func (p *Provider) own(path string) string { return "http://" + p.Address + path }

// SignIn opens an authorization URL, with account signed in (it needs no registration) and consenting, and returns the
// callback address that the provider sends the browser to, unvisited.
func (p *Provider) SignIn(authorizationURL, account string) *url.URL {
	p.t.Helper()
	to := person.New(p.t, nil, p.Address).Walk(authorizationURL + "&login_hint=" + url.QueryEscape(account))
	require.NotNil(p.t, to, "the provider sent the browser nowhere")
	return to
}

// Log is every token request so far, in the order in which they were done.
func (p *Provider) Log() []ledger.TokenRequest {
	p.t.Helper()
	return ledger.Get(p.t, p.own("/test/log"))
}

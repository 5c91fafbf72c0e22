// Package glewlwyd starts glewlwyd, an authorization server written in C, on loopback. What sets it apart: it refuses
// refresh tokens and client credentials with an empty body, wants the scheme of an Authorization header written as
// Bearer though its token_type is bearer, and gives resource servers no challenge.
package glewlwyd

import (
	"bytes"
	"crypto"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/process"
)

// The clients that every provider knows. Redirects go to Callback as it stands.
const (
	Native = "native" // public: code, refresh, device
	Web    = "web"    // Secret by client_secret_basic: code, refresh, client credentials, revocation
	Keyed  = "keyed"  // private_key_jwt by the key of Start: client credentials
	Secret = "a-secret-of-the-web-client"
	// Raw has RawSecret by client_secret_basic: client credentials. Here that means the id and the secret as they are, where RFC 6749
	// §2.3.1 has them form-encoded.
	Raw       = "raw"
	RawSecret = "50%+ a/secret=raw"
	Callback  = "http://127.0.0.1/callback"
	Scope     = "read"                    // beside openid
	Resource  = "https://api.example.com" // that tokens can be asked for (RFC 8707)
)

// The provider's only account that tests use.
const (
	account  = "alice"
	password = "password-of-alice"
)

const schema = "/usr/share/dbconfig-common/data/glewlwyd/install/sqlite3" // with the administrator in it

// Provider is a provider that runs until its test ends. Its methods end the test when the provider does not do as told;
// like those of testing.T that do so, they are for the test's own goroutine.
type Provider struct {
	Issuer string
	t      testing.TB
	origin string
	person *http.Client // alice's browser, logged in
}

// Start starts a provider and waits until it is ready. It knows the client Keyed by key.
func Start(t testing.TB, key crypto.PublicKey) *Provider {
	t.Helper()
	program := process.Need(t, "glewlwyd")
	python := process.Need(t, "/usr/bin/python3")
	if _, err := os.Stat(schema); err != nil {
		process.Missing(t, "the database of the package glewlwyd")
	}
	folder := t.TempDir()
	database := filepath.Join(folder, "db.sqlite3")
	made, err := exec.Command(python, "-c",
		"import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(open(sys.argv[2]).read())", database, schema).CombinedOutput()
	require.NoError(t, err, string(made))

	port := freePort(t)
	origin := fmt.Sprintf("http://127.0.0.1:%d", port)
	config := filepath.Join(folder, "glewlwyd.conf")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, configuration, port, origin, database), 0o600))
	cmd := exec.Command(program, "--config-file="+config)
	process.Start(t, cmd)
	p := &Provider{Issuer: origin + "/api/oidc", t: t, origin: origin, person: browser(t)}
	p.setUp(key)
	return p
}

const configuration = `
port=%d
bind_address="127.0.0.1"
external_url="%s"
login_url="login.html"
api_prefix="api"
log_mode="console"
log_level="ERROR"
cookie_secure=0
session_expiration=86400
session_key="GLEWLWYD2_SESSION_ID"
admin_session_authentication="cookie"
profile_session_authentication="cookie"
login_api_enabled=true
max_post_size=16778240
admin_scope="g_admin"
profile_scope="g_profile"
user_module_path="/usr/lib/glewlwyd/user"
client_module_path="/usr/lib/glewlwyd/client"
user_auth_scheme_module_path="/usr/lib/glewlwyd/scheme"
plugin_module_path="/usr/lib/glewlwyd/plugin"
static_files_path="/usr/share/glewlwyd/webapp"
hash_algorithm="SHA512"
database = { type = "sqlite3"; path = "%s"; };
`

// freePort is a port that was free a moment ago: glewlwyd cannot take one of the system's choice.
func freePort(t testing.TB) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// browser has cookies and follows no redirect.
func browser(t testing.TB) *http.Client {
	t.Helper()
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{
		Jar: jar, Transport: transport, Timeout: 30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// UserInfo is the address of a protected resource.
func (p *Provider) UserInfo() string { return p.Issuer + "/userinfo" }

// Metadata is the address of its metadata.
func (p *Provider) Metadata() string { return p.Issuer + "/.well-known/openid-configuration" }

// SignIn opens an authorization URL in alice's browser, consents, and returns the callback address that the provider
// sends the browser to, unvisited.
func (p *Provider) SignIn(authorizationURL string) *url.URL {
	p.t.Helper()
	return p.follow(authorizationURL + "&g_continue")
}

// Approve opens a verification_uri_complete (RFC 8628, section 3.3.1) in alice's browser and consents.
func (p *Provider) Approve(verificationURL string) {
	p.t.Helper()
	require.Equal(p.t, "deviceComplete", p.follow(verificationURL+"&g_continue").Query().Get("prompt"))
}

// follow is the page's Continue button: where it leads.
func (p *Provider) follow(address string) *url.URL {
	p.t.Helper()
	resp, err := p.person.Get(address)
	require.NoError(p.t, err)
	require.NoError(p.t, resp.Body.Close())
	to, err := resp.Location()
	require.NoError(p.t, err, "the provider sent the browser nowhere: %s", resp.Status)
	return to
}

// DestroyAccessToken revokes an access token of the client Web (RFC 7009). That leaves its refresh token alone here.
func (p *Provider) DestroyAccessToken(token string) {
	p.t.Helper()
	p.about(token, "/revoke")
}

// RequireActive wants a token of the client Web to be active, as introspection (RFC 7662) tells.
func (p *Provider) RequireActive(token string) {
	p.t.Helper()
	var said struct{ Active bool }
	require.NoError(p.t, json.Unmarshal(p.about(token, "/introspect"), &said))
	require.True(p.t, said.Active)
}

// about posts an access token to an endpoint in the name of the client Web.
func (p *Provider) about(token, endpoint string) []byte {
	p.t.Helper()
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequest(http.MethodPost, p.Issuer+endpoint, strings.NewReader(form.Encode()))
	require.NoError(p.t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(Web, Secret)
	resp, err := p.person.Do(req)
	require.NoError(p.t, err)
	defer resp.Body.Close()
	require.Equal(p.t, http.StatusOK, resp.StatusCode)
	body, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	return body
}

// setUp waits for the provider and tells it, by its administrator's API, about everything.
func (p *Provider) setUp(key crypto.PublicKey) {
	p.t.Helper()
	admin := browser(p.t)
	require.EventuallyWithT(p.t, func(c *collect) {
		require.Equal(c, http.StatusOK, call(c, admin, http.MethodPost, p.origin+"/api/auth", login("admin", "password")))
	}, 30*time.Second, 20*time.Millisecond)
	for _, thing := range []struct {
		kind string
		what map[string]any
	}{
		{"mod/plugin", map[string]any{
			"module": "oidc", "name": "oidc", "display_name": "oidc", "enabled": true, "parameters": p.parameters(),
		}},
		{"scope", map[string]any{"name": Scope, "display_name": Scope, "password_required": true, "password_max_age": 0}},
		{"user", map[string]any{
			"username": account, "name": "Alice", "password": password, "enabled": true,
			"scope": []string{"g_profile", "openid", Scope},
		}},
		{"client", registration(Native, "none", false, "code", "refresh_token", "device_authorization")},
		{"client", with(registration(Web, "client_secret_basic", true, "code", "refresh_token", "client_credentials"),
			"client_secret", Secret)},
		{"client", with(registration(Raw, "client_secret_basic", true, "client_credentials"), "client_secret", RawSecret)},
		{"client", with(registration(Keyed, "private_key_jwt", true, "client_credentials"),
			"jwks", jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key, KeyID: "key 1", Use: "sig", Algorithm: "ES256"}}})},
	} {
		require.Equal(p.t, http.StatusOK, call(p.t, admin, http.MethodPost, p.origin+"/api/"+thing.kind+"/", thing.what), thing.kind)
	}
	require.Equal(p.t, http.StatusOK, call(p.t, p.person, http.MethodPost, p.origin+"/api/auth", login(account, password)))
	for _, client := range []string{Native, Web} {
		consent := map[string]any{"scope": "openid " + Scope}
		require.Equal(p.t, http.StatusOK, call(p.t, p.person, http.MethodPut, p.origin+"/api/auth/grant/"+client, consent))
	}
}

func login(username, password string) map[string]any {
	return map[string]any{"username": username, "password": password}
}

func registration(id, method string, confidential bool, grants ...string) map[string]any {
	return map[string]any{
		"client_id": id, "enabled": true, "confidential": confidential, "scope": []string{Scope},
		"redirect_uri": []string{Callback}, "authorization_type": grants, "token_endpoint_auth_method": []string{method},
		"post_logout_redirect_uri": Callback,
	}
}

func with(thing map[string]any, name string, value any) map[string]any {
	thing[name] = value
	return thing
}

// call sends what as JSON and returns the status.
func call(t require.TestingT, c *http.Client, method, address string, what any) int {
	text, err := json.Marshal(what)
	require.NoError(t, err)
	req, err := http.NewRequest(method, address, bytes.NewReader(text))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

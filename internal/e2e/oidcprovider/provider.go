// Package oidcprovider starts panva's oidc-provider, a certified OpenID provider, on loopback, and gives tests the acts
// and views that the protocol does not: destroying one access token, revoking a grant, a ledger of token requests,
// faults.
package oidcprovider

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/person"
	"github.com/evergrant/evergrant/internal/e2e/process"
)

// Provider is a provider that runs until its test ends. Its methods end the test when the provider does not do as told;
// like those of testing.T that do so, they are for the test's own goroutine.
type Provider struct {
	Issuer  string         // what clients are configured with
	Address string         // where it listens, host:port
	MTLS    string         // where it listens for clients with a certificate, host:port; empty without Config.TLS
	CA      *x509.CertPool // that its certificate is of; nil without Config.TLS
	t       testing.TB

	authority *authority
	http      http.Client
}

// Start starts a provider and waits until it is ready.
func Start(t testing.TB, c Config) *Provider {
	t.Helper()
	node := process.Need(t, "node")
	_, here, _, _ := runtime.Caller(0)
	dir := filepath.Dir(here)
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "oidc-provider")); err != nil {
		process.Missing(t, "the npm package oidc-provider")
	}

	cmd := exec.Command(node, "server.mjs")
	cmd.Dir = dir
	p := &Provider{t: t}
	if c.TLS {
		p.authority = newAuthority(t)
		p.CA = p.authority.pool
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.CA}}
		t.Cleanup(transport.CloseIdleConnections)
		p.http.Transport = transport
	}
	process.Serve(t, cmd, c.input(p.authority), p)
	return p
}

// SignIn opens an authorization URL in a new browser, signs account in (it needs no registration), consents, and
// returns the callback address that the provider sends the browser to, unvisited.
func (p *Provider) SignIn(authorizationURL, account string) *url.URL {
	p.t.Helper()
	return p.callback(authorizationURL, url.Values{"login": {account}, "allow": {"1"}})
}

// Refuse is SignIn by somebody who does not consent.
func (p *Provider) Refuse(authorizationURL, account string) *url.URL {
	p.t.Helper()
	return p.callback(authorizationURL, url.Values{"login": {account}, "deny": {"1"}})
}

func (p *Provider) callback(authorizationURL string, answers url.Values) *url.URL {
	p.t.Helper()
	to := p.walk(authorizationURL, answers)
	require.NotNil(p.t, to, "the provider sent the browser nowhere")
	return to
}

// Approve opens a verification_uri_complete (RFC 8628, section 3.3.1), signs account in and consents.
func (p *Provider) Approve(verificationURL, account string) {
	p.t.Helper()
	p.walk(verificationURL, url.Values{"login": {account}, "allow": {"1"}})
}

// Deny opens a verification_uri_complete and turns the device away.
func (p *Provider) Deny(verificationURL string) {
	p.t.Helper()
	p.walk(verificationURL, url.Values{"abort": {"yes"}})
}

func (p *Provider) walk(address string, answers url.Values) *url.URL {
	p.t.Helper()
	issuer, err := url.Parse(p.Issuer)
	require.NoError(p.t, err)
	return person.New(p.t, answers, p.Address, issuer.Host).Over(p.http.Transport).Walk(address)
}

// API is the address of a protected resource: 200 and JSON for an active token, else 401 with a challenge.
func (p *Provider) API() string { return p.own("/api") }

func (p *Provider) own(path string) string {
	if p.authority != nil {
		return "https://" + p.Address + path
	}
	return "http://" + p.Address + path
}

// BoundAPI is the API for clients with a certificate: it refuses tokens that are bound to another (RFC 8705, section 3).
func (p *Provider) BoundAPI() string { return "https://" + p.MTLS + "/api" }

// Certificate is one for a client, of the authority that the provider trusts (tls_client_auth), for a DNS name.
func (p *Provider) Certificate(name string) tls.Certificate { return p.authority.issue(p.t, name) }

// DestroyAccessToken ends one access token; its grant and refresh token live on.
func (p *Provider) DestroyAccessToken(token string) {
	p.t.Helper()
	p.post("/test/destroy-access-token", map[string]any{"token": token})
}

// RevokeRefreshToken ends the grant that token belongs to, with all of its tokens.
func (p *Provider) RevokeRefreshToken(token string) {
	p.t.Helper()
	p.post("/test/revoke-grant", map[string]any{"refresh_token": token})
}

// ForgetClient has the provider know a client no more that has registered itself.
func (p *Provider) ForgetClient(id string) {
	p.t.Helper()
	p.post("/test/forget-client", map[string]any{"client_id": id})
}

// RevokeAccount ends all grants of one account.
func (p *Provider) RevokeAccount(account string) {
	p.t.Helper()
	p.post("/test/revoke-grant", map[string]any{"account": account})
}

// Faults are what goes wrong at the token endpoint. The zero value: nothing.
type Faults struct {
	Delay       time.Duration // before a request is processed
	AnswerDelay time.Duration // between processing and the answer
	Unavailable float64       // the probability of a 503, unprocessed
}

// Fail sets the faults of all token requests from now on.
func (p *Provider) Fail(f Faults) {
	p.t.Helper()
	p.post("/test/faults", map[string]any{
		"delay_ms":        f.Delay.Milliseconds(),
		"answer_delay_ms": f.AnswerDelay.Milliseconds(),
		"unavailable":     f.Unavailable,
	})
}

// SetAccessTokenLife is Config.AccessTokenLife for the tokens given from now on.
func (p *Provider) SetAccessTokenLife(life time.Duration) {
	p.t.Helper()
	p.post("/test/access-token-life", map[string]any{"seconds": int(life / time.Second)})
}

// TokenRequest is one line of the provider's ledger.
type TokenRequest = ledger.TokenRequest

// Log is every token request so far, in the order in which they were done.
func (p *Provider) Log() []TokenRequest {
	p.t.Helper()
	var log []TokenRequest
	p.get("/test/log", &log)
	return log
}

// Revocation is one request to the revocation endpoint (RFC 7009).
type Revocation struct {
	Time      time.Time `json:"time"`      // when it came in
	Presented string    `json:"presented"` // the token sent, named as in the ledger
	Hint      string    `json:"hint"`      // token_type_hint
	Status    int       `json:"status"`    // 200 for a token that is not known, too
}

// Revocations is every revocation asked for so far, in the order in which they were done.
func (p *Provider) Revocations() []Revocation {
	p.t.Helper()
	var all []Revocation
	p.get("/test/revocations", &all)
	return all
}

// Stats counts what is alive and what has happened.
type Stats struct {
	API struct {
		Accepted int `json:"accepted"`
		Refused  int `json:"refused"`
	} `json:"api"`
	Live struct {
		Grants        int `json:"grants"`
		RefreshTokens int `json:"refresh_tokens"`
		AccessTokens  int `json:"access_tokens"`
		Registrations int `json:"registrations"` // of clients that have registered themselves
	} `json:"live"`
}

// Stats is the state of things now.
func (p *Provider) Stats() Stats {
	p.t.Helper()
	var s Stats
	p.get("/test/stats", &s)
	return s
}

func (p *Provider) post(path string, body any) {
	p.t.Helper()
	text, err := json.Marshal(body)
	require.NoError(p.t, err)
	resp, err := p.http.Post(p.own(path), "application/json", bytes.NewReader(text))
	require.NoError(p.t, err)
	require.NoError(p.t, resp.Body.Close())
	require.Equal(p.t, http.StatusNoContent, resp.StatusCode, path)
}

func (p *Provider) get(path string, into any) {
	p.t.Helper()
	resp, err := p.http.Get(p.own(path))
	require.NoError(p.t, err)
	defer resp.Body.Close()
	require.Equal(p.t, http.StatusOK, resp.StatusCode, path)
	require.NoError(p.t, json.NewDecoder(resp.Body).Decode(into))
}

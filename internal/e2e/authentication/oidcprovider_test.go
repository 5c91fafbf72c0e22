package authentication_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
)

// way is how a client of the provider authenticates.
type way struct {
	name, method string
	register     func(p map[string]any)                                         // what the provider knows of it
	config       func(t *testing.T, p *oidcprovider.Provider, c *client.Config) // what the client has
	bound        bool                                                           // tokens are bound to its certificate
}

const (
	secret   = "a secret that is long enough for an HMAC with SHA-256: %&=+"
	callback = "https://app.example/callback"
)

func TestEveryMethodOnOIDCProvider(t *testing.T) {
	ec, long, certificate := newEC(t), newRSA(t), selfSigned(t)
	keyed := func(signer crypto.Signer, algorithm string) way {
		return way{
			name: "private_key_jwt with " + algorithm, method: "private_key_jwt",
			register: func(r map[string]any) {
				r["token_endpoint_auth_signing_alg"] = algorithm
				r["jwks"] = jwks(t, jose.JSONWebKey{Key: signer.Public(), KeyID: "key 1", Use: "sig"})
			},
			config: func(_ *testing.T, _ *oidcprovider.Provider, c *client.Config) {
				c.ClientKey = &client.Key{Signer: signer, ID: "key 1", Algorithm: algorithm}
			},
		}
	}
	secretly := func(method string) way {
		return way{
			name: method, method: method,
			register: func(r map[string]any) { r["client_secret"] = secret },
			config: func(_ *testing.T, _ *oidcprovider.Provider, c *client.Config) {
				c.ClientSecret, c.AuthMethod = secret, method
			},
		}
	}
	for _, w := range []way{
		secretly("client_secret_basic"), secretly("client_secret_post"), secretly("client_secret_jwt"),
		keyed(ec, "ES256"), keyed(long, "RS256"), keyed(long, "PS256"),
		{
			name: "tls_client_auth", method: "tls_client_auth", bound: true,
			register: func(r map[string]any) { r["tls_client_auth_san_dns"] = "app.example" },
			config: func(_ *testing.T, p *oidcprovider.Provider, c *client.Config) {
				own := p.Certificate("app.example")
				c.ClientCertificate, c.AuthMethod = &own, "tls_client_auth"
			},
		},
		{
			name: "self_signed_tls_client_auth", method: "self_signed_tls_client_auth", bound: true,
			register: func(r map[string]any) {
				leaf, err := x509.ParseCertificate(certificate.Certificate[0])
				require.NoError(t, err)
				r["jwks"] = jwks(t, jose.JSONWebKey{Key: leaf.PublicKey, Certificates: []*x509.Certificate{leaf}})
			},
			config: func(_ *testing.T, _ *oidcprovider.Provider, c *client.Config) {
				c.ClientCertificate, c.AuthMethod = &certificate, "self_signed_tls_client_auth"
			},
		},
		{
			name: "none, with tokens bound to a certificate", method: "none", bound: true,
			config: func(_ *testing.T, _ *oidcprovider.Provider, c *client.Config) {
				c.ClientCertificate, c.AuthMethod = &certificate, "none"
			},
		},
	} {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			w.try(t)
		})
	}
}

// try logs a person in, calls an API, renews, has a token rejected, logs out; and, if the client is confidential, runs
// the client credentials grant.
func (w way) try(t *testing.T) {
	p := w.start(t)
	s := w.open(t, p, func(c *client.Config) {
		c.Scopes, c.RedirectURL = []string{"openid", "offline_access"}, callback
	})
	pending, err := s.Start(t.Context(), client.AuthCode{Params: map[string][]string{"prompt": {"consent"}}})
	require.NoError(t, err)
	require.NoError(t, s.Finish(t.Context(), pending, p.SignIn(pending.URL, "alice").Query()))
	w.call(t, p, s)
	_, err = s.Renew(t.Context(), nil)
	require.NoError(t, err)
	token, err := s.Token(t.Context())
	require.NoError(t, err)
	p.DestroyAccessToken(token.AccessToken)
	w.call(t, p, s)
	if w.bound {
		w.strange(t, p, s)
	}
	require.NoError(t, s.Logout(t.Context()))
	require.Len(t, p.Revocations(), 2, "the refresh token, and then the access token")
	for _, r := range p.Revocations() {
		require.Equal(t, http.StatusOK, r.Status)
	}
	require.Zero(t, p.Stats().Live.RefreshTokens)
	for _, r := range p.Log() {
		require.Equal(t, http.StatusOK, r.Status, "%+v", r)
	}

	if w.method != "none" {
		daemon := w.open(t, p, func(c *client.Config) { c.Grant = client.ClientCredentials{} })
		w.call(t, p, daemon)
		_, err = daemon.Renew(t.Context(), nil)
		require.NoError(t, err)
	}
}

func (w way) start(t *testing.T) *oidcprovider.Provider {
	t.Helper()
	registration := map[string]any{
		"client_id": "app", "token_endpoint_auth_method": w.method, "application_type": "web",
		"grant_types":    []string{"authorization_code", "refresh_token", "client_credentials"},
		"response_types": []string{"code"}, "redirect_uris": []string{callback},
		"tls_client_certificate_bound_access_tokens": w.bound,
	}
	if w.method == "none" {
		registration["grant_types"] = []string{"authorization_code", "refresh_token"}
	}
	if w.register != nil {
		w.register(registration)
	}
	return oidcprovider.Start(t, oidcprovider.Config{Rotate: true, TLS: true, Clients: []map[string]any{registration}})
}

// open opens a session of the client. The methods that the metadata tells are left to it.
func (w way) open(t *testing.T, p *oidcprovider.Provider, set func(*client.Config)) *client.Session {
	t.Helper()
	config := client.Config{Issuer: p.Issuer, ClientID: "app", AuthServerClient: trusting(t, p)}
	w.config(t, p, &config)
	set(&config)
	c, err := client.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) })
	return c.Session("alice")
}

func trusting(t *testing.T, p *oidcprovider.Provider) *http.Client {
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: p.CA}}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// call calls the API that wants the token's certificate.
func (w way) call(t *testing.T, p *oidcprovider.Provider, s *client.Session) {
	t.Helper()
	require.Equal(t, http.StatusOK, get(t, s.Wrap(trusting(t, p)), p.BoundAPI()))
}

func get(t *testing.T, hc *http.Client, address string) int {
	t.Helper()
	defer hc.CloseIdleConnections()
	resp, err := hc.Get(address)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

// strange has somebody without the certificate use the token.
func (w way) strange(t *testing.T, p *oidcprovider.Provider, s *client.Session) {
	t.Helper()
	token, err := s.Token(t.Context())
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.BoundAPI(), nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token.AccessToken)
	resp, err := trusting(t, p).Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
}

// The wrong key costs the session nothing, and the error says where to look.
func TestAnotherKeyIsRefused(t *testing.T) {
	known := newEC(t)
	w := way{method: "private_key_jwt", register: func(r map[string]any) {
		r["token_endpoint_auth_signing_alg"] = "ES256"
		r["jwks"] = jwks(t, jose.JSONWebKey{Key: known.Public(), Use: "sig"})
	}}
	p := w.start(t)
	w.config = func(t *testing.T, _ *oidcprovider.Provider, c *client.Config) {
		c.ClientKey = &client.Key{Signer: newEC(t)}
	}
	s := w.open(t, p, func(c *client.Config) { c.Grant = client.ClientCredentials{} })
	_, err := s.Token(t.Context())
	e, ok := errors.AsType[*client.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "invalid_client", e.Code)
	require.ErrorContains(t, err, "ClientKey")
}

func newEC(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func newRSA(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return key
}

func jwks(t *testing.T, key jose.JSONWebKey) any {
	t.Helper()
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}})
	require.NoError(t, err)
	return json.RawMessage(data)
}

func selfSigned(t *testing.T) tls.Certificate {
	t.Helper()
	key := newEC(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "app"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

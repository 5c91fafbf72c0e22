package client_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/transport"
)

// selfSigned makes a certificate that no authority has signed.
func selfSigned(t testing.TB, name string) tls.Certificate {
	t.Helper()
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// mutual is an authorization server and a resource server over TLS, with names of their own, that want client
// certificates. Tokens are bound to them.
type mutual struct {
	plain, withTLS, api *httptest.Server
	trust               *tls.Config // of clients

	mu     sync.Mutex
	seen   []string          // path and name in the certificate of each request to withTLS and api; guarded by mu
	tokens map[string]string // the certificate's name by access token; guarded by mu
	forms  []url.Values      // of the POSTs to withTLS; guarded by mu
	dead   map[string]bool   // refused access tokens; guarded by mu
}

func newMutual(t *testing.T) *mutual {
	m := &mutual{tokens: map[string]string{}, dead: map[string]bool{}}
	m.plain = httptest.NewTLSServer(http.HandlerFunc(m.metadata))
	start := func(h http.HandlerFunc) *httptest.Server {
		s := httptest.NewUnstartedServer(h)
		s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert, ClientCAs: x509.NewCertPool()}
		s.StartTLS()
		return s
	}
	m.withTLS, m.api = start(m.answer), start(m.resource)
	for _, s := range []*httptest.Server{m.plain, m.withTLS, m.api} {
		t.Cleanup(s.Close)
	}
	m.trust = &tls.Config{RootCAs: x509.NewCertPool()}
	for _, s := range []*httptest.Server{m.plain, m.withTLS, m.api} {
		m.trust.RootCAs.AddCert(s.Certificate())
	}
	return m
}

// metadata is at an address that asks for no certificate, and takes no POST.
func (m *mutual) metadata(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"issuer": m.plain.URL, "token_endpoint": m.plain.URL + "/token", "revocation_endpoint": m.plain.URL + "/revoke",
		"device_authorization_endpoint": m.plain.URL + "/device", "authorization_endpoint": m.plain.URL + "/authorize",
		"pushed_authorization_request_endpoint": m.plain.URL + "/par", "userinfo_endpoint": m.plain.URL + "/me",
		"introspection_endpoint":                m.plain.URL + "/introspect",
		"token_endpoint_auth_methods_supported": []string{"self_signed_tls_client_auth", "tls_client_auth"},
		"mtls_endpoint_aliases": map[string]string{
			"token_endpoint": m.withTLS.URL + "/token", "revocation_endpoint": m.withTLS.URL + "/revoke",
			"device_authorization_endpoint":         m.withTLS.URL + "/device",
			"pushed_authorization_request_endpoint": m.withTLS.URL + "/par", "userinfo_endpoint": m.withTLS.URL + "/me",
			"introspection_endpoint": m.withTLS.URL + "/introspect",
		},
	})
}

func (m *mutual) note(r *http.Request) (name string) {
	name = r.TLS.PeerCertificates[0].Subject.CommonName
	m.seen = append(m.seen, r.URL.Path+" "+name)
	return name
}

func (m *mutual) answer(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := m.note(r)
	_ = r.ParseForm()
	m.forms = append(m.forms, r.PostForm)
	switch r.URL.Path {
	case "/token":
		token := fmt.Sprintf("AT%d", len(m.seen))
		m.tokens[token] = name
		fmt.Fprintf(w, `{"access_token":%q,"token_type":"Bearer","expires_in":3600,"refresh_token":"RT"}`, token)
	case "/device":
		fmt.Fprint(w, `{"device_code":"DC","user_code":"UC","verification_uri":"https://as.test/v","interval":1}`)
	case "/par":
		fmt.Fprint(w, `{"request_uri":"urn:pushed","expires_in":60}`)
	case "/me":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"sub":"alice"}`)
	case "/introspect":
		fmt.Fprint(w, `{"active":true}`)
	}
}

// resource refuses a token that comes with another certificate than it was given for (RFC 8705 §3).
func (m *mutual) resource(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	name := m.note(r)
	token := r.Header.Get("Authorization")[len("Bearer "):]
	if m.tokens[token] != name || m.dead[token] {
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func (m *mutual) session(t *testing.T, store tokenstore.Store, certificate tls.Certificate) *client.Session {
	return open(t, client.Config{
		Issuer: m.plain.URL, ClientID: "app", ClientCertificate: &certificate, Store: store,
		AuthServerClient: m.http(),
	}).Session("alice")
}

func (m *mutual) http() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: m.trust.Clone()}}
}

func (m *mutual) get(t *testing.T, hc *http.Client) int {
	t.Helper()
	resp, err := hc.Get(m.api.URL + "/api")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	hc.CloseIdleConnections()
	return resp.StatusCode
}

// TestMutualTLS lets a client do everything with a certificate of which the servers know no authority.
// Shows R8705-7.5-1, R9700-2.2.1-1.
func TestMutualTLS(t *testing.T) {
	m := newMutual(t)
	certificate, store := selfSigned(t, "first"), tokenstore.NewMemory()
	s := m.session(t, store, certificate)
	require.NoError(t, s.Adopt(t.Context(), &oauth2.Token{RefreshToken: "RT"}))
	hc := s.Wrap(m.http())
	require.Equal(t, http.StatusOK, m.get(t, hc))
	require.NoError(t, s.Login(t.Context(), client.Device{Prompt: shrug}))
	require.NoError(t, s.Logout(t.Context()))

	t.Run("R8705-2-1", func(t *testing.T) { // and R8705-5-1, R8705-3-1
		require.Equal(t, []string{"/token first", "/api first", "/device first", "/token first", "/revoke first", "/revoke first"}, m.seen)
	})
	t.Run("R8705-5-1", func(t *testing.T) { require.NotEqual(t, m.plain.URL, m.withTLS.URL); require.Len(t, m.forms, 5) })
	t.Run("R8705-3-1", func(t *testing.T) { require.Contains(t, m.seen, "/api first") })
	t.Run("R8705-2-2", func(t *testing.T) {
		for _, form := range m.forms {
			require.Equal(t, []string{"app"}, form["client_id"])
			require.NotContains(t, form, "client_secret")
		}
	})
}

// TestTheCertificateIsTheClientsAlone: a program's own transport goes on without it.
func TestTheCertificateIsTheClientsAlone(t *testing.T) {
	certificate := selfSigned(t, "first")
	own, authServer := &http.Transport{}, &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13}}
	s := open(t, client.Config{
		Issuer: "https://as.example", ClientID: "app", ClientCertificate: &certificate, AuthServerClient: &http.Client{Transport: authServer},
	}).Session("alice")
	hc := s.Wrap(&http.Client{Transport: own})
	defer hc.CloseIdleConnections()
	for _, theirs := range []*http.Transport{own, authServer, http.DefaultTransport.(*http.Transport)} {
		require.True(t, theirs.TLSClientConfig == nil || theirs.TLSClientConfig.GetClientCertificate == nil)
	}
	presenting := hc.Transport.(*transport.Transport).Base.(*http.Transport)
	require.NotNil(t, presenting.TLSClientConfig.GetClientCertificate)
	require.True(t, presenting.ForceAttemptHTTP2, "what is offered can be spoken")
}

// TestEveryAliasIsUsed by who has a certificate: the endpoints beside them refuse every request, for want of one.
// Shows R8705-5-1.
func TestEveryAliasIsUsed(t *testing.T) {
	m := newMutual(t)
	certificate := selfSigned(t, "first")
	s := open(t, client.Config{
		Issuer: m.plain.URL, ClientID: "app", ClientCertificate: &certificate, AuthServerClient: m.http(), RedirectURL: "https://app.test/callback",
	}).Session("alice")
	now := time.Now().Unix()
	id := signedBy(t, newKey(t), map[string]any{"iss": m.plain.URL, "aud": "app", "sub": "alice", "iat": now, "exp": now + 60})
	require.NoError(t, s.Adopt(t.Context(), (&oauth2.Token{RefreshToken: "RT"}).WithExtra(map[string]any{"id_token": id})))
	require.NoError(t, s.UserInfo(t.Context(), new(any)))
	active, err := s.Introspect(t.Context(), nil)
	require.NoError(t, err)
	require.True(t, active)
	_, err = s.Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	require.Equal(t, []string{"/token first", "/me first", "/introspect first", "/par first"}, m.seen)
}

// Shows R8705-6.3-1, R8705-4-1, R8705-3-2.
func TestAnotherCertificateMakesBoundTokensUseless(t *testing.T) {
	m := newMutual(t)
	store := tokenstore.NewMemory()
	first := selfSigned(t, "first")
	before := m.session(t, store, first)
	require.NoError(t, before.Adopt(t.Context(), &oauth2.Token{RefreshToken: "RT"}))
	old := token(t, before)
	require.Equal(t, old, token(t, m.session(t, store, first)), "the same certificate in another program")

	after := m.session(t, store, selfSigned(t, "second"))
	require.Equal(t, http.StatusOK, m.get(t, after.Wrap(m.http())))
	require.NotEqual(t, old, token(t, after))
	require.Equal(t, []string{"/token first", "/token second", "/api second"}, m.seen, "the old token is not even tried")

	m.mu.Lock()
	m.dead[token(t, after)] = true
	m.mu.Unlock()
	require.Equal(t, http.StatusOK, m.get(t, after.Wrap(m.http())))
	require.Equal(t, []string{"/api second", "/token second", "/api second"}, m.seen[3:], "a 401 takes the ordinary way")
}

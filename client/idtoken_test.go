package client_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/jws"
	"github.com/evergrant/evergrant/tokenstore"
)

// provider is an OpenID provider in memory that says whatever a test has it say.
type provider struct {
	t        *testing.T
	key      *ecdsa.PrivateKey // of the good id tokens, "key 1"
	metadata map[string]any

	mu           sync.Mutex
	public       []any                            // in the JWK Set; guarded by mu
	openID       map[string]any                   // the OpenID document; nil: none; guarded by mu
	openIDStatus int                              // of its answers; 0: 200; guarded by mu
	faults       []int                            // statuses of the next answers of jwks_uri; guarded by mu
	asked        map[string]int                   // by path; guarded by mu
	nonce        string                           // of the last authorization request; guarded by mu
	idToken      func(good map[string]any) string // nil: the good claims, signed; "": none; guarded by mu
	info         func() (kind, body string)       // of UserInfo; guarded by mu
	headers      []http.Header                    // of the requests to UserInfo; guarded by mu
	events       []client.Event                   // guarded by mu
	refresh      string                           // the refresh token of the last token request; guarded by mu
}

func newProvider(t *testing.T) *provider {
	p := &provider{t: t, key: newKey(t), asked: map[string]int{}}
	p.public = []any{publicKey(t, p.key, "key 1")}
	p.metadata = map[string]any{
		"issuer": "https://as.test", "token_endpoint": "https://as.test/token", "authorization_endpoint": "https://as.test/authorize",
		"revocation_endpoint": "https://as.test/revoke", "jwks_uri": "https://as.test/jwks", "userinfo_endpoint": "https://as.test/me",
		"end_session_endpoint":                  "https://as.test/end?tenant=1",
		"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "HS256", "none"},
	}
	return p
}

func publicKey(t *testing.T, key crypto.Signer, id string) any {
	k, err := jws.NewKey(key, id)
	require.NoError(t, err)
	public, err := k.Public()
	require.NoError(t, err)
	return public
}

// signedBy is a JWT with the claims, and members of the header beside alg.
func signedBy(t *testing.T, key any, claims any, header ...any) string {
	t.Helper()
	algorithm := jose.ES256
	switch key.(type) {
	case *rsa.PrivateKey:
		algorithm = jose.RS256
	case []byte:
		algorithm = jose.HS256
	}
	options := &jose.SignerOptions{}
	for i := 0; i < len(header); i += 2 {
		options = options.WithHeader(jose.HeaderKey(header[i].(string)), header[i+1])
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, options)
	require.NoError(t, err)
	text, err := json.Marshal(claims)
	require.NoError(t, err)
	signed, err := signer.Sign(text)
	require.NoError(t, err)
	compact, err := signed.CompactSerialize()
	require.NoError(t, err)
	return compact
}

// good are the claims of a good id token.
func (p *provider) good() map[string]any {
	now := time.Now().Unix()
	claims := map[string]any{"iss": "https://as.test", "sub": "alice", "aud": "app", "iat": now, "exp": now + 3600}
	if p.nonce != "" {
		claims["nonce"] = p.nonce
	}
	return claims
}

func (p *provider) sign(claims map[string]any) string {
	return signedBy(p.t, p.key, claims, "kid", "key 1")
}

// with signs the good claims with some changed; nil removes one.
func (p *provider) with(change map[string]any) func(map[string]any) string {
	return func(claims map[string]any) string {
		for name, value := range change {
			if claims[name] = value; value == nil {
				delete(claims, name)
			}
		}
		return p.sign(claims)
	}
}

func (p *provider) RoundTrip(req *http.Request) (*http.Response, error) {
	var form url.Values
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		_ = req.Body.Close()
		if err != nil {
			return nil, err
		}
		form = must(url.ParseQuery(string(body)))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if req.URL.Host != "as.test" {
		return nil, errors.New("no such host")
	}
	p.asked[req.URL.Path]++
	n := p.asked["/token"]
	reply := func(body any) (*http.Response, error) {
		text, err := json.Marshal(body)
		require.NoError(p.t, err)
		return answer(http.StatusOK, http.Header{"Content-Type": {"application/json"}, "Date": {time.Now().UTC().Format(http.TimeFormat)}}, string(text)), nil
	}
	switch req.URL.Path {
	case "/.well-known/oauth-authorization-server":
		return reply(p.metadata)
	case openIDPath:
		if p.openIDStatus >= 300 {
			return answer(p.openIDStatus, nil, ""), nil
		}
		if p.openID == nil {
			return answer(http.StatusNotFound, nil, ""), nil
		}
		return reply(p.openID)
	case "/jwks":
		if len(p.faults) > 0 {
			status := p.faults[0]
			p.faults = p.faults[1:]
			return answer(status, nil, ""), nil
		}
		return reply(map[string]any{"keys": p.public})
	case "/token":
		p.refresh = form.Get("refresh_token")
		members := map[string]any{"access_token": fmt.Sprintf("AT%d", n), "token_type": "bearer", "expires_in": 3600, "refresh_token": fmt.Sprintf("RT%d", n)}
		make := p.sign
		if p.idToken != nil {
			make = p.idToken
		}
		if raw := make(p.good()); raw != "" {
			members["id_token"] = raw
		}
		return reply(members)
	case "/me":
		p.headers = append(p.headers, req.Header.Clone())
		kind, body := p.info()
		return answer(http.StatusOK, http.Header{"Content-Type": {kind}}, body), nil
	}
	return answer(http.StatusOK, nil, ""), nil
}

func (p *provider) count(path string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[path]
}

func (p *provider) says(idToken func(map[string]any) string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idToken = idToken
}

// kinds are the events so far.
func (p *provider) kinds() []string {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	var kinds []string
	for _, e := range p.events {
		kinds = append(kinds, e.Kind)
	}
	return kinds
}

func (p *provider) config(set ...func(*client.Config)) client.Config {
	c := client.Config{
		Issuer: "https://as.test", ClientID: "app", Scopes: []string{"openid"}, RedirectURL: "https://app.test/callback",
		AuthServerClient: &http.Client{Transport: p}, Store: tokenstore.NewMemory(),
		OnEvent: func(e client.Event) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.events = append(p.events, e)
		},
	}
	for _, f := range set {
		f(&c)
	}
	return c
}

// login logs in by a code, and with what its id token says.
func (p *provider) login(s *client.Session, flow client.AuthCode) error {
	p.t.Helper()
	pending, err := s.Start(p.t.Context(), flow)
	require.NoError(p.t, err)
	text, err := pending.MarshalText() // another process finishes it
	require.NoError(p.t, err)
	pending = new(client.Pending)
	require.NoError(p.t, pending.UnmarshalText(text))
	address, err := url.Parse(pending.URL)
	require.NoError(p.t, err)
	p.mu.Lock()
	p.nonce = address.Query().Get("nonce")
	p.mu.Unlock()
	return s.Finish(p.t.Context(), pending, url.Values{"code": {"c"}, "state": {address.Query().Get("state")}})
}

// openID runs f in a bubble with a provider and a session that nobody has logged in to.
func openID(t *testing.T, f func(t *testing.T, p *provider, alice *client.Session), set ...func(*client.Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newProvider(t)
		f(t, p, open(t, p.config(set...)).Session("alice"))
	})
}

// refusedLogin checks that a login has saved nothing and given everything back.
func refusedLogin(t *testing.T, p *provider, alice *client.Session, err, want error) {
	t.Helper()
	require.ErrorIs(t, err, want)
	status, err := alice.Status(t.Context())
	require.NoError(t, err)
	require.False(t, status.LoggedIn)
	require.NotZero(t, p.count("/revoke"))
	require.ErrorIs(t, alice.Claims(t.Context(), new(any)), client.ErrLoginRequired)
}

const idSecret = "a client secret of more than 32 octets"

func confidential(c *client.Config) { c.ClientSecret = idSecret }

// Shows OIDC-2-1, OIDC-3.1.2.7-1, OIDC-12.2-1.
func TestClaims(t *testing.T) {
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		require.ErrorIs(t, alice.Claims(t.Context(), new(any)), client.ErrLoginRequired)
		p.says(p.with(map[string]any{"name": "Alice", "unheard_of": []int{1}, "at_hash": halfHash("AT1")}))
		require.NoError(t, p.login(alice, client.AuthCode{}))
		first := time.Now().Unix()
		var claims struct {
			Issuer   string `json:"iss"`
			Subject  string `json:"sub"`
			Name     string
			IssuedAt int64 `json:"iat"`
		}
		require.NoError(t, alice.Claims(t.Context(), &claims))
		require.Equal(t, "https://as.test alice Alice", claims.Issuer+" "+claims.Subject+" "+claims.Name)

		// A refresh may bring none: the claims stay, and iat tells their age.
		time.Sleep(48 * time.Hour)
		p.says(func(map[string]any) string { return "" })
		token(t, alice)
		require.NoError(t, alice.Claims(t.Context(), &claims))
		require.Equal(t, first, claims.IssuedAt)

		p.says(p.with(map[string]any{"name": "Alice B."}))
		_, err := alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, alice.Claims(t.Context(), &claims))
		require.Equal(t, "Alice B.", claims.Name)
		require.Equal(t, time.Now().Unix(), claims.IssuedAt)
		require.NotContains(t, p.kinds(), "id token refused")

		require.Error(t, alice.Claims(t.Context(), new(int)))
	})
}

func halfHash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// TestIDTokensThatAreRefused: a login with one of these saves nothing, and what it has brought is revoked.
//
// Shows OIDC-2-4, OIDC-3.1.3.7-7, OIDC-16.15-1, R9700-4.5.3.2-1.
func TestIDTokensThatAreRefused(t *testing.T) {
	other, rsaKey := newKey(t), must(rsa.GenerateKey(rand.Reader, 2048))
	der := must(x509.MarshalPKIXPublicKey(&rsaKey.PublicKey))
	rsaPublic := publicKey(t, rsaKey, "key 1")
	published := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	long := strings.Repeat("x", 256)
	change := func(of ...any) func(*provider) {
		return func(p *provider) {
			claims := map[string]any{}
			for i := 0; i < len(of); i += 2 {
				claims[of[i].(string)] = of[i+1]
			}
			p.idToken = p.with(claims)
		}
	}
	timed := func(name string, d time.Duration) func(*provider) {
		return func(p *provider) { p.idToken = p.with(map[string]any{name: time.Now().Add(d).Unix()}) }
	}
	signed := func(key any, header ...any) func(*provider) {
		return func(p *provider) {
			p.idToken = func(claims map[string]any) string { return signedBy(p.t, key, claims, header...) }
		}
	}
	// twice has a claim there twice: first what it has to be.
	twice := func(name string, second any) func(*provider) {
		return func(p *provider) {
			p.idToken = func(claims map[string]any) string {
				text := must(json.Marshal(claims))
				more := must(json.Marshal(map[string]any{name: second}))
				return signedBy(p.t, p.key, json.RawMessage(string(text[:len(text)-1])+","+string(more[1:])), "kid", "key 1")
			}
		}
	}
	for _, tt := range []struct {
		name  string
		spoil func(*provider)
		set   []func(*client.Config)
	}{
		{name: "OIDC-2-1 subject too long", spoil: change("sub", long)},
		{name: "no subject", spoil: change("sub", nil)},
		{name: "OIDC-2-2", spoil: func(p *provider) {
			p.idToken = func(claims map[string]any) string { return unsigned(p.t, claims) }
		}},
		{name: "OIDC-2-3 jwk", spoil: signed(other, "jwk", jose.JSONWebKey{Key: other.Public()})},
		{name: "OIDC-2-3 jku", spoil: signed(other, "jku", "https://evil.test/jwks", "kid", "evil")},
		{name: "OIDC-2-3 x5u", spoil: signed(other, "x5u", "https://evil.test/x5u")},
		{name: "OIDC-3.1.3.7-10 another nonce", spoil: change("nonce", "other")},
		{name: "OIDC-3.1.3.7-10 no nonce", spoil: change("nonce", nil)},
		{name: "a nonce that nobody has sent", set: []func(*client.Config){func(c *client.Config) { c.Scopes = nil }}, spoil: change("nonce", "other")},
		{name: "OIDC-3.1.3.3-1", spoil: func(p *provider) { p.idToken = func(map[string]any) string { return "" } }},
		{name: "OIDC-3.1.3.7-2", spoil: change("iss", "https://evil.test")},
		{name: "OIDC-3.1.3.7-2 a slash", spoil: change("iss", "https://as.test/")},
		{name: "OIDC-3.1.3.7-2 case", spoil: change("iss", "https://AS.test")},
		{name: "OIDC-3.1.3.7-2 a template", spoil: change("iss", "https://as.test/{tenantid}")},
		{name: "OIDC-3.1.3.7-3 another audience", spoil: change("aud", "other")},
		{name: "OIDC-3.1.3.7-3 several others", spoil: change("aud", []string{"one", "two"})},
		{name: "OIDC-3.1.3.7-3 an unknown one more", spoil: change("aud", []string{"app", "unknown"})},
		{name: "OIDC-3.1.3.7-3 none", spoil: change("aud", nil)},
		{name: "OIDC-3.1.3.7-4", spoil: change("azp", "other")},
		{name: "OIDC-3.1.3.7-5", spoil: signed(other, "kid", "key 1")},
		{name: "OIDC-3.1.3.7-5 cut", spoil: func(p *provider) {
			p.idToken = func(claims map[string]any) string { raw := p.sign(claims); return raw[:strings.LastIndex(raw, ".")+1] }
		}},
		{name: "OIDC-3.1.3.7-5 claims exchanged", spoil: func(p *provider) {
			p.idToken = func(claims map[string]any) string {
				was := strings.Split(p.sign(map[string]any{}), ".")
				now := strings.Split(p.sign(claims), ".")
				return was[0] + "." + now[1] + "." + was[2]
			}
		}},
		{name: "OIDC-3.1.3.7-6 not offered", spoil: func(p *provider) { p.metadata["id_token_signing_alg_values_supported"] = []string{"RS256"} }},
		{name: "OIDC-3.1.3.7-6 the public key as a secret", set: []func(*client.Config){confidential}, spoil: func(p *provider) {
			p.public = []any{rsaPublic}
			signed(published, "kid", "key 1")(p)
		}},
		{name: "OIDC-3.1.3.7-7", spoil: signed([]byte(idSecret))},
		{name: "OIDC-3.1.3.7-7 another secret", set: []func(*client.Config){confidential}, spoil: signed([]byte(idSecret + "!"))},
		{name: "OIDC-3.1.3.7-7 method none", set: []func(*client.Config){func(c *client.Config) { c.AuthMethod = "none" }}, spoil: signed([]byte(idSecret))},
		{name: "OIDC-16.19-1", set: []func(*client.Config){func(c *client.Config) { c.ClientSecret = "31 octets, which is one too few."[:31] }}, spoil: signed([]byte("31 octets, which is one too few."[:31] + "\x00"))},
		{name: "OIDC-3.1.3.7-8", spoil: timed("exp", -time.Minute)},
		{name: "OIDC-3.1.3.7-8 none", spoil: change("exp", nil)},
		{name: "OIDC-3.1.3.7-9", spoil: timed("iat", time.Minute+time.Second)},
		{name: "OIDC-3.1.3.7-9 none", spoil: change("iat", nil)},
		{name: "nbf", spoil: timed("nbf", 10*time.Minute)},
		{name: "OIDC-3.1.3.8-1", spoil: change("at_hash", halfHash("AT2"))},
		{name: "OIDC-3.1.2.1-5", spoil: func(p *provider) { p.idToken = func(map[string]any) string { return "a.b.c.d.e" } }},
		{name: "not a token", spoil: func(p *provider) { p.idToken = func(map[string]any) string { return "?" } }},
		{name: "claims that are no object", spoil: func(p *provider) {
			p.idToken = func(map[string]any) string { return signedBy(p.t, p.key, []int{1}, "kid", "key 1") }
		}},
		{name: "a subject in capitals", spoil: change("sub", nil, "SUB", "alice")},
		{name: "an issuer in capitals", spoil: change("iss", nil, "ISS", "https://as.test")},
		{name: "an audience in capitals", spoil: change("aud", nil, "Aud", "app")},
		{name: "an end in capitals", spoil: change("exp", nil, "Exp", time.Now().Add(time.Hour*1e6).Unix())},
		{name: "a nonce in capitals", spoil: func(p *provider) {
			p.idToken = func(claims map[string]any) string {
				claims["Nonce"] = claims["nonce"]
				delete(claims, "nonce")
				return p.sign(claims)
			}
		}},
		{name: "a party beside its capitals", spoil: change("azp", "other", "azP", "app")},
		{name: "a hash beside its capitals", spoil: change("at_hash", halfHash("AT2"), "at_haſh", halfHash("AT1"))},
		{name: "iss twice", spoil: twice("iss", "https://as.test")},
		{name: "sub twice", spoil: twice("sub", "mallory")},
		{name: "aud twice", spoil: twice("aud", "app")},
		{name: "exp twice", spoil: twice("exp", 1)},
		{name: "nonce twice", spoil: twice("nonce", "")},
		{name: "a critical header", spoil: func(p *provider) {
			p.idToken = func(claims map[string]any) string {
				return signedBy(p.t, p.key, claims, "kid", "key 1", "crit", []string{"exp"}, "exp", 1)
			}
		}},
		{name: "a private key in the set", spoil: func(p *provider) {
			p.public = []any{jose.JSONWebKey{Key: p.key, KeyID: "key 1"}}
		}},
		{name: "a key for encryption", spoil: func(p *provider) {
			p.public = []any{jose.JSONWebKey{Key: p.key.Public(), KeyID: "key 1", Use: "enc"}}
		}},
		{name: "a key for another algorithm", spoil: func(p *provider) {
			p.public = []any{jose.JSONWebKey{Key: p.key.Public(), KeyID: "key 1", Algorithm: "ES384"}}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			openID(t, func(t *testing.T, p *provider, alice *client.Session) {
				tt.spoil(p)
				refusedLogin(t, p, alice, p.login(alice, client.AuthCode{}), client.ErrIDToken)
				require.LessOrEqual(t, p.count("/jwks"), 1)
			}, tt.set...)
		})
	}
}

// unsigned is a JWT of the algorithm none.
func unsigned(t *testing.T, claims any) string {
	text, err := json.Marshal(claims)
	require.NoError(t, err)
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(text) + "."
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestIDTokensThatAreGood: also those that look unusual.
func TestIDTokensThatAreGood(t *testing.T) {
	rsaKey := must(rsa.GenerateKey(rand.Reader, 2048))
	rsaPublic := publicKey(t, rsaKey, "rsa")
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	ed := must(jws.NewKey(edKey, "ed"))
	for _, tt := range []struct {
		name string
		make func(*provider)
		set  []func(*client.Config)
	}{
		{name: "OIDC-3.1.3.7-3 an array", make: func(p *provider) { p.idToken = p.with(map[string]any{"aud": []string{"app"}}) }},
		{name: "OIDC-3.1.3.7-4 several audiences, issued to this client", make: func(p *provider) {
			p.idToken = p.with(map[string]any{"aud": []string{"project", "app"}, "azp": "app"})
		}},
		{name: "OIDC-3.1.3.7-7", set: []func(*client.Config){confidential}, make: func(p *provider) {
			p.idToken = func(claims map[string]any) string { return signedBy(p.t, []byte(idSecret), claims) }
		}},
		{name: "OIDC-3.1.3.7-8 within the leeway", make: func(p *provider) {
			p.idToken = p.with(map[string]any{"exp": time.Now().Add(-59 * time.Second).Unix()})
		}},
		{name: "OIDC-3.1.3.7-9 within the leeway", make: func(p *provider) {
			p.idToken = p.with(map[string]any{"iat": time.Now().Add(time.Minute).Unix()})
		}},
		{name: "OIDC-3.1.3.8-1", make: func(p *provider) { p.idToken = p.with(map[string]any{"at_hash": halfHash("AT1")}) }},
		{name: "OIDC-10.1-1 no kid", make: func(p *provider) {
			p.public = []any{publicKey(p.t, newKey(p.t), "a"), rsaPublic, map[string]any{"kty": "unheard of"}, publicKey(p.t, p.key, "b")}
			p.idToken = func(claims map[string]any) string { return signedBy(p.t, p.key, claims) }
		}},
		{name: "RS256", make: func(p *provider) {
			p.public = append(p.public, rsaPublic)
			p.idToken = func(claims map[string]any) string { return signedBy(p.t, rsaKey, claims, "kid", "rsa") }
		}},
		{name: "Ed25519", make: func(p *provider) {
			p.metadata["id_token_signing_alg_values_supported"] = []string{"Ed25519"}
			p.public = append(p.public, jose.JSONWebKey{Key: edPublic, KeyID: "ed", Algorithm: "EdDSA"})
			p.idToken = func(claims map[string]any) string {
				sum := sha512.Sum512([]byte("AT1"))
				claims["at_hash"] = base64.RawURLEncoding.EncodeToString(sum[:32])
				return must(ed.Sign(jws.Header{Algorithm: "Ed25519"}, claims))
			}
		}},
		{name: "ES384", make: func(p *provider) {
			private := must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader))
			p.metadata["id_token_signing_alg_values_supported"] = []string{"ES384"}
			p.public = append(p.public, publicKey(p.t, private, "384"))
			p.idToken = func(claims map[string]any) string {
				sum := sha512.Sum384([]byte("AT1"))
				claims["at_hash"] = base64.RawURLEncoding.EncodeToString(sum[:24])
				return must(must(jws.NewKey(private, "384")).Sign(jws.Header{Algorithm: "ES384"}, claims))
			}
		}},
		{name: "OIDCD-3-3 no RS256 offered", make: func(p *provider) {
			p.metadata["id_token_signing_alg_values_supported"] = []string{"ES256"}
		}},
		{name: "no algorithms offered", make: func(p *provider) { delete(p.metadata, "id_token_signing_alg_values_supported") }},
		{name: "OIDC-2-3 a jku beside a known key", make: func(p *provider) {
			p.idToken = func(claims map[string]any) string {
				return signedBy(p.t, p.key, claims, "kid", "key 1", "jku", "https://evil.test/jwks")
			}
		}},
		{name: "the scope openid not granted", make: func(p *provider) {}, set: []func(*client.Config){func(c *client.Config) { c.Scopes = nil }}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			openID(t, func(t *testing.T, p *provider, alice *client.Session) {
				tt.make(p)
				require.NoError(t, p.login(alice, client.AuthCode{}))
				var claims struct{ Sub string }
				require.NoError(t, alice.Claims(t.Context(), &claims))
				require.Equal(t, "alice", claims.Sub)
			}, tt.set...)
		})
	}
}

// TestNamesOfClaimsCountAsTheyAreWritten: encoding/json would take another case for the claim itself, in the program's own
// types too.
func TestNamesOfClaimsCountAsTheyAreWritten(t *testing.T) {
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		p.idToken = p.with(map[string]any{
			"SUB": "mallory", "ſub": 5, "Iss": "https://evil.test", "AUD": "other", "EXP": 1, "iAT": "x", "NONCE": "n", "AT_HASH": "h",
			"azP": "other", "nbF": 1e12, "Email": "a@example.com",
		})
		require.NoError(t, p.login(alice, client.AuthCode{}))
		var got struct{ Iss, Sub, Email string }
		require.NoError(t, alice.Claims(t.Context(), &got))
		require.Equal(t, "https://as.test alice a@example.com", strings.Join([]string{got.Iss, got.Sub, got.Email}, " "))
		_, err := alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.NotContains(t, p.kinds(), "id token refused")

		p.tells("application/json", `{"sub":"alice","SUB":"mallory","Email":"a@example.com","zip":12345678901234567890}`)
		var info whom
		require.NoError(t, alice.UserInfo(t.Context(), &info))
		require.Equal(t, whom{"alice", "a@example.com"}, info)
		var all map[string]json.RawMessage
		require.NoError(t, alice.UserInfo(t.Context(), &all))
		require.Equal(t, "12345678901234567890", string(all["zip"]))
	})
}

// An id token's times are the server's: here its clock is an hour ahead, as its answers say.
func TestIDTokenByTheServersClock(t *testing.T) {
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		p.idToken = p.with(map[string]any{"iat": time.Now().Add(time.Hour).Unix(), "exp": time.Now().Add(time.Hour + time.Minute).Unix()})
		require.NoError(t, p.login(alice, client.AuthCode{}))
	}, func(c *client.Config) {
		c.AuthServerClient = &http.Client{Transport: dated{c.AuthServerClient.Transport, time.Hour}}
	})
}

// Without metadata there are no keys, and the TLS of the token endpoint vouches for what came from there; everything but
// the signature is checked.
func TestIDTokenOfAnEndpointGivenByHand(t *testing.T) {
	byHand := func(c *client.Config) {
		c.Issuer, c.Endpoint = "", oauth2.Endpoint{TokenURL: "https://as.test/token", AuthURL: "https://as.test/authorize"}
	}
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		p.key = newKey(t)
		require.NoError(t, p.login(alice, client.AuthCode{}))
		require.Zero(t, p.count("/jwks"))
		require.NotErrorIs(t, alice.UserInfo(t.Context(), new(any)), client.ErrIDToken)
		require.ErrorIs(t, alice.UserInfo(t.Context(), new(any)), errors.ErrUnsupported)

		p.says(p.with(map[string]any{"iss": "https://evil.test"}))
		_, err := alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Contains(t, p.kinds(), "id token refused", "the issuer before is known")
	}, byHand)
	for name, spoil := range map[string]func(p *provider){
		"audience": func(p *provider) { p.idToken = p.with(map[string]any{"aud": "other"}) },
		"expired":  func(p *provider) { p.idToken = p.with(map[string]any{"exp": time.Now().Unix() - 61}) },
		"nonce":    func(p *provider) { p.idToken = p.with(map[string]any{"nonce": "other"}) },
		"none":     func(p *provider) { p.idToken = func(claims map[string]any) string { return unsigned(p.t, claims) } },
	} {
		t.Run(name, func(t *testing.T) {
			openID(t, func(t *testing.T, p *provider, alice *client.Session) {
				spoil(p)
				require.ErrorIs(t, p.login(alice, client.AuthCode{}), client.ErrIDToken)
			}, byHand)
		})
	}
}

// Shows OIDC-10.1.1-1.
func TestKeyRotation(t *testing.T) {
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		require.NoError(t, p.login(alice, client.AuthCode{}))
		require.Equal(t, 1, p.count("/jwks"))
		require.NoError(t, p.login(alice, client.AuthCode{}))
		require.Equal(t, 1, p.count("/jwks"), "they are kept")

		next := newKey(t)
		p.public = append(p.public, publicKey(t, next, "key 2"))
		time.Sleep(time.Second)
		p.says(func(claims map[string]any) string { return signedBy(t, next, claims, "kid", "key 2") })
		require.NoError(t, p.login(alice, client.AuthCode{}))
		require.Equal(t, 2, p.count("/jwks"))

		p.says(func(claims map[string]any) string { return signedBy(t, newKey(t), claims, "kid", rand.Text()) })
		for range 20 {
			require.ErrorIs(t, p.login(alice, client.AuthCode{}), client.ErrIDToken)
		}
		require.Equal(t, 2, p.count("/jwks"), "a flood of unknown keys asks nothing")
		time.Sleep(10 * time.Second)
		for range 5 {
			require.ErrorIs(t, p.login(alice, client.AuthCode{}), client.ErrIDToken)
			time.Sleep(1500 * time.Millisecond)
		}
		require.Equal(t, 3, p.count("/jwks"), "once for a while")

		// A key that was withdrawn is believed for an hour, and no longer.
		p.public = p.public[1:]
		p.says(nil)
		time.Sleep(time.Second)
		require.NoError(t, p.login(alice, client.AuthCode{}))
		time.Sleep(time.Hour)
		require.ErrorIs(t, p.login(alice, client.AuthCode{}), client.ErrIDToken)
	})
}

// Keys that cannot be had at the moment are waited for while the person is there; then the login has failed.
func TestKeysThatCannotBeHad(t *testing.T) {
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		p.faults = []int{503, 404, 500}
		require.NoError(t, p.login(alice, client.AuthCode{}))
		require.Equal(t, 4, p.count("/jwks"))
	})
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		p.faults = bytesOf(503, 100)
		begun := time.Now()
		err := p.login(alice, client.AuthCode{})
		e, ok := errors.AsType[*client.Error](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, 503, e.StatusCode)
		require.NotErrorIs(t, err, client.ErrIDToken, "nothing is known of it")
		require.LessOrEqual(t, time.Since(begun), 10*time.Second)
		require.NotZero(t, p.count("/revoke"))
	})
}

func bytesOf(status, n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = status
	}
	return all
}

// Shows OIDC-12.2-2. A refresh whose id token is not good saves its refresh token and uses its access token.
func TestIDTokenOfARefreshThatIsNotGood(t *testing.T) {
	for name, spoil := range map[string]func(p *provider) func(map[string]any) string{
		"another issuer": func(p *provider) func(map[string]any) string {
			return p.with(map[string]any{"iss": "https://evil.test"})
		},
		"another audience": func(p *provider) func(map[string]any) string { return p.with(map[string]any{"aud": "other"}) },
		"another nonce":    func(p *provider) func(map[string]any) string { return p.with(map[string]any{"nonce": "other"}) },
		"expired":          func(p *provider) func(map[string]any) string { return p.with(map[string]any{"exp": 1}) },
		"another at_hash":  func(p *provider) func(map[string]any) string { return p.with(map[string]any{"at_hash": "x"}) },
		"another key": func(p *provider) func(map[string]any) string {
			return func(claims map[string]any) string {
				claims["sub"] = "mallory"
				return signedBy(p.t, newKey(p.t), claims, "kid", "key 1")
			}
		},
		"an unknown key": func(p *provider) func(map[string]any) string {
			return func(claims map[string]any) string { return signedBy(p.t, newKey(p.t), claims, "kid", "key 9") }
		},
		"garbage": func(*provider) func(map[string]any) string { return func(map[string]any) string { return "?" } },
	} {
		t.Run(name, func(t *testing.T) {
			openID(t, func(t *testing.T, p *provider, alice *client.Session) {
				require.NoError(t, p.login(alice, client.AuthCode{}))
				var before, after map[string]any
				require.NoError(t, alice.Claims(t.Context(), &before))
				p.says(spoil(p))
				fresh, err := alice.Renew(t.Context(), nil)
				require.NoError(t, err)
				require.Equal(t, "AT2", fresh.AccessToken)
				require.NoError(t, alice.Claims(t.Context(), &after))
				require.Equal(t, before, after)
				require.Contains(t, p.kinds(), "id token refused")
				require.Equal(t, "RT2", spent(t, alice, p), "the rotated refresh token is saved")
				require.Equal(t, 1, p.count("/jwks"), "nothing is fetched between the answer and the save")
			})
		})
	}
}

// spent is the refresh token that the session's next refresh sends.
func spent(t *testing.T, s *client.Session, p *provider) string {
	t.Helper()
	_, err := s.Renew(t.Context(), nil)
	require.NoError(t, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.refresh
}

// Shows OIDC-12.2-2. The access token of somebody else is not used, the refresh token that came with it is kept, and the grant stays whose it was.
func TestRefreshThatBringsSomebodyElse(t *testing.T) {
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		require.NoError(t, p.login(alice, client.AuthCode{}))
		p.says(p.with(map[string]any{"sub": "mallory"}))
		_, err := alice.Renew(t.Context(), nil)
		require.ErrorIs(t, err, client.ErrOtherSubject)
		status, err := alice.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, "alice", status.Subject)
		var claims struct{ Sub string }
		require.NoError(t, alice.Claims(t.Context(), &claims))
		require.Equal(t, "alice", claims.Sub)

		p.says(nil)
		time.Sleep(2 * time.Hour)
		require.Equal(t, "AT3", token(t, alice), "never AT2")
		require.Equal(t, "RT3", spent(t, alice, p))
	})
}

// A process that starts with a grant fetches the keys before it refreshes; if it cannot, the refresh goes on without.
func TestKeysBeforeARefresh(t *testing.T) {
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		require.NoError(t, p.login(alice, client.AuthCode{}))
		time.Sleep(2 * time.Hour)
		p.faults = bytesOf(500, 1)
		token(t, alice)
		require.Contains(t, p.kinds(), "id token refused")
		require.Equal(t, 2, p.count("/jwks"))
		_, err := alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, 2, p.count("/jwks"), "no refresh waits for them again so soon")
		time.Sleep(time.Minute)
		_, err = alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, 3, p.count("/jwks"))
		var claims struct{ Iat int64 }
		require.NoError(t, alice.Claims(t.Context(), &claims))
		require.Equal(t, time.Now().Unix(), claims.Iat)
	})
}

// What was asked of the authentication is held against the id token.
func TestAuthentication(t *testing.T) {
	minutesAgo := func(n int64) any { return time.Now().Unix() - 60*n }
	for _, tt := range []struct {
		name   string
		params url.Values
		claims func() map[string]any
		good   bool
	}{
		{"OIDC-3.1.3.7-11 none", url.Values{"acr_values": {"gold silver"}}, func() map[string]any { return nil }, false},
		{"OIDC-3.1.3.7-11 a lower one", url.Values{"acr_values": {"gold silver"}}, func() map[string]any { return map[string]any{"acr": "bronze"} }, false},
		{"OIDC-3.1.3.7-11", url.Values{"acr_values": {"gold silver"}}, func() map[string]any { return map[string]any{"acr": "silver"} }, true},
		{"OIDC-3.1.3.7-11 essential", url.Values{"claims": {`{"id_token":{"acr":{"essential":true,"values":["gold"]}},"x":1}`}}, func() map[string]any { return map[string]any{"acr": "silver"} }, false},
		{"OIDC-5.5-1 voluntary", url.Values{"claims": {`{"id_token":{"acr":{"values":["gold"]},"auth_time":null},"userinfo":{"email":null}}`}}, func() map[string]any { return nil }, true},
		{"OIDC-3.1.3.7-12 none", url.Values{"max_age": {"300"}}, func() map[string]any { return nil }, false},
		{"OIDC-3.1.3.7-12 too old", url.Values{"max_age": {"300"}}, func() map[string]any { return map[string]any{"auth_time": minutesAgo(7)} }, false},
		{"OIDC-3.1.3.7-12", url.Values{"max_age": {"300"}}, func() map[string]any { return map[string]any{"auth_time": minutesAgo(5)} }, true},
		{"OIDC-3.1.3.7-12 at once", url.Values{"max_age": {"0"}}, func() map[string]any { return map[string]any{"auth_time": minutesAgo(2)} }, false},
		{"OIDC-3.1.3.7-11 essential, beside others", url.Values{"claims": {`{"id_token":{"a":{"value":true},"acr":{"essential":true,"value":"gold"},"b":7}}`}}, func() map[string]any { return map[string]any{"acr": "silver"} }, false},
		{"OIDC-3.1.3.7-11 essential, any", url.Values{"claims": {`{"id_token":{"acr":{"essential":true}}}`}}, func() map[string]any { return map[string]any{"acr": "silver"} }, true},
		{"OIDC-3.1.3.7-11 essential, any, none", url.Values{"claims": {`{"id_token":{"acr":{"essential":true}}}`}}, func() map[string]any { return nil }, false},
		{"OIDC-3.1.3.7-12 essential", url.Values{"claims": {`{"id_token":{"auth_time":{"essential":true}}}`}}, func() map[string]any { return nil }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			openID(t, func(t *testing.T, p *provider, alice *client.Session) {
				p.says(p.with(tt.claims()))
				err := p.login(alice, client.AuthCode{Params: tt.params})
				if tt.good {
					require.NoError(t, err)
					return
				}
				refusedLogin(t, p, alice, err, client.ErrAuthentication)
				require.NotErrorIs(t, err, client.ErrIDToken)
			})
		})
	}
}

// An id token that comes with an adopted token is checked, too; without a good one the token is adopted all the same.
func TestAdoptWithAnIDToken(t *testing.T) {
	adopt := func(t *testing.T, p *provider, alice *client.Session, raw string) {
		got := (&oauth2.Token{AccessToken: "AT", RefreshToken: "RT"}).WithExtra(map[string]any{"id_token": raw})
		require.NoError(t, alice.Adopt(t.Context(), got))
		asked := p.count("/jwks")
		require.NoError(t, alice.Adopt(t.Context(), got))
		require.Equal(t, asked, p.count("/jwks"), "the same token is not checked again")
	}
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		adopt(t, p, alice, p.with(map[string]any{"exp": time.Now().Unix() - 3600, "nonce": "whatever"})(p.good()))
		var claims struct{ Sub string }
		require.NoError(t, alice.Claims(t.Context(), &claims))
		require.Equal(t, "alice", claims.Sub)
	})
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		adopt(t, p, alice, signedBy(t, newKey(t), p.good(), "kid", "key 1"))
		require.ErrorIs(t, alice.Claims(t.Context(), new(any)), client.ErrIDToken)
		status, err := alice.Status(t.Context())
		require.NoError(t, err)
		require.True(t, status.LoggedIn)
		require.Empty(t, status.Subject)
		require.Equal(t, []string{"id token refused", "login"}, p.kinds())
	})
}

// The keys of an issuer are those that its metadata names now, not those of an address before.
func TestKeysThatHaveMoved(t *testing.T) {
	moved := func(f func(t *testing.T, p *provider, alice *client.Session)) func(t *testing.T) {
		return func(t *testing.T) {
			openID(t, func(t *testing.T, p *provider, alice *client.Session) {
				require.NoError(t, p.login(alice, client.AuthCode{}))
				p.metadata["jwks_uri"] = "https://as.test/jwks?2"
				p.public = []any{publicKey(t, newKey(t), "key 1")}
				time.Sleep(6 * time.Minute)
				f(t, p, alice)
			}, func(c *client.Config) {
				c.AuthServerClient = &http.Client{Transport: fleeting{c.AuthServerClient.Transport}}
			})
		}
	}
	t.Run("a login", moved(func(t *testing.T, p *provider, alice *client.Session) {
		require.ErrorIs(t, p.login(alice, client.AuthCode{}), client.ErrIDToken)
	}))
	t.Run("a refresh that cannot have them", moved(func(t *testing.T, p *provider, alice *client.Session) {
		p.faults = []int{503, 503, 503, 503, 503, 503}
		p.says(p.with(map[string]any{"name": "Mallory"}))
		_, err := alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		var claims struct{ Name string }
		require.NoError(t, alice.Claims(t.Context(), &claims))
		require.Empty(t, claims.Name)
		require.Contains(t, p.kinds(), "id token refused")
	}))
}

// fleeting has its answers say that they hold for five minutes.
type fleeting struct{ next http.RoundTripper }

func (f fleeting) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := f.next.RoundTrip(req)
	if err == nil && resp.Header != nil {
		resp.Header.Set("Cache-Control", "max-age=300")
	}
	return resp, err
}

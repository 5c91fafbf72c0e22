// Package dpop shows tokens that are bound to keys (RFC 9449) on a certified provider, and at a resource server that
// checks every proof in full.
package dpop

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Resource is a resource server over TLS that asks an authorization server about tokens and trusts nothing in a proof.
type Resource struct {
	// URL is its origin.
	URL string
	// Client reaches it.
	Client *http.Client

	introspection, id, secret string

	mu      sync.Mutex
	nonce   string          // that proofs have to carry; empty: none; guarded by mu
	seen    map[string]bool // by jti; guarded by mu
	refused []string        // why; guarded by mu
	passed  int             // guarded by mu
}

// NewResource starts a Resource that asks the introspection endpoint (RFC 7662) as a client with a secret.
func NewResource(t testing.TB, introspection, id, secret string) *Resource {
	t.Helper()
	r := &Resource{introspection: introspection, id: id, secret: secret, seen: map[string]bool{}}
	srv := httptest.NewTLSServer(r)
	t.Cleanup(srv.Close)
	r.URL, r.Client = srv.URL, srv.Client()
	return r
}

// WantNonce has proofs carry nonce from now on.
func (r *Resource) WantNonce(nonce string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nonce = nonce
}

// Log is how many requests have passed, and why the others have not.
func (r *Resource) Log() (passed int, refused []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.passed, append([]string{}, r.refused...)
}

// ServeHTTP implements http.Handler.
func (r *Resource) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	code, why := r.check(req)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.nonce != "" {
		w.Header().Set("DPoP-Nonce", r.nonce)
	}
	if code == "" {
		r.passed++
		_, _ = io.Copy(w, req.Body)
		return
	}
	r.refused = append(r.refused, code)
	w.Header().Add("WWW-Authenticate", `Bearer realm="strict"`)
	w.Header().Add("WWW-Authenticate", fmt.Sprintf(`DPoP realm="strict", error=%q, error_description=%q, algs="ES256"`, code, why))
	w.WriteHeader(http.StatusUnauthorized)
}

// check goes through RFC 9449 §4.3 and §7.1; code is empty if all is well.
func (r *Resource) check(req *http.Request) (code, why string) {
	const badProof, badToken = "invalid_dpop_proof", "invalid_token"
	authorization, proofs := req.Header["Authorization"], req.Header["Dpop"]
	if len(authorization) != 1 || len(proofs) != 1 {
		return badProof, "not one Authorization and one DPoP header"
	}
	token, ok := strings.CutPrefix(authorization[0], "DPoP ")
	if !ok {
		return badToken, "the scheme is not DPoP"
	}
	parsed, err := jose.ParseSignedCompact(proofs[0], []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return badProof, "not a JWS"
	}
	header := parsed.Signatures[0].Protected
	if header.ExtraHeaders["typ"] != "dpop+jwt" || header.JSONWebKey == nil || !header.JSONWebKey.IsPublic() || header.KeyID != "" {
		return badProof, "the header"
	}
	payload, err := parsed.Verify(header.JSONWebKey)
	var claims struct {
		ID     string `json:"jti"`
		Method string `json:"htm"`
		URL    string `json:"htu"`
		Token  string `json:"ath"`
		Nonce  string `json:"nonce"`
		Time   int64  `json:"iat"`
	}
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return badProof, "the signature"
	}
	sum := sha256.Sum256([]byte(token))
	r.mu.Lock()
	nonce, replayed := r.nonce, r.seen[claims.ID]
	r.seen[claims.ID] = true
	r.mu.Unlock()
	switch {
	case len(claims.ID) < 16 || replayed:
		return badProof, "the jti"
	case claims.Method != req.Method:
		return badProof, "the method"
	case claims.URL != "https://"+req.Host+req.URL.EscapedPath():
		return badProof, "the address"
	case claims.Token != base64.RawURLEncoding.EncodeToString(sum[:]):
		return badProof, "the token's hash"
	case time.Since(time.Unix(claims.Time, 0)).Abs() > 5*time.Second:
		return badProof, "the time"
	case nonce != "" && claims.Nonce != nonce:
		return "use_dpop_nonce", "the nonce"
	}
	thumbprint, err := header.JSONWebKey.Thumbprint(crypto.SHA256)
	if err != nil {
		return badProof, "the key"
	}
	bound, err := r.keyOf(token)
	if err != nil || bound != base64.RawURLEncoding.EncodeToString(thumbprint) {
		return badToken, "not this key's, or not active"
	}
	return "", ""
}

// keyOf asks for the key of an active token.
func (r *Resource) keyOf(token string) (thumbprint string, _ error) {
	form := url.Values{"token": {token}, "client_id": {r.id}, "client_secret": {r.secret}}
	resp, err := http.PostForm(r.introspection, form)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	defer http.DefaultClient.CloseIdleConnections()
	var said struct {
		Active bool
		Type   string `json:"token_type"`
		Cnf    struct{ JKT string }
	}
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil {
		return "", err
	}
	if !said.Active || said.Type != "DPoP" {
		return "", fmt.Errorf("not an active DPoP token, but active %v of type %q", said.Active, said.Type)
	}
	return said.Cnf.JKT, nil
}

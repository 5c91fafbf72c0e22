package clienttest

import (
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// proofLife is how far a proof's time may be off.
const proofLife = time.Minute

var proofAlgorithms = []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.ES512, jose.EdDSA, jose.PS256, jose.RS256}

// proofClaims are those of a DPoP proof (RFC 9449 section 4.2).
type proofClaims struct {
	ID     string `json:"jti"`
	Method string `json:"htm"`
	URL    string `json:"htu"`
	Time   int64  `json:"iat"`
	Token  string `json:"ath"`
	Nonce  string `json:"nonce"`
}

// proveLocked checks the proof of a request to address (RFC 9449 section 4.3) and returns the thumbprint of its key.
// token is the access token that the request carries, empty at the Server's own endpoints; nonce is what the proof
// has to carry, empty: any.
func (s *Server) proveLocked(r *http.Request, address, token, nonce string) (thumbprint string, no *refusal) {
	bad := func(why string) (string, *refusal) { return "", refused("invalid_dpop_proof", why) }
	values := r.Header.Values("DPoP")
	if len(values) != 1 {
		return bad("there is not one DPoP header")
	}
	parsed, err := jose.ParseSignedCompact(values[0], proofAlgorithms)
	if err != nil {
		return bad("the proof is no JWS with a sound algorithm")
	}
	header := parsed.Signatures[0].Protected
	if header.ExtraHeaders[jose.HeaderType] != "dpop+jwt" || header.JSONWebKey == nil || !header.JSONWebKey.IsPublic() {
		return bad("the proof's header lacks its type or its public key")
	}
	payload, err := parsed.Verify(header.JSONWebKey)
	var claims proofClaims
	if err != nil || json.Unmarshal(payload, &claims) != nil {
		return bad("the proof's signature is wrong")
	}
	sum := sha256.Sum256([]byte(token))
	switch {
	case claims.Method != r.Method || claims.URL != address:
		return bad("the proof is for another request")
	case time.Since(time.Unix(claims.Time, 0)).Abs() > proofLife:
		return bad("the proof is of another time")
	case token == "" && claims.Token != "" || token != "" && claims.Token != base64.RawURLEncoding.EncodeToString(sum[:]):
		return bad("the proof is for another access token")
	case claims.ID == "" || s.proofs[claims.ID]:
		return bad("the proof was used before")
	case nonce != "" && claims.Nonce != nonce:
		return "", refused("use_dpop_nonce", "the proof lacks the nonce")
	}
	s.proofs[claims.ID] = true
	key, err := header.JSONWebKey.Thumbprint(crypto.SHA256)
	if err != nil {
		return bad("the proof's key is malformed")
	}
	return base64.RawURLEncoding.EncodeToString(key), nil
}

// bindLocked returns the thumbprint of the key that a token request's tokens are bound to; empty: Policy wants no keys.
func (s *Server) bindLocked(r *http.Request, entry *Request) (thumbprint string, no *refusal) {
	if !s.Policy.DPoP {
		return "", nil
	}
	return s.proveLocked(r, s.Issuer+entry.path, "", s.Policy.Nonce)
}

// provesLocked says why a request to the API does not prove the possession of its token's key; nil: it does, or need not.
func (a *API) provesLocked(r *http.Request, at *accessToken) *refusal {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	switch {
	case strings.EqualFold(scheme, "DPoP") != (at.key != ""):
		return refused("invalid_token", "the token is of another type")
	case at.key == "":
		return nil
	}
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	key, no := a.s.proveLocked(r, a.URL+path, token, a.Nonce)
	if no == nil && key != at.key {
		return refused("invalid_token", "the token is bound to another key")
	}
	return no
}

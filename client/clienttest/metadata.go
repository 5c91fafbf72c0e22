package clienttest

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// oauthPath comes before the issuer's own path (RFC 8414 section 3.1), openIDPath after it (OpenID Connect
// Discovery section 4).
const (
	oauthPath  = "/.well-known/oauth-authorization-server"
	openIDPath = "/.well-known/openid-configuration"
)

// metadataPath is where the issuer's RFC 8414 document is.
func (s *Server) metadataPath() string { return oauthPath + issuerPath(s.issuer()) }

func (s *Server) serveMetadata(w http.ResponseWriter, _ *http.Request, _ *Request) {
	s.mu.Lock()
	members := s.metadataLocked()
	s.mu.Unlock()
	writeJSON(w, http.StatusOK, members)
}

func (s *Server) metadataLocked() map[string]any {
	members := map[string]any{
		"issuer":                                         s.Issuer,
		"authorization_endpoint":                         s.Issuer + "/authorize",
		"token_endpoint":                                 s.Issuer + "/token",
		"revocation_endpoint":                            s.Issuer + "/revoke",
		"device_authorization_endpoint":                  s.Issuer + "/device_authorization",
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          []string{"authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:device_code"},
		"token_endpoint_auth_methods_supported":          authMethods,
		"revocation_endpoint_auth_methods_supported":     authMethods,
		"code_challenge_methods_supported":               []string{"S256"},
		"authorization_response_iss_parameter_supported": true,
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          []string{"HS256"},
	}
	if s.Policy.Scopes != nil {
		members["scopes_supported"] = s.Policy.Scopes
	}
	if s.Policy.DPoP {
		members["dpop_signing_alg_values_supported"] = proofAlgorithms
	}
	override(members, s.Policy.Metadata)
	return members
}

// idTokenLocked makes an id token (OpenID Connect Core section 2), signed with the client's secret; for a public
// client with a key that nobody knows.
func (s *Server) idTokenLocked(f *family, nonce string) string {
	now := time.Now()
	claims := map[string]any{
		"iss": s.Issuer,
		"sub": f.subject,
		"aud": f.client.id,
		"iat": now.Unix(),
		"exp": now.Add(s.Policy.lifetime()).Unix(),
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	override(claims, s.Policy.Claims)
	key := f.client.secret
	if key == "" {
		key = rand.Text()
	}
	signed := segment(map[string]any{"alg": "HS256", "typ": "JWT"}) + "." + segment(claims)
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func segment(members map[string]any) string {
	text, err := json.Marshal(members)
	if err != nil {
		panic(fmt.Errorf("clienttest: a part of an id token is not JSON: %w", err))
	}
	return base64.RawURLEncoding.EncodeToString(text)
}

package clienttest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/evergrant/evergrant/internal/jws"
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
		"jwks_uri":                                       s.Issuer + "/jwks",
		"device_authorization_endpoint":                  s.Issuer + "/device_authorization",
		"response_types_supported":                       []string{"code"},
		"response_modes_supported":                       []string{"query"},
		"grant_types_supported":                          []string{"authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:device_code"},
		"token_endpoint_auth_methods_supported":          authMethods,
		"revocation_endpoint_auth_methods_supported":     authMethods,
		"code_challenge_methods_supported":               []string{"S256"},
		"authorization_response_iss_parameter_supported": true,
		"subject_types_supported":                        []string{"public"},
		"id_token_signing_alg_values_supported":          []string{"ES256"},
	}
	if s.Policy.Scopes != nil {
		members["scopes_supported"] = s.Policy.Scopes
	}
	if s.Policy.Registration {
		members["registration_endpoint"] = s.Issuer + registerPath
	}
	if s.Policy.DPoP {
		members["dpop_signing_alg_values_supported"] = proofAlgorithms
	}
	override(members, s.Policy.Metadata)
	return members
}

// serveKeys gives the key that id tokens are signed with (RFC 7517 section 5).
func (s *Server) serveKeys(w http.ResponseWriter, _ *http.Request, _ *Request) {
	public, err := s.signer.Public()
	if err != nil {
		panic(fmt.Errorf("clienttest: the key of id tokens: %w", err))
	}
	writeJSON(w, http.StatusOK, map[string]any{"keys": []json.RawMessage{public}})
}

// idTokenLocked makes an id token (OpenID Connect Core section 2).
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
	signed, err := s.signer.Sign(jws.Header{Algorithm: "ES256", Type: "JWT"}, claims)
	if err != nil {
		panic(fmt.Errorf("clienttest: the id token cannot be signed: %w", err))
	}
	return signed
}

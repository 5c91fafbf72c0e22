package glewlwyd

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

type collect = assert.CollectT

// parameters are those of the OpenID Connect plugin: everything that it has, but for flows that nobody should use.
func (p *Provider) parameters() map[string]any {
	p.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(p.t, err)
	private, err := x509.MarshalECPrivateKey(key)
	require.NoError(p.t, err)
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	require.NoError(p.t, err)
	written := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return map[string]any{
		"iss":                    p.Issuer,
		"jwt-type":               "ecdsa",
		"jwt-key-size":           "256",
		"key":                    written("EC PRIVATE KEY", private),
		"cert":                   written("PUBLIC KEY", public),
		"jwks-show":              true,
		"access-token-duration":  600,
		"refresh-token-duration": 86400,
		"code-duration":          60,
		"refresh-token-rolling":  true,
		"refresh-token-one-use":  "always",

		"allow-non-oidc":                 true,
		"auth-type-code-enabled":         true,
		"auth-type-code-revoke-replayed": true,
		"auth-type-client-enabled":       true,
		"auth-type-refresh-enabled":      true,
		"auth-type-device-enabled":       true,
		"auth-type-token-enabled":        false,
		"auth-type-implicit-enabled":     false,
		"auth-type-none-enabled":         false,
		"auth-type-password-enabled":     false,

		"device-authorization-expiration": 600,
		"device-authorization-interval":   1,
		"pkce-allowed":                    true,
		"pkce-required":                   true,
		"pkce-method-plain-allowed":       false,
		"request-parameter-allow":         true,
		"request-maximum-exp":             3600,
		"client-jwks-parameter":           "jwks",
		"client-pubkey-parameter":         "pubkey",
		"subject-type":                    "public",
		"oauth-as-iss-id":                 true,

		"introspection-revocation-allowed":             true,
		"introspection-revocation-allow-target-client": true,

		"session-management-allowed": true,
		"session-cookie-name":        "OIDC_SID",
		"session-cookie-expiration":  86400,

		"oauth-dpop-allowed":         true,
		"oauth-dpop-iat-duration":    30,
		"oauth-dpop-nonce-mandatory": true,
		"oauth-dpop-nonce-counter":   1000,

		"oauth-par-allowed":            true,
		"oauth-par-duration":           90,
		"oauth-par-request_uri-prefix": "urn:ietf:params:oauth:request_uri:",

		"resource-allowed":                   true,
		"resource-scope":                     map[string][]string{"openid": {Resource}, Scope: {Resource}},
		"resource-scope-and-client-property": false,
	}
}

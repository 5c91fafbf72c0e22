package interop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
)

const (
	resource = "https://api.example.com" // that tokens can be asked for
	account  = "alice"
)

const bareForbidden = "its userinfo answers 403 without a challenge to a bad token, which is a rejection only to who " +
	"says so in `transport.Transport.Rejected`"

const assertionForEndpoint = "with `Provider.AssertionForEndpoint`: it wants the token endpoint for the audience of an assertion; without, the " +
	"client's are for the issuer, as RFC 7523 has it after its revision"

// Where the servers send the browser back to; nothing listens there.
const callback = "http://127.0.0.1:5555/callback"

// newKey is a key for ES256.
func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// browsing is an http.Client of the test's own.
func browsing(t *testing.T, config *tls.Config) *http.Client {
	base := &http.Transport{TLSClientConfig: config}
	t.Cleanup(base.CloseIdleConnections)
	return &http.Client{Transport: base}
}

// payload is what a JWT says.
func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var claims map[string]any
	require.NoError(t, json.Unmarshal(data, &claims))
	return claims
}

// with is c with a change.
func with(c client.Config, set func(*client.Config)) client.Config {
	set(&c)
	return c
}

//go:build !race

package jws_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/jws"
)

// TestAnAssertionCostsHardlyMoreThanItsSignature counts what it allocates beside. How long both take is in
// docs/performance.md.
func TestAnAssertionCostsHardlyMoreThanItsSignature(t *testing.T) {
	private := newEC(t, elliptic.P256())
	key, err := jws.NewKey(private, "key 1")
	require.NoError(t, err)
	digest := make([]byte, 32)
	bare := testing.AllocsPerRun(100, func() {
		if _, err := private.Sign(rand.Reader, digest, crypto.SHA256); err != nil {
			t.Fatal(err)
		}
	})
	claims := map[string]any{"iss": "app", "sub": "app", "aud": "https://as.example.com", "jti": "x", "iat": 1, "exp": 61}
	whole := testing.AllocsPerRun(100, func() {
		if _, err := key.Sign(jws.Header{Algorithm: "ES256", Type: "JWT"}, claims); err != nil {
			t.Fatal(err)
		}
	})
	require.LessOrEqual(t, whole-bare, 28.0)
}

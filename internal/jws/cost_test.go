//go:build !race

package jws_test

import (
	"crypto"
	"crypto/elliptic"
	"crypto/rand"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
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
	whole := testing.AllocsPerRun(100, func() {
		if _, err := key.Sign(jws.Header{Algorithm: "ES256", Type: "JWT"}, authserver.NewClaims("app", "app", "https://as.example.com", time.Now(), time.Minute)); err != nil {
			t.Fatal(err)
		}
	})
	require.LessOrEqual(t, whole-bare, 12.0)
}

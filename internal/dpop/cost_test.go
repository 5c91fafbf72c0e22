//go:build !race

package dpop_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/dpop"
)

// ways are a proof and the signature in it.
func ways(t testing.TB) (signature, proof func() error) {
	private := newEC(t)
	key, digest := newKey(t, private), sha256.Sum256([]byte("x"))
	claims := dpop.Claims{
		Method: "GET", URL: "https://api.example.com/things", Nonce: "n-1", Time: time.Now(),
		Token: "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhbGljZSIsImF1ZCI6Imh0dHBzOi8vYXBpLmV4YW1wbGUuY29tIn0.c2lnbmF0dXJl",
	}
	return func() error { _, err := private.Sign(rand.Reader, digest[:], crypto.SHA256); return err },
		func() error { _, err := key.Proof(claims); return err }
}

// TestAProofCostsHardlyMoreThanItsSignature counts what it allocates beside, which a slower way would show in. How long both
// take is in docs/performance.md.
func TestAProofCostsHardlyMoreThanItsSignature(t *testing.T) {
	signature, proof := ways(t)
	allocations := func(do func() error) float64 {
		return testing.AllocsPerRun(100, func() {
			if err := do(); err != nil {
				t.Fatal(err)
			}
		})
	}
	require.LessOrEqual(t, allocations(proof)-allocations(signature), 20.0)
}

func BenchmarkProof(b *testing.B) {
	signature, proof := ways(b)
	for name, do := range map[string]func() error{"signature": signature, "proof": proof} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := do(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

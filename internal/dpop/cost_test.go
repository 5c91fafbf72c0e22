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

// TestAProofCostsHardlyMoreThanItsSignature: by at most 15 percent, in the quickest of many short turns of each, which is
// what a busy machine disturbs least.
func TestAProofCostsHardlyMoreThanItsSignature(t *testing.T) {
	signature, proof := ways(t)
	quickest := func(best time.Duration, do func() error) time.Duration {
		began := time.Now()
		for range 20 {
			require.NoError(t, do())
		}
		return min(best, time.Since(began))
	}
	bare, whole := time.Hour, time.Hour
	for range 200 {
		bare, whole = quickest(bare, signature), quickest(whole, proof)
	}
	ratio := float64(whole) / float64(bare)
	t.Logf("a signature takes %v, a proof %v: %.2f times as long", bare/20, whole/20, ratio)
	require.LessOrEqual(t, ratio, 1.15)
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

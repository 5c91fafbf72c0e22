//go:build !race

package dpop_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/evergrant/evergrant/internal/dpop"
)

// BenchmarkProof holds a proof against the signature in it.
func BenchmarkProof(b *testing.B) {
	private := newEC(b)
	key, digest := newKey(b, private), sha256.Sum256([]byte("x"))
	b.Run("signature", func(b *testing.B) {
		for b.Loop() {
			if _, err := private.Sign(rand.Reader, digest[:], crypto.SHA256); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("proof", func(b *testing.B) {
		claims := dpop.Claims{Method: "GET", URL: "https://api.example.com/things", Token: "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln", Nonce: "n-1", Time: time.Now()}
		for b.Loop() {
			if _, err := key.Proof(claims); err != nil {
				b.Fatal(err)
			}
		}
	})
}

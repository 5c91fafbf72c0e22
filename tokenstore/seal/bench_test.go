package seal_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore/seal"
)

// BenchmarkBox does what a Load and a Swap of a store need: open twice, seal once.
func BenchmarkBox(b *testing.B) {
	for name, key := range map[string]seal.KeySource{
		"raw": seal.RawKey(first), "passphrase": seal.Passphrase(filepath.Join(b.TempDir(), "salt"), words),
	} {
		b.Run(name, func(b *testing.B) {
			box := box(b, key)
			require.NoError(b, box.MakeKey(b.Context()))
			value := make([]byte, 2000)
			data, err := box.Seal(b.Context(), value, "k")
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				for range 2 {
					if _, err := box.Open(b.Context(), data, "k"); err != nil {
						b.Fatal(err)
					}
				}
				if data, err = box.Seal(b.Context(), value, "k"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

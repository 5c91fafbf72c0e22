package gnomekeyring_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"

	"github.com/evergrant/evergrant/internal/e2e/gnomekeyring"
	"github.com/evergrant/evergrant/tokenstore/keychain"
)

// record is as long as a grant is; so is its item, which holds it in base64 once more.
var record = bytes.Repeat([]byte("0123456789abcdef"), 160)

func BenchmarkStoreGnomeKeyring(b *testing.B) {
	if gnomekeyring.Rerun(b, gnomekeyring.Unlocked) {
		return
	}
	s := open(b, keychain.Options{Dir: b.TempDir()})
	_, err := s.Swap(b.Context(), "k", "", numbered(1))
	require.NoError(b, err)
	value := append(numbered(1), record...)
	for b.Loop() {
		_, version, err := s.Load(b.Context(), "k")
		if err == nil {
			_, err = s.Swap(b.Context(), "k", version, value)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareGnomeKeyring is what any compare-and-swap needs of go-keyring: a read to load, a read to
// compare and a write.
func BenchmarkBareGnomeKeyring(b *testing.B) {
	if gnomekeyring.Rerun(b, gnomekeyring.Unlocked) {
		return
	}
	text := strings.Repeat("v", len(record))
	require.NoError(b, keyring.Set(program, "k", text))
	for b.Loop() {
		_, err := keyring.Get(program, "k")
		if err == nil {
			_, err = keyring.Get(program, "k")
		}
		if err == nil {
			err = keyring.Set(program, "k", text)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

package file_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// grant is as long as one with two JWTs in it.
var grant = mixed(17)

// BenchmarkBare is what a durable replacement cannot do without: write a temporary file, sync it, rename
// it, sync the folder; and a file that is replaced is read before, once for Load and once to compare.
func BenchmarkBare(b *testing.B) {
	dir := b.TempDir()
	path := filepath.Join(dir, "grant")
	require.NoError(b, replace(path))
	for b.Loop() {
		for range 2 {
			if _, err := os.ReadFile(path); err != nil {
				b.Fatal(err)
			}
		}
		if err := replace(path); err != nil {
			b.Fatal(err)
		}
	}
}

func replace(path string) error {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(grant); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer folder.Close()
	return folder.Sync()
}

func BenchmarkStorePlain(b *testing.B) { loadAndSwap(b, plain(b, b.TempDir())) }

func BenchmarkStoreSealed(b *testing.B) { loadAndSwap(b, sealed(b, b.TempDir())) }

func BenchmarkStoreSealedWithAPassphrase(b *testing.B) {
	dir := b.TempDir()
	loadAndSwap(b, open(b, dir, file.Options{Key: seal.Passphrase(filepath.Join(dir, "salt"), "open sesame")}))
}

func loadAndSwap(b *testing.B, s *file.Store) {
	const key = "https:%2F%2Fop.example/client/alice"
	_, err := s.Swap(b.Context(), key, "", grant)
	require.NoError(b, err)
	for b.Loop() {
		_, version, err := s.Load(b.Context(), key)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := s.Swap(b.Context(), key, version, grant); err != nil {
			b.Fatal(err)
		}
	}
}

package crew

import (
	"crypto/rand"
	"path/filepath"
	"testing"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/keychain"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

const service = "evergrant-e2e" // in the keychain

// Place is where a store lies: a folder of plain files, of sealed ones if there is a Key, or the keychain.
type Place struct {
	Keychain bool
	Dir      string // the files; for a keychain, its locks
	Key      []byte // seals the files
}

// InFolder is a new folder of sealed files.
func InFolder(t testing.TB) Place {
	key := make([]byte, 32)
	rand.Read(key)
	return Place{Dir: filepath.Join(t.TempDir(), "grants"), Key: key}
}

// Store is what all the stores can do.
type Store interface {
	tokenstore.Store
	tokenstore.Liveness
}

// Open opens the store.
func (p Place) Open() (Store, error) {
	switch {
	case p.Keychain:
		return keychain.New(service, keychain.Options{Dir: p.Dir})
	case p.Key == nil:
		return file.New(p.Dir, file.Options{Plaintext: true})
	}
	return file.New(p.Dir, file.Options{Key: seal.RawKey(p.Key)})
}

package file_test

import (
	"context"
	"log"
	"os"
	"path/filepath"

	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/keychain"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// A command-line tool seals its files with a key that the keychain holds.
func ExampleNew() {
	config, err := os.UserConfigDir()
	if err != nil {
		log.Fatal(err)
	}
	ring, err := keychain.New("my-program", keychain.Options{})
	if err != nil {
		log.Fatal(err)
	}
	store, err := file.New(filepath.Join(config, "my-program", "grants"), file.Options{Key: ring})
	if err != nil {
		log.Fatal(err)
	}
	_ = store // for client.Config
}

// A service changes the key that a secret manager gives it: all its programs run with both, then the files
// get the new one, and the old one is dropped.
func ExampleStore_Reseal() {
	var dir string         // of the grants
	var newKey, old []byte // of the secret manager
	store, err := file.New(dir, file.Options{
		Key:    seal.RawKey(newKey),
		Former: []seal.KeySource{seal.RawKey(old)},
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Reseal(context.Background()); err != nil {
		log.Fatal(err)
	}
}

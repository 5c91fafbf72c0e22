package file_test

import (
	"log"
	"os"
	"path/filepath"

	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/keychain"
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

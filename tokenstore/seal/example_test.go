package seal_test

import (
	"log"
	"os"
	"path/filepath"

	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// A headless server without a keychain is given a passphrase.
func ExamplePassphrase() {
	const dir = "/var/lib/my-program/grants"
	key := seal.Passphrase(filepath.Join(dir, "salt"), os.Getenv("MY_PROGRAM_PASSPHRASE"))
	store, err := file.New(dir, file.Options{Key: key})
	if err != nil {
		log.Fatal(err)
	}
	_ = store // for client.Config
}

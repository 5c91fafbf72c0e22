// Keychain keeps the grant in the keychain of the session that it runs in.
package main

import (
	"os"

	"github.com/evergrant/evergrant/internal/bench/peers/startup"
	"github.com/evergrant/evergrant/tokenstore/keychain"
)

func main() {
	store, err := keychain.New("evergrant-bench", keychain.Options{Dir: os.Args[1]})
	startup.Call(store, err)
}

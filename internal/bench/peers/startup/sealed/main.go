// Sealed keeps the grant in a file that is sealed with a key.
package main

import (
	"os"

	"github.com/evergrant/evergrant/internal/bench/peers/startup"
	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

func main() {
	store, err := file.New(os.Args[1], file.Options{Key: seal.RawKey(make([]byte, 32))})
	startup.Call(store, err)
}

// File keeps the grant in a plain file.
package main

import (
	"os"

	"github.com/evergrant/evergrant/internal/bench/peers/startup"
	"github.com/evergrant/evergrant/tokenstore/file"
)

func main() {
	store, err := file.New(os.Args[1], file.Options{Plaintext: true})
	startup.Call(store, err)
}

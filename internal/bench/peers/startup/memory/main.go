// Memory keeps the grant nowhere: it is given the token each time.
package main

import (
	"github.com/evergrant/evergrant/internal/bench/peers/startup"
	"github.com/evergrant/evergrant/tokenstore"
)

func main() { startup.Call(tokenstore.NewMemory(), nil) }

package redisstore_test

import (
	"testing"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/redisstore"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

func TestContract(t *testing.T) {
	for name, options := range map[string]redisstore.Options{
		"in the clear": {Plaintext: true},
		"sealed":       {Key: key},
	} {
		t.Run(name, func(t *testing.T) {
			addr := shared(t)
			storetest.Run(t, func(t testing.TB) tokenstore.Store {
				options.Prefix = storetest.Place(t) + ":"
				return open(t, connect(t, addr), options)
			})
		})
	}
}

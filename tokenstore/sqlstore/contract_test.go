package sqlstore_test

import (
	"testing"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore/pgxlisten"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

func TestContract(t *testing.T) {
	options := map[string]sqlstore.Options{"in the clear": {}, "sealed": {Key: key(1)}}
	for name, options := range options {
		t.Run("PostgreSQL/"+name, func(t *testing.T) {
			dsn := postgres(t)
			storetest.Run(t, func(t testing.TB) tokenstore.Store {
				options, db := options, connect(t, "pgx", dsn)
				options.Listener = pgxlisten.On(db)
				options.Table = table(storetest.Place(t))
				return store(t, db, options)
			})
		})
		if options.Key == nil {
			continue // what lies in the clear is the same to both
		}
		t.Run("SQLite/"+name, func(t *testing.T) {
			storetest.Run(t, func(t testing.TB) tokenstore.Store {
				options := options
				options.Table = "grants"
				s, _ := onSQLite(t, storetest.Place(t), options)
				return deaf{s, s, s, s}
			})
		})
	}
}

// deaf is what a Store without a Listener can do: everything but Wait.
type deaf struct {
	tokenstore.Store
	tokenstore.Lister
	tokenstore.Prober
	tokenstore.Expirer
}

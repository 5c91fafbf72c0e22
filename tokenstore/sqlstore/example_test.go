package sqlstore_test

import (
	"context"
	"database/sql"
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"path/filepath"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "modernc.org/sqlite"

	"github.com/evergrant/evergrant/tokenstore/seal"
	"github.com/evergrant/evergrant/tokenstore/sqlstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore/pgxlisten"
)

// Replicas of a service share the grants of its users in PostgreSQL. The store goes into client.Config.Store.
func Example() {
	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	key, err := base64.StdEncoding.DecodeString(os.Getenv("GRANTS_KEY")) // of a secret manager: openssl rand -base64 32
	if err != nil {
		log.Fatal("GRANTS_KEY is not base64")
	}
	store, err := sqlstore.New(db, sqlstore.Options{
		Key:      seal.RawKey(key),
		Listener: pgxlisten.On(db),
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(context.Background()); err != nil {
		log.Fatal(err)
	}
}

// A program on one machine that has a SQLite file anyway keeps its grants in it.
func Example_sqlite() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	db, err := sql.Open("sqlite", filepath.Join(dir, "program.db")+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)")
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	store, err := sqlstore.New(db, sqlstore.Options{
		Dialect: sqlstore.SQLite,
		Key:     seal.RawKey(make([]byte, 32)), // yours is random
	})
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(ctx); err != nil {
		log.Fatal(err)
	}
	if _, err := store.Swap(ctx, "issuer/client/alice", "", []byte("a grant")); err != nil {
		log.Fatal(err)
	}
	for key, err := range store.Keys(ctx, "issuer/client/") {
		fmt.Println(key, err)
	}
	// Output: issuer/client/alice <nil>
}

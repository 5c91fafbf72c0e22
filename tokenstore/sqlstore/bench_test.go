package sqlstore_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"database/sql"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/postgresd"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore/pgxlisten"
)

// record is as long as records mostly are.
var record = bytes.Repeat([]byte("grant "), 300)

// benched is a server whose commits reach the disk, for benchmarks.
func benched(b *testing.B) *sql.DB {
	b.Helper()
	return connect(b, "pgx", postgresd.Start(b).DSN())
}

// viaStore is a Load and a Swap.
func viaStore(b *testing.B, s tokenstore.Store) func() error {
	put(b, s, "k", "", string(record))
	return func() error {
		_, version, err := s.Load(b.Context(), "k")
		if err == nil {
			_, err = s.Swap(b.Context(), "k", version, record)
		}
		return err
	}
}

// bare is what any program does that keeps such a row by compare-and-swap.
func bare(b *testing.B, db *sql.DB) func() error {
	for _, statement := range []string{
		`CREATE TABLE bare (key bytea PRIMARY KEY, version bytea NOT NULL, value bytea NOT NULL, updated_at timestamptz NOT NULL)`,
		`INSERT INTO bare VALUES ('k', '0', '0', now())`,
	} {
		_, err := db.ExecContext(b.Context(), statement)
		require.NoError(b, err)
	}
	return func() error {
		var version, value []byte
		err := db.QueryRowContext(b.Context(), `SELECT version, value FROM bare WHERE key = $1`, []byte("k")).Scan(&version, &value)
		if err != nil {
			return err
		}
		next := make([]byte, 16)
		rand.Read(next)
		result, err := db.ExecContext(b.Context(), `UPDATE bare SET version = $1, value = $2, updated_at = now() WHERE key = $3 AND version = $4`, next, record, []byte("k"), version)
		if err != nil {
			return err
		}
		_, err = result.RowsAffected()
		return err
	}
}

func run(b *testing.B, do func() error) {
	for b.Loop() {
		if err := do(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkBarePostgreSQL(b *testing.B) { run(b, bare(b, benched(b))) }

func BenchmarkStorePostgreSQL(b *testing.B) {
	run(b, viaStore(b, store(b, benched(b), sqlstore.Options{})))
}

func BenchmarkStoreSQLite(b *testing.B) {
	s, _ := onSQLite(b, b.TempDir(), sqlstore.Options{})
	run(b, viaStore(b, s))
}

// BenchmarkRatioPostgreSQL does the store's Load and Swap and the bare statements in turns, and reports how many times
// as long the former take, by medians.
func BenchmarkRatioPostgreSQL(b *testing.B) {
	for name, options := range map[string]func(db *sql.DB) sqlstore.Options{
		"clear":    func(*sql.DB) sqlstore.Options { return sqlstore.Options{} },
		"sealed":   func(*sql.DB) sqlstore.Options { return sqlstore.Options{Key: key(1)} },
		"listener": func(db *sql.DB) sqlstore.Options { return sqlstore.Options{Listener: pgxlisten.On(db)} },
	} {
		b.Run(name, func(b *testing.B) {
			db := benched(b)
			ways := []func() error{viaStore(b, store(b, db, options(db))), bare(b, db)}
			var took [2][]time.Duration
			for b.Loop() {
				for i, way := range ways {
					began := time.Now()
					if err := way(); err != nil {
						b.Fatal(err)
					}
					took[i] = append(took[i], time.Since(began))
				}
			}
			for i := range took {
				slices.Sort(took[i])
			}
			middle := len(took[0]) / 2
			b.ReportMetric(float64(took[0][middle])/float64(took[1][middle]), "store/bare")
			b.ReportMetric(float64(took[0][middle].Microseconds()), "store-µs")
		})
	}
}

// BenchmarkWriters has sixteen writers at once, each with a row of its own: does notifying keep commits apart?
func BenchmarkWriters(b *testing.B) {
	for name, listen := range map[string]bool{"no Listener": false, "Listener": true} {
		b.Run(name, func(b *testing.B) {
			db := benched(b)
			db.SetMaxOpenConns(16)
			db.SetMaxIdleConns(16)
			options := sqlstore.Options{}
			if listen {
				options.Listener = pgxlisten.On(db)
			}
			s := store(b, db, options)
			turns := make(chan struct{})
			var writers sync.WaitGroup
			for i := range 16 {
				key := string(rune('a' + i))
				version := put(b, s, key, "", string(record))
				writers.Go(func() {
					for range turns {
						next, err := s.Swap(context.Background(), key, version, record)
						if err != nil {
							b.Error(err)
							continue
						}
						version = next
					}
				})
			}
			for b.Loop() {
				turns <- struct{}{}
			}
			close(turns)
			writers.Wait()
		})
	}
}

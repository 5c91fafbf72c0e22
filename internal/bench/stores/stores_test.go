// Package stores_test measures Load and Swap of every store beside what they cannot do without: the bare file
// operations, the bare calls of go-keyring, the bare statements of the drivers. `make bench-stores` runs it.
package stores_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"

	"github.com/evergrant/evergrant/internal/bench/measure"
	"github.com/evergrant/evergrant/internal/e2e/gnomekeyring"
	"github.com/evergrant/evergrant/internal/postgresd"
	"github.com/evergrant/evergrant/internal/redisd"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/keychain"
	"github.com/evergrant/evergrant/tokenstore/redisstore"
	"github.com/evergrant/evergrant/tokenstore/seal"
	"github.com/evergrant/evergrant/tokenstore/sqlstore"
)

const (
	wanted = "EVERGRANT_BENCH" // the file that the table is written to; empty: nothing is measured
	rounds = 15
	turn   = 150 * time.Millisecond
)

// record is as long as a grant with two JWTs in it, and as hard to compress.
var record = func() []byte {
	value := make([]byte, 0, 2100)
	for len(value) < 2000 {
		value = append(value, rand.Text()...)
	}
	return value
}()

// other is a second value: Swap goes back and forth between the two.
var other = append(append([]byte(nil), record...), "; again"...)

// pair is a store beside what it is made of.
type pair struct {
	limit      string
	bare, ours []measure.Way
}

func TestStores(t *testing.T) {
	output := os.Getenv(wanted)
	if output == "" {
		t.Skip("measures for a minute; `make bench-stores` runs it")
	}
	if gnomekeyring.Rerun(t, gnomekeyring.Unlocked) {
		return
	}
	var rows [][]string
	for _, p := range []pair{memory(t), files(t), keyrings(t), postgres(t), redisServer(t)} {
		results, err := measure.Contest(rounds, turn, append(p.bare, p.ours...)...)
		require.NoError(t, err)
		for i, r := range results {
			row := []string{r.Name, measure.Show(r.Median), measure.Show(r.Min) + "–" + measure.Show(r.Max), "", ""}
			if i >= len(p.bare) {
				row[4] = p.limit
				if len(p.bare) > 0 {
					row[3] = measure.Ratio(r, results[0])
				}
			}
			rows = append(rows, row)
		}
	}
	var table strings.Builder
	table.WriteString("# Stores, measured\n\nWritten by `make bench-stores`, best on a machine that does nothing else.\n\n")
	fmt.Fprintf(&table, "Load and Swap of a grant of %d bytes, one after the other, in %d rounds of %v a line, taken in turns; %s/%s, %d processors.\n\n",
		len(record), rounds, turn, runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	measure.Table(&table, []string{"store", "median", "fastest–slowest round", "× bare", "to reach"}, rows)
	t.Log("\n" + table.String())
	require.NoError(t, os.WriteFile(output, []byte(table.String()), 0o644))
}

// loadAndSwap is the work: what a renewal does to a store, again and again.
func loadAndSwap(t *testing.T, name string, store tokenstore.Store) measure.Way {
	const key = "https:%2F%2Fop.example/client/alice"
	_, err := store.Swap(t.Context(), key, "", record)
	require.NoError(t, err)
	values, n := [][]byte{record, other}, 0
	return measure.Way{Name: name, Do: func() error {
		_, version, err := store.Load(t.Context(), key)
		if err == nil {
			n++
			_, err = store.Swap(t.Context(), key, version, values[n%2])
		}
		return err
	}}
}

func memory(t *testing.T) pair {
	return pair{limit: "1 µs", ours: []measure.Way{loadAndSwap(t, "memory", tokenstore.NewMemory())}}
}

func files(t *testing.T) pair {
	dir := t.TempDir()
	plain, err := file.New(filepath.Join(dir, "plain"), file.Options{Plaintext: true})
	require.NoError(t, err)
	sealed, err := file.New(filepath.Join(dir, "sealed"), file.Options{Key: seal.RawKey(make([]byte, 32))})
	require.NoError(t, err)
	path := filepath.Join(dir, "bare", "grant")
	require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
	require.NoError(t, replace(path))
	bare := func() error {
		if _, err := os.ReadFile(path); err != nil {
			return err
		}
		if _, err := os.ReadFile(path); err != nil { // a compare-and-swap reads too
			return err
		}
		return replace(path)
	}
	return pair{
		limit: "1.2; sealed: 30 µs more than file",
		bare:  []measure.Way{{Name: "bare: read, read, temporary file, fsync, rename, fsync of the folder", Do: bare}},
		ours:  []measure.Way{loadAndSwap(t, "file", plain), loadAndSwap(t, "sealed file", sealed)},
	}
}

// replace writes the record to path as nobody can do it with less, if it is to survive a crash.
func replace(path string) error {
	f, err := os.OpenFile(path+".tmp", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(record); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func keyrings(t *testing.T) pair {
	store, err := keychain.New("evergrant-bench", keychain.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	const service, user = "evergrant-bench-bare", "alice"
	require.NoError(t, keyring.Set(service, user, string(record)))
	bare := func() error {
		for range 2 { // Load, and the compare of the compare-and-swap
			if _, err := keyring.Get(service, user); err != nil {
				return err
			}
		}
		return keyring.Set(service, user, string(record))
	}
	return pair{
		limit: "1.3",
		bare:  []measure.Way{{Name: "bare: go-keyring's Get, Get, Set on gnome-keyring", Do: bare}},
		ours:  []measure.Way{loadAndSwap(t, "keychain", store)},
	}
}

func postgres(t *testing.T) pair {
	db, err := sql.Open("pgx", postgresd.Start(t).DSN())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	store := func(table string, options sqlstore.Options) tokenstore.Store {
		options.Table = table
		s, err := sqlstore.New(db, options)
		require.NoError(t, err)
		require.NoError(t, s.Migrate(t.Context()))
		return s
	}
	_, err = db.Exec(`CREATE TABLE bare (key bytea PRIMARY KEY, version bytea NOT NULL, value bytea NOT NULL) WITH (fillfactor = 70)`)
	require.NoError(t, err)
	_, err = db.Exec(`INSERT INTO bare VALUES ($1, $2, $3)`, []byte("alice"), []byte("0"), record)
	require.NoError(t, err)
	bare := func() error {
		var value, version []byte
		err := db.QueryRowContext(t.Context(), `SELECT value, version FROM bare WHERE key = $1`, []byte("alice")).Scan(&value, &version)
		if err != nil {
			return err
		}
		_, err = db.ExecContext(t.Context(), `UPDATE bare SET value = $1, version = $2 WHERE key = $3 AND version = $4`,
			record, []byte(rand.Text()), []byte("alice"), version)
		return err
	}
	return pair{
		limit: "1.2",
		bare:  []measure.Way{{Name: "bare: pgx's SELECT and UPDATE on PostgreSQL", Do: bare}},
		ours: []measure.Way{
			loadAndSwap(t, "sqlstore", store("plain", sqlstore.Options{Plaintext: true})),
			loadAndSwap(t, "sqlstore, sealed", store("sealed", sqlstore.Options{Key: seal.RawKey(make([]byte, 32))})),
		},
	}
}

func redisServer(t *testing.T) pair {
	client := redis.NewClient(&redis.Options{Addr: redisd.Start(t, "appendonly yes", "appendfsync everysec").Addr})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	store := func(prefix string, options redisstore.Options) tokenstore.Store {
		options.Prefix = prefix
		s, err := redisstore.New(client, options)
		require.NoError(t, err)
		return s
	}
	require.NoError(t, client.HSet(t.Context(), "bare", "value", record, "version", "0").Err())
	swap := redis.NewScript(`if redis.call('HGET', KEYS[1], 'version') == ARGV[1] then
		redis.call('HSET', KEYS[1], 'version', ARGV[2], 'value', ARGV[3]) return 1 end return 0`)
	bare := func() error {
		got, err := client.HMGet(t.Context(), "bare", "value", "version").Result()
		if err != nil {
			return err
		}
		return swap.Run(context.WithoutCancel(t.Context()), client, []string{"bare"}, got[1], rand.Text(), record).Err()
	}
	return pair{
		limit: "1.2",
		bare:  []measure.Way{{Name: "bare: go-redis' HMGET and a script on Redis", Do: bare}},
		ours: []measure.Way{
			loadAndSwap(t, "redisstore", store("plain:", redisstore.Options{Plaintext: true})),
			loadAndSwap(t, "redisstore, sealed", store("sealed:", redisstore.Options{Key: seal.RawKey(make([]byte, 32))})),
		},
	}
}

package sqlstore_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore/pgxlisten"
)

func TestNewRefuses(t *testing.T) {
	db := connect(t, "sqlite", ":memory:")
	for name, options := range map[string]sqlstore.Options{
		"neither sealed nor in the clear": {},
		"both":                            {Key: key(1), Plaintext: true},
		"former keys alone":               {Former: keys(key(1)), Plaintext: true},
		"a nil former key":                {Key: key(1), Former: keys(nil)},
		"a short key":                     {Key: rawKey("short")},
		"a quote in the table":            {Plaintext: true, Table: `x"; DROP TABLE y; --`},
		"upper case":                      {Plaintext: true, Table: "Grants"},
		"a line after the table":          {Plaintext: true, Table: "grants\n"},
		"two dots":                        {Plaintext: true, Table: "a.b.c"},
		"a long name":                     {Plaintext: true, Table: strings.Repeat("t", 51)},
		"a long schema":                   {Plaintext: true, Table: strings.Repeat("s", 51) + ".t"},
		"a schema on SQLite":              {Plaintext: true, Table: "main.grants", Dialect: sqlstore.SQLite},
		"notifications on SQLite":         {Plaintext: true, Dialect: sqlstore.SQLite, Listener: pgxlisten.On(db)},
		"no dialect":                      {Plaintext: true, Dialect: 7},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := sqlstore.New(db, options)
			require.Error(t, err)
		})
	}
	_, err := sqlstore.New(nil, sqlstore.Options{Plaintext: true})
	require.Error(t, err)
}

// turns counts how often a connection has sent something and waited for an answer.
type turns struct {
	net.Conn
	total *atomic.Int64
	sent  bool
}

func (c *turns) Write(text []byte) (int, error) {
	c.sent = true
	return c.Conn.Write(text)
}

func (c *turns) Read(text []byte) (int, error) {
	if c.sent {
		c.sent = false
		c.total.Add(1)
	}
	return c.Conn.Read(text)
}

func TestOneRoundTrip(t *testing.T) {
	config, err := pgx.ParseConfig(postgres(t))
	require.NoError(t, err)
	var trips atomic.Int64
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &turns{Conn: conn, total: &trips}, err
	}
	db := stdlib.OpenDB(*config, stdlib.OptionShouldPing(func(context.Context, stdlib.ShouldPingParams) bool { return false }))
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	db.SetMaxOpenConns(1)
	for name, options := range map[string]sqlstore.Options{"sealed": {Key: key(1)}, "told": {Listener: pgxlisten.On(db)}} {
		t.Run(name, func(t *testing.T) {
			s := store(t, db, options)
			ctx := t.Context()
			var version tokenstore.Version
			for _, most := range []int64{2, 1} { // at first, the driver prepares the statements
				for _, step := range []struct {
					name string
					do   func() error
				}{
					{"Load of nothing", func() error { return wants(load(ctx, s, "k"), tokenstore.ErrNotFound) }},
					{"deletion of nothing", func() error { _, err := s.Swap(ctx, "k", "", nil); return err }},
					{"creation", func() (err error) { version, err = s.Swap(ctx, "k", "", []byte("v")); return err }},
					{"conflict", func() error { _, err := s.Swap(ctx, "k", "", []byte("w")); return wants(err, tokenstore.ErrConflict) }},
					{"Load", func() error { return load(ctx, s, "k") }},
					{"replacement", func() (err error) { version, err = s.Swap(ctx, "k", version, []byte("w")); return err }},
					{"SwapUntil", func() (err error) {
						version, err = s.SwapUntil(ctx, "k", version, []byte("w"), time.Now().Add(time.Hour))
						return err
					}},
					{"stale deletion", func() error { _, err := s.Swap(ctx, "k", "x", nil); return wants(err, tokenstore.ErrConflict) }},
					{"deletion", func() error { _, err := s.Swap(ctx, "k", version, nil); return err }},
				} {
					before := trips.Load()
					require.NoError(t, step.do(), step.name)
					require.LessOrEqual(t, trips.Load()-before, most, step.name)
					require.Positive(t, trips.Load()-before, step.name)
				}
			}
		})
	}
}

func load(ctx context.Context, s tokenstore.Store, key string) error {
	_, _, err := s.Load(ctx, key)
	return err
}

// wants is nil if err is what is wanted.
func wants(err, want error) error {
	if errors.Is(err, want) {
		return nil
	}
	return fmt.Errorf("got %v instead of %v", err, want)
}

// TestExecModes is for those who go through PgBouncer: without prepared statements all is the same.
func TestExecModes(t *testing.T) {
	for _, mode := range []string{"cache_statement", "cache_describe", "describe_exec", "exec", "simple_protocol"} {
		t.Run(mode, func(t *testing.T) {
			db := connect(t, "pgx", with(t, postgres(t), "default_query_exec_mode", mode))
			s := store(t, db, sqlstore.Options{Key: key(1), Listener: pgxlisten.On(connect(t, "pgx", postgres(t)))})
			require.NoError(t, s.Probe(t.Context()))
			version := put(t, s, "k\x00\xff", "", "v")
			requireValue(t, s, "k\x00\xff", "v")
			version, err := s.SwapUntil(t.Context(), "k\x00\xff", version, []byte("w"), time.Now().Add(-time.Hour))
			require.NoError(t, err)
			require.Equal(t, version, requireValue(t, s, "k\x00\xff", "w"))
			waited := make(chan error, 1)
			go func() { waited <- s.Wait(t.Context(), "k\x00\xff", version) }()
			purged, err := s.Purge(t.Context())
			require.NoError(t, err)
			require.Equal(t, 1, purged)
			require.NoError(t, <-waited)
			version = put(t, s, "k\x00\xff", "", "x")
			_, err = s.Swap(t.Context(), "k\x00\xff", version, nil)
			require.NoError(t, err)
		})
	}
}

// with is dsn with one more parameter.
func with(t testing.TB, dsn, name, value string) string {
	t.Helper()
	address, err := url.Parse(dsn)
	require.NoError(t, err)
	query := address.Query()
	query.Set(name, value)
	address.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return address.String()
}

func TestMigrateAtOnce(t *testing.T) {
	dir, dsn := t.TempDir(), ""
	for _, dialect := range []string{"PostgreSQL", "SQLite"} {
		t.Run(dialect, func(t *testing.T) {
			options := sqlstore.Options{Plaintext: true, Table: table(t.Name())}
			if dialect == "SQLite" {
				options.Dialect = sqlstore.SQLite
			} else {
				dsn = postgres(t)
			}
			var all sync.WaitGroup
			errs := make([]error, 10)
			for i := range errs {
				db := connect(t, "pgx", dsn)
				if dialect == "SQLite" {
					db = connect(t, "sqlite", dir+"/grants.db")
				}
				s, err := sqlstore.New(db, options)
				require.NoError(t, err)
				all.Go(func() {
					if errs[i] = s.Migrate(t.Context()); errs[i] == nil {
						_, errs[i] = s.Swap(t.Context(), fmt.Sprint(i), "", []byte("v"))
					}
				})
			}
			all.Wait()
			require.NoError(t, errors.Join(errs...))
		})
	}
}

// TestSchema runs the schema as a migration tool does, as one text, and twice.
func TestSchema(t *testing.T) {
	both(t, func(t *testing.T, open func(sqlstore.Options) (*sqlstore.Store, *sql.DB)) {
		s, db := open(sqlstore.Options{})
		_, err := db.ExecContext(t.Context(), `DROP TABLE `+table(t.Name()))
		require.NoError(t, err)
		require.ErrorIs(t, load(t.Context(), s, "k"), sqlstore.ErrNoTable)
		for range 2 {
			_, err = db.ExecContext(t.Context(), s.Schema())
			require.NoError(t, err)
			require.ErrorIs(t, load(t.Context(), s, "k"), tokenstore.ErrNotFound)
		}
	})
}

func TestTableInASchema(t *testing.T) {
	db := connect(t, "pgx", postgres(t))
	_, err := db.ExecContext(t.Context(), `CREATE SCHEMA IF NOT EXISTS "user"`) // a reserved word, too
	require.NoError(t, err)
	s := store(t, db, sqlstore.Options{Table: "user.order", Listener: pgxlisten.On(db)})
	put(t, s, "k", "", "v")
	var rows int
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM "user"."order"`).Scan(&rows))
	require.Equal(t, 1, rows)
}

func TestDocShowsTheSchema(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	doc := strings.ReplaceAll(string(text), "//\t", "")
	doc = strings.ReplaceAll(doc, "// ", "")
	s, err := sqlstore.New(connect(t, "pgx", "postgres://127.0.0.1/"), sqlstore.Options{Plaintext: true})
	require.NoError(t, err)
	require.Contains(t, doc, s.Schema())
}

func TestPurge(t *testing.T) {
	both(t, func(t *testing.T, open func(sqlstore.Options) (*sqlstore.Store, *sql.DB)) {
		s, db := open(sqlstore.Options{})
		ctx, past, future := t.Context(), time.Now().Add(-2*time.Second), time.Now().Add(time.Hour)
		_, err := s.SwapUntil(ctx, "past", "", []byte("v"), past)
		require.NoError(t, err)
		_, err = s.SwapUntil(ctx, "future", "", []byte("v"), future)
		require.NoError(t, err)
		version, err := s.SwapUntil(ctx, "no longer", "", []byte("v"), past)
		require.NoError(t, err)
		put(t, s, "no longer", version, "w")
		put(t, s, "never", "", "v")
		requireValue(t, s, "past", "v")

		purged, err := s.Purge(ctx)
		require.NoError(t, err)
		require.Equal(t, 1, purged)
		requireValue(t, s, "past", "")
		requireValue(t, s, "future", "v")
		requireValue(t, s, "no longer", "w")
		requireValue(t, s, "never", "v")

		fill(t, db, "more/", 2500, "future")
		_, err = db.ExecContext(ctx, `UPDATE `+table(t.Name())+` SET expires_at = updated_at WHERE key >= $1 AND key < $2`, []byte("more/"), []byte("more0"))
		require.NoError(t, err)
		var group sync.WaitGroup
		var total atomic.Int64
		for range 3 {
			group.Go(func() {
				n, err := s.Purge(ctx)
				total.Add(int64(n))
				if err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		require.EqualValues(t, 2500, total.Load())
		requireValue(t, s, "future", "v")
	})
}

// fill copies the row of a key to n keys that begin with prefix and end in a number of four digits.
func fill(t *testing.T, db *sql.DB, prefix string, n int, from string) {
	t.Helper()
	name, bytes := table(t.Name()), `convert_to($1 || substr(CAST(10000 + i AS text), 2), 'UTF8')`
	if strings.HasSuffix(t.Name(), "SQLite") {
		bytes = `CAST($1 || substr(CAST(10000 + i AS text), 2) AS BLOB)`
	}
	_, err := db.ExecContext(t.Context(), `WITH RECURSIVE numbers(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i + 1 < $2)
		INSERT INTO `+name+` (key, version, value, sealed, expires_at, updated_at)
		SELECT `+bytes+`, version, value, sealed, expires_at, updated_at FROM `+name+`, numbers WHERE key = $3`, prefix, n, []byte(from))
	require.NoError(t, err)
}

// TestKeysHoldNoConnection has a loop's body use the store, whose pool has one connection.
func TestKeysHoldNoConnection(t *testing.T) {
	both(t, func(t *testing.T, open func(sqlstore.Options) (*sqlstore.Store, *sql.DB)) {
		s, db := open(sqlstore.Options{})
		db.SetMaxOpenConns(1)
		const many = 1003 // more than are read at once
		put(t, s, "in", "", "v")
		fill(t, db, "in/", many, "in")
		put(t, s, "in0", "", "v") // 0 comes after /
		n := 0
		for key, err := range s.Keys(t.Context(), "in/") {
			require.NoError(t, err)
			require.Equal(t, fmt.Sprintf("in/%04d", n), key)
			requireValue(t, s, key, "v")
			n++
		}
		require.Equal(t, many, n)
	})
}

func TestProbeLeavesNothing(t *testing.T) {
	both(t, func(t *testing.T, open func(sqlstore.Options) (*sqlstore.Store, *sql.DB)) {
		s, db := open(sqlstore.Options{Key: key(1)})
		require.NoError(t, s.Probe(t.Context()))
		var rows int
		require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(*) FROM `+table(t.Name())).Scan(&rows))
		require.Zero(t, rows)
		_, err := db.ExecContext(t.Context(), `DROP TABLE `+table(t.Name()))
		require.NoError(t, err)
		require.ErrorIs(t, s.Probe(t.Context()), sqlstore.ErrNoTable)
	})
}

func TestLongKeys(t *testing.T) {
	s, _ := onPostgres(t, sqlstore.Options{})
	long := make([]byte, 8000)
	_, err := rand.Read(long) // which nothing can compress
	require.NoError(t, err)
	put(t, s, string(long[:2600]), "", "v")
	requireValue(t, s, string(long[:2600]), "v")
	_, err = s.Swap(t.Context(), string(long), "", []byte("v"))
	require.Error(t, err)
	require.NotErrorIs(t, err, tokenstore.ErrConflict)
	requireValue(t, s, string(long), "")
}

func TestFormatShowsNothing(t *testing.T) {
	s, err := sqlstore.New(connect(t, "pgx", "postgres://user:hush@127.0.0.1/"), sqlstore.Options{Key: key('K')})
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
		require.Equal(t, `sqlstore.Store("evergrant_grants")`, fmt.Sprintf(verb, s), verb)
	}
}

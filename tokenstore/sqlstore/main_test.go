package sqlstore_test

import (
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	_ "modernc.org/sqlite"

	"github.com/evergrant/evergrant/internal/daemon"
	"github.com/evergrant/evergrant/internal/postgresd"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/seal"
	"github.com/evergrant/evergrant/tokenstore/sqlstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore/pgxlisten"
)

// dsnEnv tells the processes that storetest starts where this one's server is.
const dsnEnv = "EVERGRANT_SQLSTORE_TEST_DSN"

var shared struct {
	once   sync.Once
	server *postgresd.Server
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.Close(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// postgres returns the address of a server that tests share, and do not disturb.
func postgres(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() {
		if os.Getenv(dsnEnv) != "" {
			return
		}
		if shared.server, shared.err = postgresd.Open("fsync=off"); shared.err == nil {
			shared.err = os.Setenv(dsnEnv, shared.server.DSN())
		}
	})
	daemon.Need(t, shared.err)
	return os.Getenv(dsnEnv)
}

// connect opens a pool, which closes after the test.
func connect(t testing.TB, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// store makes a Store whose table is there. Unless the options say otherwise, it is in the clear.
func store(t testing.TB, db *sql.DB, options sqlstore.Options) *sqlstore.Store {
	t.Helper()
	options.Plaintext = options.Key == nil
	if options.Table == "" {
		options.Table = table(t.Name())
	}
	s, err := sqlstore.New(db, options)
	require.NoError(t, err)
	require.NoError(t, s.Migrate(t.Context()))
	return s
}

// table is a name for one test's table.
func table(of string) string {
	sum := sha256.Sum256([]byte(of))
	return "t" + hex.EncodeToString(sum[:8])
}

// onPostgres makes a Store on the shared server, that hears notifications.
func onPostgres(t testing.TB, options sqlstore.Options) (*sqlstore.Store, *sql.DB) {
	t.Helper()
	db := connect(t, "pgx", postgres(t))
	options.Listener = pgxlisten.On(db)
	return store(t, db, options), db
}

// onSQLite makes a Store in a file of the folder dir.
func onSQLite(t testing.TB, dir string, options sqlstore.Options) (*sqlstore.Store, *sql.DB) {
	t.Helper()
	db := connect(t, "sqlite", filepath.Join(dir, "grants.db")+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)")
	options.Dialect = sqlstore.SQLite
	return store(t, db, options), db
}

// both runs a test on both databases.
func both(t *testing.T, test func(t *testing.T, open func(sqlstore.Options) (*sqlstore.Store, *sql.DB))) {
	t.Run("PostgreSQL", func(t *testing.T) {
		test(t, func(o sqlstore.Options) (*sqlstore.Store, *sql.DB) { return onPostgres(t, o) })
	})
	t.Run("SQLite", func(t *testing.T) {
		dir := t.TempDir()
		test(t, func(o sqlstore.Options) (*sqlstore.Store, *sql.DB) { return onSQLite(t, dir, o) })
	})
}

func key(b byte) seal.KeySource {
	raw := make([]byte, 32)
	for i := range raw {
		raw[i] = b
	}
	return seal.RawKey(raw)
}

func put(t testing.TB, s tokenstore.Store, key string, old tokenstore.Version, value string) tokenstore.Version {
	t.Helper()
	version, err := s.Swap(t.Context(), key, old, []byte(value))
	require.NoError(t, err)
	return version
}

func requireValue(t testing.TB, s tokenstore.Store, key, want string) tokenstore.Version {
	t.Helper()
	value, version, err := s.Load(t.Context(), key)
	if want == "" {
		require.ErrorIs(t, err, tokenstore.ErrNotFound)
		return ""
	}
	require.NoError(t, err)
	require.Equal(t, want, string(value))
	return version
}

// sqlState is the code of PostgreSQL's that err holds.
func sqlState(err error) string {
	var stated interface{ SQLState() string }
	if errors.As(err, &stated) {
		return stated.SQLState()
	}
	return ""
}

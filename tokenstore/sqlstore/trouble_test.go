package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/postgresd"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore/pgxlisten"
)

// soon is how late a call may be back after its context has ended.
const soon = 50 * time.Millisecond

// requireEnds has do end with its context, which ends soon.
func requireEnds(t *testing.T, do func(ctx context.Context) error) error {
	t.Helper()
	const limit = 30 * time.Millisecond
	var late time.Duration
	for range 3 { // the machine may be busy
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		began := time.Now()
		err := do(ctx)
		late = time.Since(began) - limit
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
		if late < soon {
			return err
		}
	}
	require.Less(t, late, soon)
	return nil
}

func TestPoolExhausted(t *testing.T) {
	both(t, func(t *testing.T, open func(sqlstore.Options) (*sqlstore.Store, *sql.DB)) {
		s, db := open(sqlstore.Options{})
		put(t, s, "k", "", "v")
		db.SetMaxOpenConns(2)
		var taken []*sql.Conn
		for range 2 {
			conn, err := db.Conn(t.Context())
			require.NoError(t, err)
			taken = append(taken, conn)
		}
		err := requireEnds(t, func(ctx context.Context) error { return load(ctx, s, "k") })
		require.ErrorContains(t, err, "SetMaxOpenConns", "it says what to do")
		requireEnds(t, func(ctx context.Context) error { _, err := s.Swap(ctx, "l", "", []byte("v")); return err })
		requireEnds(t, func(ctx context.Context) error { return s.Probe(ctx) })
		require.NoError(t, taken[0].Close())
		requireValue(t, s, "k", "v")
		requireValue(t, s, "l", "")
		require.NoError(t, taken[1].Close())
	})
}

// TestLockedOut has somebody else keep what a Swap needs, until its context ends and then for a while only.
func TestLockedOut(t *testing.T) {
	both(t, func(t *testing.T, open func(sqlstore.Options) (*sqlstore.Store, *sql.DB)) {
		s, db := open(sqlstore.Options{})
		version := put(t, s, "k", "", "v")
		hold := func() *sql.Tx {
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			_, err = tx.ExecContext(t.Context(), `UPDATE `+table(t.Name())+` SET updated_at = updated_at`)
			require.NoError(t, err)
			return tx
		}
		swap := func(ctx context.Context) error { _, err := s.Swap(ctx, "k", version, []byte("w")); return err }
		tx := hold()
		requireEnds(t, swap)
		require.NoError(t, tx.Rollback())

		tx = hold() // after what was given up, which PostgreSQL may still do
		_, version, _ = s.Load(t.Context(), "k")
		swapped := make(chan error, 1)
		go func() { swapped <- swap(t.Context()) }()
		select {
		case err := <-swapped:
			require.Fail(t, "it did not wait", "%v", err)
		case <-time.After(100 * time.Millisecond):
		}
		require.NoError(t, tx.Rollback())
		require.NoError(t, <-swapped)
		requireValue(t, s, "k", "w")
	})
}

// TestSerialization changes the row between the beginning of a Swap's transaction and its update, which the
// stricter isolation levels refuse.
func TestSerialization(t *testing.T) {
	for _, level := range []string{"repeatable read", "serializable"} {
		t.Run(level, func(t *testing.T) {
			db := connect(t, "pgx", with(t, postgres(t), "default_transaction_isolation", level))
			s := store(t, db, sqlstore.Options{Listener: pgxlisten.On(db)})
			version := put(t, s, "k", "", "v")
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			_, err = tx.ExecContext(t.Context(), `UPDATE `+table(t.Name())+` SET updated_at = now()`)
			require.NoError(t, err)
			swapped := make(chan error, 1)
			go func() {
				_, err := s.Swap(t.Context(), "k", version, []byte("w"))
				swapped <- err
			}()
			awaitBlocked(t, db)
			require.NoError(t, tx.Commit())
			require.NoError(t, <-swapped, "refused by the server, and done again")
			requireValue(t, s, "k", "w")
		})
	}
}

// awaitBlocked returns once a statement of the test's table waits for a lock.
func awaitBlocked(t *testing.T, db *sql.DB) {
	t.Helper()
	require.Eventually(t, func() bool {
		var n int
		err := db.QueryRowContext(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE wait_event_type = 'Lock' AND pid <> pg_backend_pid() AND query LIKE $1`, "%"+table(t.Name())+"%").Scan(&n)
		return err == nil && n > 0
	}, 10*time.Second, time.Millisecond)
}

// trap has the table refuse writes as the body of the trigger says.
func trap(t *testing.T, db *sql.DB, body string) {
	t.Helper()
	name := table(t.Name())
	for _, statement := range []string{
		`CREATE SEQUENCE n` + name,
		`CREATE FUNCTION f` + name + `() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN ` +
			strings.ReplaceAll(body, "{tries}", `nextval('n`+name+`')`) + ` RETURN NEW; END $$`,
		`CREATE TRIGGER t BEFORE INSERT OR UPDATE ON ` + name + ` FOR EACH ROW EXECUTE FUNCTION f` + name + `()`,
	} {
		_, err := db.ExecContext(t.Context(), statement)
		require.NoError(t, err)
	}
}

func TestServerRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		body  string
		kind  error // nil: the third attempt succeeds
		state string
	}{
		"deadlocks that pass":         {`IF {tries} < 3 THEN RAISE SQLSTATE '40P01'; END IF;`, nil, ""},
		"serialization that passes":   {`IF {tries} < 3 THEN RAISE SQLSTATE '40001'; END IF;`, nil, ""},
		"a shutdown that passes":      {`IF {tries} < 3 THEN RAISE SQLSTATE '57P01'; END IF;`, nil, ""},
		"lock_timeout":                {`RAISE SQLSTATE '55P03';`, sqlstore.ErrBusy, "55P03"},
		"statement_timeout":           {`SET LOCAL statement_timeout = 1; RAISE SQLSTATE '57014';`, sqlstore.ErrBusy, "57014"},
		"a replica":                   {`RAISE SQLSTATE '25006';`, sqlstore.ErrReadOnly, "25006"},
		"another version's table":     {`RAISE SQLSTATE '42703';`, sqlstore.ErrNoTable, "42703"},
		"a connection exception":      {`RAISE SQLSTATE '08006';`, sqlstore.ErrUnavailable, "08006"},
		"something that nobody knows": {`RAISE SQLSTATE 'XX123';`, errors.ErrUnsupported, "XX123"},
	} {
		t.Run(name, func(t *testing.T) {
			s, db := onPostgres(t, sqlstore.Options{})
			trap(t, db, c.body)
			_, err := s.Swap(t.Context(), "k", "", []byte("v"))
			if c.kind == nil {
				require.NoError(t, err)
				requireValue(t, s, "k", "v")
				return
			}
			require.Error(t, err)
			for _, kind := range []error{sqlstore.ErrBusy, sqlstore.ErrReadOnly, sqlstore.ErrNoTable, sqlstore.ErrUnavailable, tokenstore.ErrConflict} {
				require.Equal(t, kind == c.kind, errors.Is(err, kind), "%v: %v", kind, err)
			}
			require.Equal(t, c.state, sqlState(err))
			requireValue(t, s, "k", "")
		})
	}
}

func TestStatementTimeout(t *testing.T) {
	for name, state := range map[string]string{"statement_timeout": "57014", "lock_timeout": "55P03"} {
		t.Run(name, func(t *testing.T) {
			db := connect(t, "pgx", with(t, postgres(t), name, "40"))
			s := store(t, db, sqlstore.Options{})
			version := put(t, s, "k", "", "v")
			tx, err := db.BeginTx(t.Context(), nil)
			require.NoError(t, err)
			_, err = tx.ExecContext(t.Context(), `UPDATE `+table(t.Name())+` SET updated_at = now()`)
			require.NoError(t, err)
			_, err = s.Swap(t.Context(), "k", version, []byte("w"))
			require.ErrorIs(t, err, sqlstore.ErrBusy)
			require.Equal(t, state, sqlState(err))
			require.NoError(t, tx.Rollback())
			put(t, s, "k", version, "w")
		})
	}
}

// TestErrorsQuoteNothing has the server say what it would not take, in the ways that it has.
func TestErrorsQuoteNothing(t *testing.T) {
	const secret = "not-to-be-shown-5d41"
	alter := func(how string) func(*testing.T, *sql.DB) {
		return func(t *testing.T, db *sql.DB) {
			_, err := db.ExecContext(t.Context(), `ALTER TABLE `+table(t.Name())+how)
			require.NoError(t, err)
		}
	}
	trigger := func(body string) func(*testing.T, *sql.DB) {
		return func(t *testing.T, db *sql.DB) { trap(t, db, body) }
	}
	for name, spoil := range map[string]func(*testing.T, *sql.DB){
		"a constraint":        alter(` ADD CHECK (length(value) < 9)`),
		"a number's column":   alter(` ALTER value TYPE bigint USING 0`),
		"an array's column":   alter(` ALTER value TYPE text[] USING NULL`),
		"a version's column":  alter(` ALTER version TYPE bigint USING 0`),
		"a trigger's detail":  trigger(`RAISE EXCEPTION 'no' USING DETAIL = encode(NEW.value, 'escape'), HINT = encode(NEW.value, 'escape');`),
		"a trigger's message": trigger(`RAISE EXCEPTION 'no %', encode(NEW.value, 'escape');`),
	} {
		t.Run(name, func(t *testing.T) {
			s, db := onPostgres(t, sqlstore.Options{})
			spoil(t, db)
			_, err := s.Swap(t.Context(), "k", "", []byte(secret))
			require.Error(t, err)
			var quoting *pgconn.PgError
			require.False(t, errors.As(err, &quoting), "the driver's error holds the row")
			for _, verb := range []string{"%v", "%+v", "%#v", "%q"} {
				text := fmt.Sprintf(verb, err)
				require.NotContains(t, text, secret)
				require.NotContains(t, text, fmt.Sprintf("%x", secret))
			}
		})
	}
}

func TestRestart(t *testing.T) {
	server := postgresd.Start(t, "fsync=off")
	db := connect(t, "pgx", server.DSN())
	db.SetMaxIdleConns(5)
	s := store(t, db, sqlstore.Options{Listener: pgxlisten.On(db)})
	version := put(t, s, "k", "", "0")
	// All connections of the pool are idle, and dead without knowing.
	die := func(stop func() error) {
		t.Helper()
		var conns []*sql.Conn
		for range 5 {
			conn, err := db.Conn(t.Context())
			require.NoError(t, err)
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			require.NoError(t, conn.Close())
		}
		require.NoError(t, stop())
	}
	for i, stop := range []func() error{server.Stop, server.Kill} {
		die(stop)
		require.NoError(t, server.Continue())
		requireValue(t, s, "k", fmt.Sprint(i))
		die(stop)
		require.NoError(t, server.Continue())
		version = put(t, s, "k", version, fmt.Sprint(i+1))

		die(stop)
		_, err := s.Swap(t.Context(), "k", version, []byte("x"))
		require.ErrorIs(t, err, sqlstore.ErrUnavailable)
		require.ErrorIs(t, load(t.Context(), s, "k"), sqlstore.ErrUnavailable)
		require.ErrorIs(t, s.Probe(t.Context()), sqlstore.ErrUnavailable)
		require.ErrorIs(t, s.Wait(t.Context(), "k", version), sqlstore.ErrUnavailable)
		require.NoError(t, server.Continue())
		requireValue(t, s, "k", fmt.Sprint(i+1))
	}
}

func TestReadOnly(t *testing.T) {
	server := postgresd.Start(t, "fsync=off")
	db := connect(t, "pgx", server.DSN())
	s := store(t, db, sqlstore.Options{})
	version := put(t, s, "k", "", "v")
	readOnly := func(value string) {
		t.Helper()
		for _, statement := range []string{`ALTER SYSTEM SET default_transaction_read_only = ` + value, `SELECT pg_reload_conf()`} {
			_, err := db.ExecContext(t.Context(), statement)
			require.NoError(t, err)
		}
		require.Eventually(t, func() bool {
			var now string
			return db.QueryRowContext(t.Context(), `SHOW default_transaction_read_only`).Scan(&now) == nil && now == value
		}, 10*time.Second, time.Millisecond)
	}
	readOnly("on")
	_, err := s.Swap(t.Context(), "k", version, []byte("w"))
	require.ErrorIs(t, err, sqlstore.ErrReadOnly)
	require.Equal(t, "25006", sqlState(err))
	require.ErrorIs(t, s.Probe(t.Context()), sqlstore.ErrReadOnly)
	requireValue(t, s, "k", "v")
	readOnly("off")
	put(t, s, "k", version, "w")
	require.NoError(t, s.Probe(t.Context()))
}

func TestReadOnlySQLite(t *testing.T) {
	dir := t.TempDir()
	s, _ := onSQLite(t, dir, sqlstore.Options{})
	put(t, s, "k", "", "v")
	ro, err := sqlstore.New(connect(t, "sqlite", "file:"+dir+"/grants.db?mode=ro"),
		sqlstore.Options{Dialect: sqlstore.SQLite, Plaintext: true, Table: table(t.Name())})
	require.NoError(t, err)
	requireValue(t, ro, "k", "v")
	require.ErrorIs(t, ro.Probe(t.Context()), sqlstore.ErrReadOnly)
	_, err = ro.Swap(t.Context(), "l", "", []byte("v"))
	require.ErrorIs(t, err, sqlstore.ErrReadOnly)
}

func TestTooManyConnections(t *testing.T) {
	server := postgresd.Start(t, "fsync=off", "max_connections=4", "superuser_reserved_connections=0")
	others := connect(t, "pgx", server.DSN())
	db := connect(t, "pgx", server.DSN())
	s := store(t, db, sqlstore.Options{})
	put(t, s, "k", "", "v")
	db.SetMaxIdleConns(0) // gives its own back
	var taken []*sql.Conn
	require.Eventually(t, func() bool { // a connection that was closed counts until its process has ended
		conn, err := others.Conn(t.Context())
		if err == nil {
			taken = append(taken, conn)
		}
		return len(taken) == 4
	}, 10*time.Second, time.Millisecond)
	err := load(t.Context(), s, "k")
	require.ErrorIs(t, err, sqlstore.ErrUnavailable)
	require.Equal(t, "53300", sqlState(err))
	_, err = s.Swap(t.Context(), "l", "", []byte("v"))
	require.ErrorIs(t, err, sqlstore.ErrUnavailable)
	others.SetMaxIdleConns(0)
	for _, conn := range taken {
		require.NoError(t, conn.Close())
	}
	requireValue(t, s, "k", "v")
}

// TestMissingTable says what to do about it.
func TestMissingTable(t *testing.T) {
	both(t, func(t *testing.T, open func(sqlstore.Options) (*sqlstore.Store, *sql.DB)) {
		s, db := open(sqlstore.Options{})
		_, err := db.ExecContext(t.Context(), `DROP TABLE `+table(t.Name()))
		require.NoError(t, err)
		for name, err := range map[string]error{
			"Load":   load(t.Context(), s, "k"),
			"Probe":  s.Probe(t.Context()),
			"create": func() error { _, err := s.Swap(t.Context(), "k", "", []byte("v")); return err }(),
			"change": func() error { _, err := s.Swap(t.Context(), "k", "1", []byte("v")); return err }(),
			"delete": func() error { _, err := s.Swap(t.Context(), "k", "1", nil); return err }(),
			"purge":  func() error { _, err := s.Purge(t.Context()); return err }(),
			"Keys": func() (last error) {
				for _, err := range s.Keys(t.Context(), "") {
					last = err
				}
				return last
			}(),
		} {
			require.ErrorIs(t, err, sqlstore.ErrNoTable, name)
			require.ErrorContains(t, err, "Migrate", name)
		}
	})
}

// cutter loses answers: while armed, a connection that has sent something is cut once the answer is there.
type cutter struct {
	net.Conn
	armed *atomic.Int64 // how many answers are yet to be lost
	sent  bool
}

func (c *cutter) Write(text []byte) (int, error) {
	c.sent = true
	return c.Conn.Write(text)
}

func (c *cutter) Read(text []byte) (int, error) {
	n, err := c.Conn.Read(text)
	if err == nil && c.sent {
		c.sent = false
		if c.armed.Add(-1) >= 0 {
			_ = c.Conn.Close()
			return 0, io.ErrUnexpectedEOF
		}
	}
	return n, err
}

// TestLostAnswer loses the answers of Swaps that have taken effect.
func TestLostAnswer(t *testing.T) {
	config, err := pgx.ParseConfig(postgres(t))
	require.NoError(t, err)
	var armed atomic.Int64
	config.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &cutter{Conn: conn, armed: &armed}, err
	}
	db := stdlib.OpenDB(*config, stdlib.OptionShouldPing(func(context.Context, stdlib.ShouldPingParams) bool { return false }))
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	db.SetMaxOpenConns(1)
	s := store(t, db, sqlstore.Options{})
	other, _ := onPostgres(t, sqlstore.Options{Table: table(t.Name())})
	// The statements are prepared: what is lost next is an answer.
	warm := put(t, s, "warm", put(t, s, "warm", "", "v"), "w")
	_, err = s.Swap(t.Context(), "warm", warm, nil)
	require.NoError(t, err)

	armed.Store(1)
	version := put(t, s, "k", "", "v")
	require.Equal(t, version, requireValue(t, other, "k", "v"), "a creation whose answer was lost has succeeded")

	put(t, s, "warm", put(t, s, "warm", "", "v"), "w")
	armed.Store(1)
	version = put(t, s, "k", version, "w")
	require.Equal(t, version, requireValue(t, other, "k", "w"), "a replacement, too")

	warm = requireValue(t, s, "warm", "w")
	_, err = s.Swap(t.Context(), "warm", warm, nil)
	require.NoError(t, err)
	armed.Store(1)
	_, err = s.Swap(t.Context(), "k", version, nil)
	require.ErrorIs(t, err, sqlstore.ErrUnavailable, "nobody can say who has deleted it")
	require.NotErrorIs(t, err, tokenstore.ErrConflict)
	requireValue(t, other, "k", "")
}

// TestFailOver kills the primary. The programs' address names both servers.
func TestFailOver(t *testing.T) {
	primary := postgresd.Start(t, "fsync=off")
	standby, err := primary.Standby()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, standby.Close()) })
	both := strings.Replace(primary.DSN(), primary.Address(), primary.Address()+","+standby.Address(), 1)
	db := connect(t, "pgx", with(t, both, "target_session_attrs", "read-write"))
	s := store(t, db, sqlstore.Options{Key: key(1), Listener: pgxlisten.On(db)})
	version := put(t, s, "k", "", "v")

	// A program that was led to the standby can read there, and is told why it cannot write.
	replica := connect(t, "pgx", standby.DSN())
	astray, err := sqlstore.New(replica, sqlstore.Options{Key: key(1), Table: table(t.Name())})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return load(t.Context(), astray, "k") == nil }, 10*time.Second, time.Millisecond)
	_, err = astray.Swap(t.Context(), "k", version, []byte("w"))
	require.ErrorIs(t, err, sqlstore.ErrReadOnly)
	require.ErrorIs(t, astray.Probe(t.Context()), sqlstore.ErrReadOnly)
	nowhere, err := sqlstore.New(connect(t, "pgx", with(t, standby.DSN(), "target_session_attrs", "read-write")),
		sqlstore.Options{Key: key(1), Table: table(t.Name())})
	require.NoError(t, err)
	require.ErrorIs(t, nowhere.Probe(t.Context()), sqlstore.ErrReadOnly, "there is no server that takes writes")

	require.NoError(t, primary.Kill())
	_, err = s.Swap(t.Context(), "k", version, []byte("w"))
	require.ErrorIs(t, err, sqlstore.ErrUnavailable)
	_, err = replica.ExecContext(t.Context(), `SELECT pg_promote()`)
	require.NoError(t, err)
	put(t, s, "k", version, "w")
	requireValue(t, astray, "k", "w")
}

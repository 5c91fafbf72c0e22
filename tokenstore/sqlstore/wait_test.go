package sqlstore_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore/pgxlisten"
)

// begin waits in the background, as the renewal engine does: it looks after each return.
func begin(t *testing.T, s *sqlstore.Store, key string, not tokenstore.Version) <-chan error {
	t.Helper()
	over := make(chan error, 1)
	go func() {
		for {
			if err := s.Wait(t.Context(), key, not); err != nil {
				over <- err
				return
			}
			_, now, err := s.Load(t.Context(), key)
			if errors.Is(err, tokenstore.ErrNotFound) {
				err = nil
			}
			if err != nil || now != not {
				over <- err
				return
			}
		}
	}()
	return over
}

// listening returns the number of the server's connections that wait for the notifications of a test's keys.
func listening(t *testing.T, db *sql.DB, application string) (connections, locks int) {
	t.Helper()
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count(DISTINCT pid), count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
		WHERE locktype = 'advisory' AND mode = 'ShareLock' AND granted AND application_name = $1`, application).Scan(&connections, &locks))
	return connections, locks
}

// waiting makes a Store whose listening connections go by the test's name.
func waiting(t *testing.T) (s *sqlstore.Store, db *sql.DB, application string) {
	application = table(t.Name())
	db = connect(t, "pgx", with(t, postgres(t), "application_name", application))
	return store(t, db, sqlstore.Options{Listener: pgxlisten.On(db)}), db, application
}

func TestWaitSharesOneConnection(t *testing.T) {
	s, db, application := waiting(t)
	db.SetMaxOpenConns(2)
	const many = 20
	versions, over := make([]tokenstore.Version, many), make([]<-chan error, 2*many)
	for i := range many {
		versions[i] = put(t, s, fmt.Sprint(i), "", "v")
		over[2*i], over[2*i+1] = begin(t, s, fmt.Sprint(i), versions[i]), begin(t, s, fmt.Sprint(i), versions[i])
	}
	require.Eventually(t, func() bool {
		connections, locks := listening(t, db, application)
		return connections == 1 && locks == many
	}, 10*time.Second, time.Millisecond)
	other, _ := onPostgres(t, sqlstore.Options{Table: table(t.Name())})
	for i := range many {
		select {
		case err := <-over[2*i]:
			require.Fail(t, "nothing has changed", "%v", err)
		default:
		}
		put(t, other, fmt.Sprint(i), versions[i], "w")
		require.NoError(t, <-over[2*i])
		require.NoError(t, <-over[2*i+1])
	}
	require.Eventually(t, func() bool { return db.Stats().InUse == 0 }, 10*time.Second, time.Millisecond, "nobody waits, and no connection is held")
	connections, _ := listening(t, db, application)
	require.Zero(t, connections, "no lock is left")
}

// TestNotifiesThoseWhoWait listens to everything that is sent.
func TestNotifiesThoseWhoWait(t *testing.T) {
	s, db, application := waiting(t)
	conn, err := pgx.Connect(t.Context(), postgres(t))
	require.NoError(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(t.Context(), `LISTEN evergrant`)
	require.NoError(t, err)

	version := put(t, s, "nobody waits", "", "v")
	version = put(t, s, "nobody waits", version, "w")
	_, err = s.Swap(t.Context(), "nobody waits", version, nil)
	require.NoError(t, err)

	over := begin(t, s, "awaited", "")
	require.Eventually(t, func() bool { _, locks := listening(t, db, application); return locks == 1 }, 10*time.Second, time.Millisecond)
	version = put(t, s, "awaited", "", "v")
	require.NoError(t, <-over)
	_, err = conn.Exec(t.Context(), `NOTIFY evergrant, 'the end'`)
	require.NoError(t, err)
	var heard []string
	for len(heard) == 0 || heard[len(heard)-1] != "the end" {
		n, err := conn.WaitForNotification(t.Context())
		require.NoError(t, err)
		heard = append(heard, n.Payload)
	}
	require.Len(t, heard, 2, "one for the key that was awaited")
	require.NotContains(t, heard[0], "awaited")
	require.NotContains(t, heard[0], string(version))
}

// TestWaitMissesNothing changes the key at the very moment at which the wait begins.
func TestWaitMissesNothing(t *testing.T) {
	s, _, _ := waiting(t)
	other, db := onPostgres(t, sqlstore.Options{Table: table(t.Name())})
	version := put(t, s, "k", "", "v")
	for i := range 100 {
		over := begin(t, s, "k", version)
		for range i % 10 { // each time at another step of the wait
			require.NoError(t, db.PingContext(t.Context()))
		}
		version = put(t, other, "k", version, fmt.Sprint(i))
		select {
		case err := <-over:
			require.NoError(t, err)
		case <-time.After(10 * time.Second):
			require.Fail(t, "it still waits")
		}
	}
}

// TestWaitLosesItsConnection has the server end it.
func TestWaitLosesItsConnection(t *testing.T) {
	s, db, application := waiting(t)
	version := put(t, s, "k", "", "v")
	over := begin(t, s, "k", version)
	for range 3 {
		require.Eventually(t, func() bool { connections, _ := listening(t, db, application); return connections == 1 }, 10*time.Second, time.Millisecond)
		_, err := connect(t, "pgx", postgres(t)).ExecContext(t.Context(), `SELECT pg_terminate_backend(pid, 10000) FROM pg_locks JOIN pg_stat_activity USING (pid)
			WHERE locktype = 'advisory' AND application_name = $1`, application)
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool { connections, _ := listening(t, db, application); return connections == 1 }, 10*time.Second, time.Millisecond)
	put(t, s, "k", version, "w")
	require.NoError(t, <-over)
}

func TestWaitUnsupported(t *testing.T) {
	alone := connect(t, "pgx", postgres(t))
	alone.SetMaxOpenConns(1)
	for name, options := range map[string]sqlstore.Options{
		"no Listener":              {},
		"a pool of one connection": {Listener: pgxlisten.On(alone)},
		"another driver":           {Listener: pgxlisten.On(connect(t, "sqlite", ":memory:"))},
	} {
		t.Run(name, func(t *testing.T) {
			s := store(t, alone, options)
			version := put(t, s, "k", "", "v")
			require.ErrorIs(t, s.Wait(t.Context(), "k", version), errors.ErrUnsupported)
			put(t, s, "k", version, "w")
		})
	}
}

// TestWaitIsToldOfAPurge and of a deletion by it.
func TestWaitIsToldOfAPurge(t *testing.T) {
	s, db, application := waiting(t)
	version, err := s.SwapUntil(t.Context(), "k", "", []byte("v"), time.Now().Add(-time.Hour))
	require.NoError(t, err)
	over := begin(t, s, "k", version)
	require.Eventually(t, func() bool { _, locks := listening(t, db, application); return locks == 1 }, 10*time.Second, time.Millisecond)
	purged, err := s.Purge(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, purged)
	require.NoError(t, <-over)
}

// TestWaitEnds waits for a key whose Swap hangs, so that not even its lock can be had.
func TestWaitEnds(t *testing.T) {
	s, db, _ := waiting(t)
	version := put(t, s, "k", "", "v")
	trap(t, db, `PERFORM pg_sleep(1);`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	swapped := make(chan error, 1)
	go func() {
		_, err := s.Swap(ctx, "k", version, []byte("w"))
		swapped <- err
	}()
	requireEnds(t, func(ctx context.Context) error { return s.Wait(ctx, "k", version) })
	cancel()
	require.ErrorIs(t, <-swapped, context.Canceled)
	require.Eventually(t, func() bool { return db.Stats().InUse == 0 }, 10*time.Second, time.Millisecond)
}

// TestWaitGivesUp waits where no connection is to be had: nothing is left that still wants one.
func TestWaitGivesUp(t *testing.T) {
	s, db, _ := waiting(t)
	version := put(t, s, "k", "", "v")
	db.SetMaxOpenConns(2)
	for range 2 {
		conn, err := db.Conn(t.Context())
		require.NoError(t, err)
		defer conn.Close()
	}
	before := goleak.IgnoreCurrent()
	requireEnds(t, func(ctx context.Context) error { return s.Wait(ctx, "k", version) })
	require.NoError(t, goleak.Find(before))
}

// TestWaitWithoutConnection has a Listener that lends none.
func TestWaitWithoutConnection(t *testing.T) {
	db := connect(t, "pgx", postgres(t))
	s := store(t, db, sqlstore.Options{Listener: func(context.Context, func(sqlstore.Ear) error) error { return nil }})
	version := put(t, s, "k", "", "v")
	require.Error(t, s.Wait(t.Context(), "k", version))
}

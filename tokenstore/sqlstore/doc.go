// Package sqlstore keeps grants in a table of PostgreSQL or SQLite, for any number of processes and machines.
//
// # Use
//
//	db, err := sql.Open("pgx", os.Getenv("DATABASE_URL")) // github.com/jackc/pgx/v5/stdlib
//	…
//	store, err := sqlstore.New(db, sqlstore.Options{
//		Key:      seal.RawKey(key), // 32 bytes from a secret manager
//		Listener: pgxlisten.On(db), // Wait through LISTEN and NOTIFY; may be left out
//	})
//	…
//	err = store.Migrate(ctx) // or Store.Schema, through the program's own migrations
//
// Any driver for database/sql may be used that takes PostgreSQL's $1 as a parameter and returns []byte for
// bytea; pgx is the one that is tested, and the one that pgxlisten needs. For SQLite it is
// modernc.org/sqlite:
//
//	db, err := sql.Open("sqlite", path+"?_pragma=journal_mode(wal)&_pragma=synchronous(full)")
//	…
//	store, err := sqlstore.New(db, sqlstore.Options{Dialect: sqlstore.SQLite, Key: seal.RawKey(key)})
//
// # The table
//
// On PostgreSQL, Store.Schema returns, and Store.Migrate runs:
//
//	CREATE TABLE IF NOT EXISTS "evergrant_grants" (
//		key        bytea PRIMARY KEY,
//		version    bytea NOT NULL,
//		value      bytea NOT NULL,
//		sealed     boolean NOT NULL,
//		expires_at timestamptz,
//		updated_at timestamptz NOT NULL
//	) WITH (fillfactor = 70);
//	CREATE INDEX IF NOT EXISTS "evergrant_grants_expires_at" ON "evergrant_grants" (expires_at) WHERE expires_at IS NOT NULL;
//
// Both change nothing that is there. A later version of this package only adds to it. The programs need
// SELECT, INSERT, UPDATE and DELETE. Keys are bytes, compared as such, and on PostgreSQL at most some 2,600 of
// them. A record is mostly 1 to 4 KiB; sealing adds 129 bytes. The version is random, and never comes back.
// Partitioning by a hash of the key, which is the primary key, changes nothing for this package.
//
// # Concurrency
//
// Load and Swap are one statement each, in a transaction of its own, and one round trip (pgx prepares a
// statement once for each connection, and pings one that has been idle for a second). The compare-and-swap is
// right at every isolation level; where a stricter one than READ COMMITTED is the default, the statements that
// PostgreSQL then refuses are run again, as are deadlocks and SQLITE_BUSY, for some 5 s.
//
// No row is locked for longer than its statement. A renewal takes three or four statements; a pool of 4 to 10
// connections serves thousands of sessions, and all pools together stay below the server's max_connections.
// A pool that is exhausted makes calls wait until their context ends.
//
// Through PgBouncer in transaction mode everything works but LISTEN: leave the Listener out, or give it a pool
// that goes to the server. PgBouncer before 1.21 also needs default_query_exec_mode=exec in pgx's address.
//
// All reads go to the primary. A read replica lags: it would show a refresh token that has been spent.
//
// SQLite takes one writer at a time. The store tries again by itself; a busy_timeout is not needed. It does
// no harm where the driver gives up when the context ends, as modernc's does.
//
// # Waiting
//
// Wait holds one connection of the Listener for all who wait in the process, and only while somebody does.
// PostgreSQL commits transactions that notify one after the other, each with its flush to disk. So those who
// wait hold an advisory lock on their key, and Swap notifies only where it finds one: a Swap that nobody waits
// for commits as ever. What changes the table by other means wakes nobody; Wait's callers look from time to time.
//
// # Durability
//
// A Swap that has returned nil is as durable as a commit is. Whatever undoes a commit brings back a refresh token
// that was spent, or loses a new one, and no client can tell. Processes that run go on with what they have; another one
// presents the old token, which a server with a leeway answers, and a strict one takes for theft: it ends the
// grant, the session says ErrLoginRequired, and a person logs in anew. In detail:
//
//   - synchronous_commit=off loses up to three times wal_writer_delay, 600 ms, when the server crashes. It
//     can be turned on for the role or the database that the programs use.
//   - A fail-over to an asynchronous standby loses what had not reached it. With synchronous_standby_names set
//     and synchronous_commit on, it loses nothing.
//   - A backup that is restored, or a snapshot, brings back tokens that have been spent since. Delete
//     the rows whose updated_at is so far back that the server has ended their refresh tokens as idle; leave the
//     others, of which some are still good.
//   - SQLite needs synchronous=FULL, its own default; with NORMAL in WAL mode a loss of power undoes commits.
//
// A Swap whose answer is lost is looked after: the store reads the row, and runs the statement again if it is
// unchanged. Where that does not help, the error says that the write may have taken effect, and the renewal
// engine reads the record again.
//
// # Errors
//
//	ErrNoTable      run Migrate
//	ErrReadOnly     the server takes no writes, as during a fail-over; calls succeed again when it does, or when
//	                the pool has new connections: set ConnMaxLifetime, and target_session_attrs=read-write
//	ErrUnavailable  not reached, being restarted, or out of connections; calls succeed again when it is back
//	ErrBusy         lock_timeout, statement_timeout, or others in the way for some 5 s; nothing was written
//	seal.ErrWrongKey, seal.ErrNoKey, tokenstore.ErrDamaged: of one row, which is left alone
//
// An error holds the message and the SQLSTATE of the server's error (a method SQLState, found by
// errors.As), never the detail, which can quote a row, and so not the driver's error of it.
//
// # Security
//
// With a Key, a value is sealed as package seal says: a data key for each row, wrapped by the Key and bound to the
// row's key and version. Those who can read the table see the keys (issuer, client id, session), the times and the
// sizes. Those who can write to it can delete a row or bring back an older one, whole. Without
// a Key, who can read the table or a backup of it has the refresh tokens.
//
// # Housekeeping
//
// expires_at is when a record stops being of use, as far as the server has said so. Purge deletes what is past it;
// a cron job or a program's start is the time for that. updated_at is for people. Both go by
// the database's clock.
package sqlstore

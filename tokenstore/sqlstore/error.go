package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"
)

var (
	// ErrNoTable says that the table is missing, or is of another version of this package.
	ErrNoTable = errors.New("the table is missing or another version's: run Store.Migrate, or Store.Schema through the migrations of the program")

	// ErrReadOnly says that the database takes no writes: a replica, above all during a fail-over, or
	// one that was set so.
	ErrReadOnly = errors.New("the database takes no writes: connect to the primary (target_session_attrs=read-write in the address)")

	// ErrUnavailable says that the database could not be reached, ended the connection, or takes no more of
	// them. What a Swap that ended so was to write may have been written.
	ErrUnavailable = errors.New("the database is not available: try again; if it stays so, look at its log and at its limit of connections")

	// ErrBusy says that others kept the row or the table for too long, or that a limit of the database's on
	// the time of a statement has passed. Nothing was written.
	ErrBusy = errors.New("the database is busy: try again")
)

// failure is what a database said, without what it may quote: the driver's error holds the row, where a
// constraint has failed.
type failure struct {
	text  string
	state string // SQLSTATE; empty: there is none
	kind  error  // one of the above, or nil
	cause error  // where the database said nothing; nil: it did
}

func (f *failure) Error() string { return f.text }

// SQLState returns the code of PostgreSQL's error (its documentation, Appendix A), "" if there is none.
func (f *failure) SQLState() string { return f.state }

func (f *failure) Unwrap() []error {
	var errs []error
	for _, err := range []error{f.kind, f.cause} {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// fail makes the error of what was tried.
func fail(what string, err error) error {
	f := &failure{text: "sqlstore: " + what + ": ", kind: kindOf(err)}
	if f.kind != nil {
		f.text += f.kind.Error() + ": "
	}
	var stated interface{ SQLState() string }
	if !errors.As(err, &stated) {
		f.text += err.Error()
		f.cause = err
		return f
	}
	f.state = stated.SQLState()
	if quotes(f.state) {
		f.text += "SQLSTATE " + f.state + "; the server's log has its message, which may quote the row: see that the table is as Store.Schema makes it"
	} else {
		f.text += err.Error()
	}
	return f
}

// quotes reports whether a message with this code may hold what was to be written: data that do not fit a type
// or a constraint, and what triggers and functions of somebody's say.
func quotes(state string) bool {
	return len(state) < 2 || slices.Contains([]string{"22", "23", "38", "39", "44", "P0"}, state[:2])
}

// SQLite's result codes, of which the lowest byte is the kind.
const (
	sqliteError    = 1
	sqliteBusy     = 5
	sqliteLocked   = 6
	sqliteReadOnly = 8
)

func kindOf(err error) error {
	var stated interface{ SQLState() string }
	var coded interface{ Code() int }
	switch {
	case errors.As(err, &stated):
		return kindOfState(stated.SQLState())
	case errors.As(err, &coded):
		return kindOfCode(coded.Code()&0xff, err.Error())
	case isLost(err):
		return ErrUnavailable
	case strings.Contains(err.Error(), "read only connection"): // pgx, of every server that target_session_attrs has refused
		return ErrReadOnly
	}
	return nil
}

// kindOfState sorts the codes of PostgreSQL.
func kindOfState(state string) error {
	switch state {
	case "42P01", "42703", "3F000": // undefined_table, undefined_column, invalid_schema_name
		return ErrNoTable
	case "25006": // read_only_sql_transaction
		return ErrReadOnly
	case "40001", "40P01", "55P03", "57014": // serialization, deadlock, lock_timeout, statement_timeout
		return ErrBusy
	case "53300", "57P01", "57P02", "57P03", "57P05": // too many connections, being shut down, crashed, starting, idle for long
		return ErrUnavailable
	}
	if strings.HasPrefix(state, "08") { // connection exceptions
		return ErrUnavailable
	}
	return nil
}

// kindOfCode sorts the codes of SQLite, which has none for a missing table.
func kindOfCode(code int, text string) error {
	switch {
	case code == sqliteBusy || code == sqliteLocked:
		return ErrBusy
	case code == sqliteReadOnly:
		return ErrReadOnly
	case code == sqliteError && (strings.Contains(text, "no such table") || strings.Contains(text, "no such column") || strings.Contains(text, "has no column")):
		return ErrNoTable
	}
	return nil
}

func isLost(err error) bool {
	for _, lost := range []error{driver.ErrBadConn, sql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, lost) {
			return true
		}
	}
	var network net.Error
	return errors.As(err, &network)
}

const (
	patience     = 5 * time.Second // where others are in the way
	reconnecting = 10              // attempts where connections are lost, which a pool may have many of: some 200 ms
	firstPause   = time.Millisecond
	longestPause = 50 * time.Millisecond
)

// try does what may fail for a reason that passes. It is done again where nothing can have taken effect and,
// if it is repeatable, after a lost connection.
func (s *Store) try(ctx context.Context, what string, repeatable bool, do func() error) error {
	pause, began := firstPause, time.Now()
	for attempt := 1; ; attempt++ {
		err := do()
		switch {
		case err == nil || errors.Is(err, sql.ErrNoRows):
			return err
		case ctx.Err() != nil:
			return s.ended(ctx, what)
		case passes(err) && time.Since(began) < patience:
		case repeatable && attempt < reconnecting && errors.Is(kindOf(err), ErrUnavailable):
		default:
			return fail(what, err)
		}
		if sleep(ctx, pause/2+rand.N(pause)) != nil {
			return s.ended(ctx, what)
		}
		pause = min(pause*2, longestPause)
	}
}

// passes reports whether err is a conflict with somebody else's transaction, which has undone the statement.
func passes(err error) bool {
	var stated interface{ SQLState() string }
	if errors.As(err, &stated) {
		return stated.SQLState() == "40001" || stated.SQLState() == "40P01"
	}
	return errors.Is(kindOf(err), ErrBusy)
}

// ended is the error of a call whose context has ended.
func (s *Store) ended(ctx context.Context, what string) error {
	err := fmt.Errorf("sqlstore: %s: %w", what, ctx.Err())
	if pool := s.db.Stats(); pool.MaxOpenConnections > 0 && pool.InUse >= pool.MaxOpenConnections {
		err = fmt.Errorf("%w (all %d connections of the pool are in use: see sql.DB.SetMaxOpenConns)", err, pool.InUse)
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

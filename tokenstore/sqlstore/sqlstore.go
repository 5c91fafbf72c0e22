package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// Options says how a Store keeps what it is given. One of Key and Plaintext is set. All programs that
// share a table have the same Options.
type Options struct {
	// Dialect is the database's. The zero value is PostgreSQL.
	Dialect Dialect

	// Table is the name of the table: lower-case letters, digits and underscores, at most 50 of them,
	// perhaps after the name of a schema and a dot. Empty: evergrant_grants.
	Table string

	// Key gives the key that seals the values. Nil: Plaintext must be set.
	Key seal.KeySource

	// Former give keys that only open what they sealed before Key was the key; see seal.Box. Nil: there are none.
	Former []seal.KeySource

	// Plaintext says that the values, refresh tokens among them, may lie in the table in the clear.
	// False: Key must be set.
	Plaintext bool

	// Listener hears PostgreSQL's notifications; pgxlisten.On makes one. Nil: Swap sends none, and Wait
	// returns an error that wraps errors.ErrUnsupported, so that those who wait poll.
	Listener Listener
}

// Store is a tokenstore.Store in a table. It is a Lister, a Prober and an Expirer, and a Waiter where
// it has a Listener. It is safe for concurrent use, by as many processes as the database serves.
type Store struct {
	db         *sql.DB
	statements statements
	box        *seal.Box // nil: plain text
	board      *board    // nil: there is no Listener
}

var (
	_ tokenstore.Store   = (*Store)(nil)
	_ tokenstore.Lister  = (*Store)(nil)
	_ tokenstore.Waiter  = (*Store)(nil)
	_ tokenstore.Prober  = (*Store)(nil)
	_ tokenstore.Expirer = (*Store)(nil)
)

const defaultTable = "evergrant_grants"

// longestName keeps the name of the index within PostgreSQL's 63 bytes.
const longestName = 50

var tableName = regexp.MustCompile(`^(?:([a-z_][a-z0-9_]*)\.)?([a-z_][a-z0-9_]*)$`)

// New makes a Store over db, which stays the caller's to configure and to close. It does no I/O: a table
// that is missing is ErrNoTable at the first use.
func New(db *sql.DB, options Options) (*Store, error) {
	table := options.Table
	if table == "" {
		table = defaultTable
	}
	name := tableName.FindStringSubmatch(table)
	switch {
	case db == nil:
		return nil, errors.New("sqlstore: db is nil: open one with sql.Open")
	case name == nil || len(name[1]) > longestName || len(name[2]) > longestName:
		return nil, fmt.Errorf("sqlstore: Options.Table is %q: lower-case letters, digits and _ make a name, at most %d of them", table, longestName)
	case options.Key == nil && !options.Plaintext:
		return nil, errors.New("sqlstore: Options.Key is nil: set it to seal what is stored, or set Options.Plaintext to leave it in the clear")
	case options.Key != nil && options.Plaintext:
		return nil, errors.New("sqlstore: Options.Key and Options.Plaintext exclude each other: set one of them")
	case options.Key == nil && len(options.Former) > 0:
		return nil, errors.New("sqlstore: Options.Former needs an Options.Key")
	case options.Dialect != PostgreSQL && options.Dialect != SQLite:
		return nil, fmt.Errorf("sqlstore: Options.Dialect is %d: it is PostgreSQL or SQLite", options.Dialect)
	case options.Dialect == SQLite && name[1] != "":
		return nil, fmt.Errorf("sqlstore: Options.Table is %q: SQLite has no schemas", table)
	case options.Dialect != PostgreSQL && options.Listener != nil:
		return nil, errors.New("sqlstore: Options.Listener is for PostgreSQL: leave it nil")
	}
	s := &Store{db: db, statements: options.Dialect.statements(name[1], name[2], options.Listener != nil)}
	if options.Listener != nil {
		s.board = &board{listener: options.Listener, table: s.statements.table, waits: make(map[int64]*wait)}
	}
	if options.Key != nil {
		var err error
		if s.box, err = seal.NewBox(options.Key, options.Former...); err != nil {
			return nil, fmt.Errorf("sqlstore: Options.Key: %w", err)
		}
	}
	return s, nil
}

// Load implements tokenstore.Store, in one round trip. A value that SwapUntil has given an end is there
// until Purge deletes it.
func (s *Store) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	var value, version []byte
	var sealed bool
	err := s.try(ctx, "load", true, func() error {
		return s.db.QueryRowContext(ctx, s.statements.load, []byte(key)).Scan(&version, &value, &sealed)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return nil, "", tokenstore.ErrNotFound
	}
	if err != nil {
		return nil, "", err
	}
	if value, err = s.open(ctx, key, version, value, sealed); err != nil {
		return nil, "", fmt.Errorf("sqlstore: the row of key %q: %w", key, err)
	}
	return value, tokenstore.Version(version), nil
}

// Swap implements tokenstore.Store, in one statement and one round trip. It is as durable as the database's
// commits are; see the package's section on durability.
func (s *Store) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	return s.SwapUntil(ctx, key, old, value, time.Time{})
}

// SwapUntil implements tokenstore.Expirer. What has ended stays until Purge deletes it.
func (s *Store) SwapUntil(ctx context.Context, key string, old tokenstore.Version, value []byte, until time.Time) (tokenstore.Version, error) {
	if len(value) == 0 {
		return "", s.remove(ctx, key, old)
	}
	version := make([]byte, 16)
	if _, err := rand.Read(version); err != nil {
		return "", fmt.Errorf("sqlstore: making a version: %w", err)
	}
	value, err := s.seal(ctx, key, version, value)
	if err != nil {
		return "", err
	}
	args := []any{[]byte(key), version, value, s.box != nil, s.statements.time(until)}
	if old == "" {
		err = s.change(ctx, key, old, tokenstore.Version(version), s.statements.create, args)
	} else {
		err = s.change(ctx, key, old, tokenstore.Version(version), s.statements.replace, append(args, []byte(old)))
	}
	if err != nil {
		return "", err
	}
	return tokenstore.Version(version), nil
}

func (s *Store) remove(ctx context.Context, key string, old tokenstore.Version) error {
	if old != "" {
		return s.change(ctx, key, old, "", s.statements.remove, []any{[]byte(key), []byte(old)})
	}
	var found int
	err := s.try(ctx, "swap", true, func() error {
		return s.db.QueryRowContext(ctx, s.statements.count, []byte(key)).Scan(&found)
	})
	if err == nil && found > 0 {
		err = tokenstore.ErrConflict
	}
	return err
}

// change runs a statement that takes the row of key from the version old to the version new. A statement
// whose answer was lost is run again where the row is still at old: only one of the two can find it there.
func (s *Store) change(ctx context.Context, key string, old, new tokenstore.Version, statement string, args []any) error {
	if s.board != nil {
		args = append(args, s.board.number(key))
	}
	var lost error
	for range reconnecting {
		changed, err := s.exec(ctx, "swap", false, statement, args...)
		switch {
		case err == nil && changed:
			return nil
		case err == nil && lost == nil:
			return tokenstore.ErrConflict
		case err != nil && lost == nil && !errors.Is(err, ErrUnavailable):
			return err
		case lost == nil:
			lost = err
		}
		now, err := s.version(ctx, key)
		switch {
		case err == nil && now == new && new != "":
			return nil // only this call's statement writes this version
		case err != nil || now != old:
			return lost // others have changed it, before or after
		}
	}
	return lost
}

// exec reports whether statement has changed a row.
func (s *Store) exec(ctx context.Context, what string, repeatable bool, statement string, args ...any) (changed bool, err error) {
	err = s.try(ctx, what, repeatable, func() error {
		result, err := s.db.ExecContext(ctx, statement, args...)
		if err != nil {
			return err
		}
		rows, err := result.RowsAffected()
		changed = rows > 0
		return err
	})
	return changed, err
}

// Format implements fmt.Formatter: a Store shows neither its database's address nor its key under any verb.
func (s *Store) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "sqlstore.Store(%s)", s.statements.table) }

package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/evergrant/evergrant/tokenstore"
)

// table is a tokenstore.Store over a table that the service has already:
//
//	CREATE TABLE accounts (name TEXT PRIMARY KEY, oauth_grant BLOB)
//
// It needs no column for a version: the value is its own. A version never comes back for another value then, and
// what Evergrant stores never comes back as it was, since the number of the lease in it only grows. The rows of
// accounts without a grant stay; a NULL is an absent value.
//
// Any database with a conditional UPDATE will do. The statements are those of SQLite, which PostgreSQL takes too
// with $1 for ?, and BYTEA for BLOB.
type table struct {
	db     *sql.DB
	prefix string // of the store keys of this service's accounts
}

func newTable(db *sql.DB, issuer, clientID string) *table {
	return &table{db, tokenstore.Key(issuer, clientID, "")}
}

// name returns the account that key is about: the service keeps nobody else's.
func (t *table) name(key string) (string, error) {
	_, _, name, err := tokenstore.SplitKey(key)
	if err != nil || !strings.HasPrefix(key, t.prefix) {
		return "", fmt.Errorf("the accounts of this table have keys that begin with %q", t.prefix)
	}
	return name, nil
}

// Load implements tokenstore.Store.
func (t *table) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	name, err := t.name(key)
	if err != nil {
		return nil, "", err
	}
	var value []byte
	err = t.db.QueryRowContext(ctx, `SELECT oauth_grant FROM accounts WHERE name = ?`, name).Scan(&value)
	if errors.Is(err, sql.ErrNoRows) || err == nil && len(value) == 0 {
		return nil, "", tokenstore.ErrNotFound
	}
	return value, tokenstore.Version(value), err
}

// Swap implements tokenstore.Store.
func (t *table) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	name, err := t.name(key)
	if err != nil {
		return "", err
	}
	var changed sql.Result
	switch {
	case old == "" && len(value) == 0: // to delete what is absent is no change
		_, _, err := t.Load(ctx, key)
		if errors.Is(err, tokenstore.ErrNotFound) {
			return "", nil
		}
		return "", errors.Join(tokenstore.ErrConflict, err)
	case old == "":
		changed, err = t.db.ExecContext(ctx, `INSERT INTO accounts (name, oauth_grant) VALUES (?, ?)
			ON CONFLICT (name) DO UPDATE SET oauth_grant = excluded.oauth_grant WHERE accounts.oauth_grant IS NULL`, name, value)
	case len(value) == 0:
		changed, err = t.db.ExecContext(ctx, `UPDATE accounts SET oauth_grant = NULL WHERE name = ? AND oauth_grant = ?`, name, []byte(old))
	default:
		changed, err = t.db.ExecContext(ctx, `UPDATE accounts SET oauth_grant = ? WHERE name = ? AND oauth_grant = ?`, value, name, []byte(old))
	}
	if err != nil {
		return "", err
	}
	if rows, err := changed.RowsAffected(); err != nil || rows == 0 {
		return "", errors.Join(tokenstore.ErrConflict, err)
	}
	return tokenstore.Version(value), nil
}

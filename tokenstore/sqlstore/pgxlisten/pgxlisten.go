// Package pgxlisten lets a sqlstore.Store hear PostgreSQL's notifications through the driver pgx. It is a
// package of its own, so that programs with another database do without pgx:
//
//	db, err := sql.Open("pgx", address)
//	…
//	store, err := sqlstore.New(db, sqlstore.Options{Key: key, Listener: pgxlisten.On(db)})
package pgxlisten

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/evergrant/evergrant/tokenstore/sqlstore"
)

// On returns a Listener that lends connections of db, which pgx's driver for database/sql has opened. db may
// be the Store's; where that leads through PgBouncer, which passes on no notifications, it is another one that
// leads to the server. A pool of one connection is refused with an error that wraps
// errors.ErrUnsupported: who waits on it would keep everybody else out.
func On(db *sql.DB) sqlstore.Listener {
	return func(ctx context.Context, use func(sqlstore.Ear) error) error {
		if db.Stats().MaxOpenConnections == 1 {
			return fmt.Errorf("pgxlisten: the pool needs a second connection (sql.DB.SetMaxOpenConns): %w", errors.ErrUnsupported)
		}
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		return conn.Raw(func(raw any) error {
			lender, ok := raw.(interface{ Conn() *pgx.Conn })
			if !ok {
				return fmt.Errorf("pgxlisten: a %T is not pgx's: %w", raw, errors.ErrUnsupported)
			}
			err := use(ear{lender.Conn()})
			if err != nil {
				// In whatever state it is, nobody else gets it.
				_ = lender.Conn().Close(ctx)
			}
			return err
		})
	}
}

type ear struct{ conn *pgx.Conn }

// Exec implements sqlstore.Ear.
func (e ear) Exec(ctx context.Context, statement string, args ...any) error {
	_, err := e.conn.Exec(ctx, statement, args...)
	return err
}

// Next implements sqlstore.Ear.
func (e ear) Next(ctx context.Context) (string, error) {
	n, err := e.conn.WaitForNotification(ctx)
	if err != nil {
		return "", err
	}
	return n.Payload, nil
}

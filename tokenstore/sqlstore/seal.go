package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// seal returns what is stored of value.
func (s *Store) seal(ctx context.Context, key string, version, value []byte) ([]byte, error) {
	if s.box == nil {
		return value, nil
	}
	sealed, err := s.box.Seal(ctx, value, key, string(version))
	if !errors.Is(err, seal.ErrNoKey) {
		return sealed, err
	}
	if err := s.makeKey(ctx); err != nil {
		return nil, err
	}
	return s.box.Seal(ctx, value, key, string(version))
}

// makeKey makes the first key. Beside rows it would hide that theirs is lost.
func (s *Store) makeKey(ctx context.Context) error {
	isEmpty, err := s.isEmpty(ctx)
	if err != nil {
		return err
	}
	if !isEmpty {
		return fmt.Errorf("%w for the rows of %s: restore it, or delete them to log in anew", seal.ErrNoKey, s.statements.table)
	}
	return s.box.MakeKey(ctx)
}

func (s *Store) isEmpty(ctx context.Context) (bool, error) {
	var one int
	err := s.try(ctx, "look for sealed rows", true, func() error {
		return s.db.QueryRowContext(ctx, s.statements.some).Scan(&one)
	})
	if errors.Is(err, sql.ErrNoRows) {
		return true, nil
	}
	return false, err
}

// open returns the value of a row.
func (s *Store) open(ctx context.Context, key string, version, stored []byte, sealed bool) ([]byte, error) {
	switch {
	case len(version) == 0 || len(stored) == 0:
		return nil, fmt.Errorf("%w: delete the row to log in anew", tokenstore.ErrDamaged)
	case sealed && s.box == nil:
		return nil, fmt.Errorf("%w: it is sealed, and this store was opened with Plaintext; set Options.Key instead", seal.ErrWrongKey)
	case !sealed && s.box != nil:
		return nil, fmt.Errorf("%w: it is in the clear, and this store seals; delete the row to log in anew", seal.ErrWrongKey)
	case !sealed:
		return stored, nil
	}
	value, err := s.box.Open(ctx, stored, key, string(version))
	if errors.Is(err, tokenstore.ErrDamaged) {
		err = fmt.Errorf("%w; delete the row to log in anew", err)
	}
	return value, err
}

// Reseal seals anew, with Options.Key, every row that was sealed with one of the Former keys, and returns how
// many there were. Versions stay as they are. It may run under programs that use the table; a row that they
// write meanwhile has their seal.
func (s *Store) Reseal(ctx context.Context) (resealed int, err error) {
	if s.box == nil {
		return 0, errors.New("sqlstore: Reseal needs Options.Key")
	}
	var errs []error // about single rows
	for next := []byte{}; next != nil; {
		var page []row
		if page, next, err = s.page(ctx, next); err != nil {
			return resealed, errors.Join(append(errs, err)...)
		}
		for _, r := range page {
			value, changed, err := s.resealed(ctx, r)
			if err != nil {
				errs = append(errs, fmt.Errorf("sqlstore: the row of key %q: %w", r.key, err))
				if ctx.Err() != nil {
					return resealed, errors.Join(errs...)
				}
			}
			if !changed {
				continue
			}
			written, err := s.exec(ctx, "reseal", true, s.statements.reseal, r.key, r.version, value)
			if err != nil {
				return resealed, errors.Join(append(errs, fmt.Errorf("sqlstore: the row of key %q: %w", r.key, err))...)
			}
			if written {
				resealed++
			}
		}
	}
	return resealed, errors.Join(errs...)
}

// resealed is what a row is to hold, and whether it does not yet.
func (s *Store) resealed(ctx context.Context, r row) (value []byte, changed bool, err error) {
	if !r.sealed {
		return nil, false, nil
	}
	value, changed, err = s.box.Reseal(ctx, r.value, string(r.key), string(r.version))
	return value, changed && err == nil, err
}

type row struct {
	key, version, value []byte
	sealed              bool
}

// page returns some rows from the key first on, and the key to go on with, nil at the end.
func (s *Store) page(ctx context.Context, first []byte) (page []row, next []byte, err error) {
	const size = 100
	err = s.try(ctx, "read the rows", true, func() error {
		page = page[:0]
		rows, err := s.db.QueryContext(ctx, s.statements.rows, first, size)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var r row
			if err := rows.Scan(&r.key, &r.version, &r.value, &r.sealed); err != nil {
				return err
			}
			page = append(page, r)
		}
		return rows.Err()
	})
	if err == nil && len(page) == size {
		next = append(page[size-1].key, 0)
	}
	return page, next, err
}

package sqlstore

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"time"

	"github.com/evergrant/evergrant/tokenstore/seal"
)

// batch is how many keys one statement reads or deletes.
const batch = 1000

// Keys implements tokenstore.Lister. It holds no connection while the loop's body runs.
func (s *Store) Keys(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for first := []byte(prefix); ; {
			keys, err := s.keys(ctx, "list", s.statements.keys, first, batch)
			if err != nil {
				yield("", err)
				return
			}
			for _, key := range keys {
				if !bytes.HasPrefix(key, []byte(prefix)) || !yield(string(key), nil) {
					return
				}
			}
			if len(keys) < batch {
				return
			}
			first = append(keys[batch-1], 0) // the least key after the last one
		}
	}
}

// keys returns the keys that a statement yields.
func (s *Store) keys(ctx context.Context, what, statement string, args ...any) (keys [][]byte, err error) {
	err = s.try(ctx, what, true, func() error {
		keys = keys[:0]
		rows, err := s.db.QueryContext(ctx, statement, args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var key []byte
			if err := rows.Scan(&key); err != nil {
				return err
			}
			keys = append(keys, key)
		}
		return rows.Err()
	})
	return keys, err
}

// Purge deletes what SwapUntil has given an end that has passed by the database's clock, and returns how
// much that was, also beside an error. It deletes a thousand rows at a time, so that no lock is held for long;
// several processes may purge at once. Nothing calls it by itself.
func (s *Store) Purge(ctx context.Context) (purged int, err error) {
	for {
		keys, err := s.keys(ctx, "purge", s.statements.purge, batch)
		purged += len(keys)
		if err == nil && s.board != nil && len(keys) > 0 {
			err = s.tell(ctx, keys)
		}
		if err != nil || len(keys) < batch {
			return purged, err
		}
	}
}

// Probe implements tokenstore.Prober: it inserts a row and rolls that back. It takes no key's place.
func (s *Store) Probe(ctx context.Context) error {
	if s.box != nil {
		err := s.box.Probe(ctx)
		if errors.Is(err, seal.ErrNoKey) {
			if isEmpty, failed := s.isEmpty(ctx); failed != nil || isEmpty {
				err = failed // a key is made at the first Swap
			}
		}
		if err != nil {
			return err
		}
	}
	key := "probe-" + rand.Text()
	args := []any{[]byte(key), []byte{0}, []byte{0}, false, s.statements.time(time.Time{})}
	if s.board != nil {
		args = append(args, s.board.number(key))
	}
	return s.try(ctx, "probe", true, func() error {
		tx, err := s.db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		_, err = tx.ExecContext(ctx, s.statements.create, args...)
		return err
	})
}

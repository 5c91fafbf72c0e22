package sqlstore_test

import (
	"context"
	"database/sql"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/seal"
	"github.com/evergrant/evergrant/tokenstore/sqlstore"
)

func keys(all ...seal.KeySource) []seal.KeySource { return all }

func rawKey(text string) seal.KeySource { return seal.RawKey([]byte(text)) }

func TestSealed(t *testing.T) {
	both(t, func(t *testing.T, open func(sqlstore.Options) (*sqlstore.Store, *sql.DB)) {
		s, db := open(sqlstore.Options{Key: key(1)})
		const secret = "the-refresh-token"
		version := put(t, s, "k", "", secret)
		put(t, s, "other", "", "o")
		requireValue(t, s, "k", secret)
		var stored []byte
		row := func(query string, args ...any) error {
			return db.QueryRowContext(t.Context(), query, args...).Scan(&stored)
		}
		require.NoError(t, row(`SELECT value FROM `+table(t.Name())+` WHERE key = $1`, []byte("k")))
		require.NotContains(t, string(stored), secret)
		exec := func(query string, args ...any) {
			t.Helper()
			_, err := db.ExecContext(t.Context(), query, args...)
			require.NoError(t, err)
		}
		update := `UPDATE ` + table(t.Name()) + ` SET `

		wrong, _ := open(sqlstore.Options{Key: key(2)})
		require.ErrorIs(t, load(t.Context(), wrong, "k"), seal.ErrWrongKey)
		require.ErrorIs(t, load(t.Context(), wrong, "absent"), tokenstore.ErrNotFound)
		clear, _ := open(sqlstore.Options{})
		require.ErrorIs(t, load(t.Context(), clear, "k"), seal.ErrWrongKey)

		exec(update+`version = $1 WHERE key = $2`, []byte("another"), []byte("k"))
		require.ErrorIs(t, load(t.Context(), s, "k"), tokenstore.ErrDamaged, "bound to its version")
		exec(update+`version = $1 WHERE key = $2`, []byte(version), []byte("k"))
		requireValue(t, s, "k", secret)
		exec(update+`key = $1 WHERE key = $2`, []byte("moved"), []byte("k"))
		require.ErrorIs(t, load(t.Context(), s, "moved"), tokenstore.ErrDamaged, "bound to its key")
		exec(update+`key = $1 WHERE key = $2`, []byte("k"), []byte("moved"))

		exec(update+`value = $1, sealed = false WHERE key = $2`, []byte("planted"), []byte("k"))
		require.ErrorIs(t, load(t.Context(), s, "k"), seal.ErrWrongKey, "a store that seals believes nothing in the clear")
		exec(update+`value = $1, sealed = true WHERE key = $2`, stored[:len(stored)-1], []byte("k"))
		require.ErrorIs(t, load(t.Context(), s, "k"), tokenstore.ErrDamaged)
		exec(update+`value = $1 WHERE key = $2`, []byte{}, []byte("k"))
		require.ErrorIs(t, load(t.Context(), s, "k"), tokenstore.ErrDamaged)
		exec(update+`sealed = false WHERE key = $1`, []byte("k"))
		require.ErrorIs(t, load(t.Context(), clear, "k"), tokenstore.ErrDamaged, "nothing is no value")
		requireValue(t, s, "other", "o")
	})
}

func TestRotation(t *testing.T) {
	both(t, func(t *testing.T, open func(sqlstore.Options) (*sqlstore.Store, *sql.DB)) {
		before, _ := open(sqlstore.Options{Key: key(1)})
		versions := make(map[string]tokenstore.Version)
		for i := range 102 { // more than are read at once
			name := string(rune('a'+i%26)) + string(rune('a'+i/26))
			versions[name] = put(t, before, name, "", "value of "+name)
		}
		during, _ := open(sqlstore.Options{Key: key(2), Former: keys(key(1))})
		versions["aa"] = put(t, during, "aa", versions["aa"], "value of aa")
		require.ErrorIs(t, load(t.Context(), before, "aa"), seal.ErrWrongKey)
		resealed, err := during.Reseal(t.Context())
		require.NoError(t, err)
		require.Equal(t, 101, resealed)
		after, _ := open(sqlstore.Options{Key: key(2)})
		for name, version := range versions {
			require.Equal(t, version, requireValue(t, after, name, "value of "+name), "the version stays")
		}
		resealed, err = during.Reseal(t.Context())
		require.NoError(t, err)
		require.Zero(t, resealed)
	})
}

// One bad row keeps no other from the new key.
func TestResealGoesOnBesideBadRows(t *testing.T) {
	both(t, func(t *testing.T, open func(sqlstore.Options) (*sqlstore.Store, *sql.DB)) {
		before, db := open(sqlstore.Options{Key: key(1)})
		for _, name := range []string{"a", "b damaged", "c", "e"} {
			put(t, before, name, "", "value of "+name)
		}
		lost, _ := open(sqlstore.Options{Key: key(3)})
		put(t, lost, "d lost", "", "value")
		clear, _ := open(sqlstore.Options{})
		put(t, clear, "f in the clear", "", "value")
		_, err := db.ExecContext(t.Context(), `UPDATE `+table(t.Name())+` SET version = $1 WHERE key = $2`, []byte("another"), []byte("b damaged"))
		require.NoError(t, err)

		during, _ := open(sqlstore.Options{Key: key(2), Former: keys(key(1))})
		resealed, err := during.Reseal(t.Context())
		require.Equal(t, 3, resealed)
		require.ErrorIs(t, err, tokenstore.ErrDamaged)
		require.ErrorIs(t, err, seal.ErrWrongKey)
		require.ErrorContains(t, err, "b damaged")
		require.ErrorContains(t, err, "d lost")
		require.NotContains(t, err.Error(), "f in the clear", "it has no seal to be replaced")
		after, _ := open(sqlstore.Options{Key: key(2)})
		for _, name := range []string{"a", "c", "e"} {
			requireValue(t, after, name, "value of "+name)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = during.Reseal(ctx)
		require.ErrorIs(t, err, context.Canceled)
	})
}

// maker is a KeySource that has no key until one is wanted.
type maker struct {
	mu  sync.Mutex
	key []byte
}

func (m *maker) Key(_ context.Context, create bool) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.key == nil && create {
		m.key = make([]byte, 32)
	}
	return m.key, nil
}

func TestFirstKey(t *testing.T) {
	both(t, func(t *testing.T, open func(sqlstore.Options) (*sqlstore.Store, *sql.DB)) {
		source := &maker{}
		s, _ := open(sqlstore.Options{Key: source})
		require.NoError(t, s.Probe(t.Context()))
		require.Nil(t, source.key, "Probe makes no key")
		put(t, s, "k", "", "v")
		requireValue(t, s, "k", "v")

		source.key = nil // lost
		require.ErrorIs(t, load(t.Context(), s, "k"), seal.ErrWrongKey)
		_, err := s.Swap(t.Context(), "l", "", []byte("v"))
		require.ErrorIs(t, err, seal.ErrNoKey)
		require.ErrorIs(t, s.Probe(t.Context()), seal.ErrNoKey)
		require.Nil(t, source.key, "a new key would hide that the old one is lost")
	})
}

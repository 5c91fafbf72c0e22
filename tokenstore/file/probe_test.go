package file_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

func requireNoGrant(t *testing.T, s *file.Store, dir string) {
	t.Helper()
	require.Empty(t, files(t, dir))
	requireNoTemporary(t, dir)
	for key, err := range s.Keys(t.Context(), "") {
		require.NoError(t, err)
		t.Errorf("key %q", key)
	}
}

func TestProbe(t *testing.T) {
	for name, make := range map[string]func(testing.TB, string) *file.Store{"sealed": sealed, "plain": plain} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a", "b")
			s := make(t, dir)
			require.NoError(t, s.Probe(t.Context()))
			requireNoGrant(t, s, dir)
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			require.ErrorIs(t, s.Probe(ctx), context.Canceled)
		})
	}
}

func TestProbeWhereNoFolderCanBe(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(blocked, nil, 0o600))
	require.Error(t, sealed(t, blocked).Probe(t.Context()))
	require.Error(t, sealed(t, filepath.Join(blocked, "d")).Probe(t.Context()))
}

// prober is a key that a person may have to be asked for, and that can tell whether it is to be had.
type prober struct {
	t       *testing.T
	verdict error
}

func (p prober) Key(context.Context, bool) ([]byte, error) {
	p.t.Error("Probe asked for the key")
	return nil, errors.New("asked")
}

func (p prober) Probe(context.Context) error { return p.verdict }

func TestProbeOfTheKey(t *testing.T) {
	locked := errors.New("locked")
	for name, c := range map[string]struct {
		key  seal.KeySource
		want error
	}{
		"none yet":             {&vault{}, nil},
		"cannot be had":        {&vault{err: locked}, locked},
		"can tell, no":         {prober{t, locked}, locked},
		"can tell, yes":        {prober{t, nil}, nil},
		"no passphrase so far": {seal.Passphrase(filepath.Join(t.TempDir(), "salt"), "open sesame"), nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, file.Options{Key: c.key})
			err := s.Probe(t.Context())
			require.ErrorIs(t, err, c.want)
			if v, ok := c.key.(*vault); ok {
				require.Zero(t, v.made)
			}
			requireNoGrant(t, s, dir)
		})
	}
}

func TestProbeWhereTheKeyIsLost(t *testing.T) {
	dir := t.TempDir()
	put(t, sealed(t, dir), "k", "v")
	require.ErrorIs(t, open(t, dir, file.Options{Key: &vault{}}).Probe(t.Context()), seal.ErrWrongKey)
}

package durable_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore/internal/durable"
)

func requireContent(t *testing.T, path, want string) {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(data))
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 1, "something is left beside the file")
}

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, durable.Write(t.Context(), path, []byte("first"), true))
	requireContent(t, path, "first")
	require.NoError(t, durable.Write(t.Context(), path, []byte("second"), false))
	requireContent(t, path, "second")
	require.ErrorIs(t, durable.Write(t.Context(), path, []byte("third"), true), fs.ErrExist)
	requireContent(t, path, "second")
	require.NoError(t, os.WriteFile(path+durable.Suffix, []byte("half"), 0o600))
	require.NoError(t, durable.Write(t.Context(), path, []byte("fourth"), false))
	requireContent(t, path, "fourth")
}

// A disk that cannot be looked at is no sign of another writer.
func TestFileThatCannotBeSeenIsNotTakenForOneThatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, durable.MustBeAbsent(path))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.ErrorIs(t, durable.MustBeAbsent(path), fs.ErrExist)
	err := durable.MustBeAbsent(path + "\x00")
	require.Error(t, err)
	require.NotErrorIs(t, err, fs.ErrExist)
}

func TestRemove(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	require.NoError(t, durable.Write(t.Context(), path, []byte("v"), true))
	require.NoError(t, os.WriteFile(path+durable.Suffix, []byte("half"), 0o600))
	require.NoError(t, durable.Remove(t.Context(), path))
	require.NoFileExists(t, path)
	require.NoFileExists(t, path+durable.Suffix)
	require.NoError(t, durable.Remove(t.Context(), path))
}

func TestTry(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, durable.Try(t.Context(), filepath.Join(dir, "f"), []byte("v")))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
	require.ErrorIs(t, durable.Try(t.Context(), filepath.Join(dir, "missing", "f"), nil), fs.ErrNotExist)
}

func TestMakeFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	for range 2 {
		require.NoError(t, durable.MakeFolder(dir))
		require.DirExists(t, dir)
	}
	blocked := filepath.Join(dir, "file")
	require.NoError(t, os.WriteFile(blocked, nil, 0o600))
	require.Error(t, durable.MakeFolder(filepath.Join(blocked, "below")))
}

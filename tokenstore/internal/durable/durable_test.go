package durable_test

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
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

// What lies where the temporary file is to be made is replaced, not written to: it may be open to others, or a link.
func TestWhatALeftoverIsDoesNotMatter(t *testing.T) {
	dir := t.TempDir()
	path, elsewhere := filepath.Join(dir, "f"), filepath.Join(t.TempDir(), "elsewhere")
	require.NoError(t, os.WriteFile(elsewhere, []byte("mine"), 0o600))
	require.NoError(t, os.WriteFile(path+durable.Suffix, []byte("half of a longer one"), 0o666))
	open, err := os.Open(path + durable.Suffix)
	require.NoError(t, err)
	defer open.Close()
	if runtime.GOOS != "windows" { // where what is open is not removed
		require.NoError(t, durable.Write(t.Context(), path, []byte("first"), true))
		requireContent(t, path, "first")
		info, err := os.Stat(path)
		require.NoError(t, err)
		require.EqualValues(t, 0o600, info.Mode())
		seen, err := io.ReadAll(open)
		require.NoError(t, err)
		require.Equal(t, "half of a longer one", string(seen), "who has it open reads along")
	}
	if os.Symlink(elsewhere, path+durable.Suffix) == nil {
		require.NoError(t, durable.Write(t.Context(), path, []byte("second"), false))
		requireContent(t, path, "second")
		requireContent(t, elsewhere, "mine")
	}
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

// Whoever logs out is told when the grant is still there.
func TestRemoveSaysWhatStays(t *testing.T) {
	for _, name := range []string{"f", "f" + durable.Suffix} {
		dir := t.TempDir()
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name, "in the way"), 0o700))
		require.Error(t, durable.Remove(t.Context(), filepath.Join(dir, "f")), name)
	}
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

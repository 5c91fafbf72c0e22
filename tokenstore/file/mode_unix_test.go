//go:build !windows

package file_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func requireMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, want, info.Mode()&(fs.ModePerm|fs.ModeSticky), "%s is %s", path, info.Mode())
}

func TestModes(t *testing.T) {
	above := filepath.Join(t.TempDir(), "above")
	dir := filepath.Join(above, "d")
	s := plain(t, dir)
	put(t, s, "k", "v")
	release, err := s.Hold(t.Context(), "attempt")
	require.NoError(t, err)
	defer release()
	requireMode(t, above, 0o700)
	requireMode(t, dir, 0o700)
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 3)
	for _, entry := range entries {
		requireMode(t, filepath.Join(dir, entry.Name()), 0o600)
	}
}

func TestLooseFileIsClosed(t *testing.T) {
	dir := t.TempDir()
	s := plain(t, dir)
	put(t, s, "k", "v")
	path := files(t, dir)[0]
	require.NoError(t, os.Chmod(path, 0o664))
	_, _, err := s.Load(t.Context(), "k")
	require.NoError(t, err)
	requireMode(t, path, 0o600)
}

func TestLooseFolderIsClosed(t *testing.T) {
	dir := t.TempDir()
	s := plain(t, dir)
	version := put(t, s, "k", "v")
	require.NoError(t, os.Chmod(dir, 0o775))
	_, _, err := s.Load(t.Context(), "k")
	require.NoError(t, err)
	requireMode(t, dir, 0o755)
	require.NoError(t, os.Chmod(dir, 0o777))
	_, err = s.Swap(t.Context(), "k", version, []byte("w"))
	require.NoError(t, err)
	requireMode(t, dir, 0o755)
}

func TestSharedFolderIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := plain(t, dir)
	put(t, s, "k", "v")
	require.NoError(t, os.Chmod(dir, 0o777|fs.ModeSticky))
	_, _, err := s.Load(t.Context(), "k")
	require.ErrorIs(t, err, fs.ErrPermission)
	_, err = s.Swap(t.Context(), "other", "", []byte("v"))
	require.ErrorIs(t, err, fs.ErrPermission)
	requireMode(t, dir, 0o777|fs.ModeSticky)
}

func TestWhatIsNoRegularFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "key-k.grant"), 0o700))
	_, _, err := plain(t, dir).Load(t.Context(), "k")
	require.ErrorIs(t, err, fs.ErrInvalid)
}

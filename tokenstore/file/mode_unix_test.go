//go:build !windows

package file_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
)

// A mask that lets the group write, as Ubuntu's, would have every folder of these tests refused.
func init() { syscall.Umask(0o022) }

func requireMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, want, info.Mode()&(fs.ModePerm|fs.ModeSticky), "%s is %s", path, info.Mode())
}

// Shows MCP25-SEC-1.
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
	var notices []string
	stop := s.Notify(func(key, text string) { notices = append(notices, key+": "+text) })
	for round, use := range map[string]func(){
		"Load": func() {
			_, _, err := s.Load(t.Context(), "k")
			require.NoError(t, err)
		},
		"Keys": func() {
			for _, err := range s.Keys(t.Context(), "") {
				require.NoError(t, err)
			}
		},
		"Swap": func() {
			_, err := s.Swap(t.Context(), "k", "", []byte("w"))
			require.ErrorIs(t, err, tokenstore.ErrConflict)
		},
	} {
		require.NoError(t, os.Chmod(path, 0o664))
		use()
		requireMode(t, path, 0o600)
		require.Len(t, notices, 1, round)
		require.True(t, strings.HasPrefix(notices[0], "k: ") && strings.Contains(notices[0], path), notices[0])
		use()
		require.Len(t, notices, 1, "told again of a file that is closed")
		notices = nil
	}
	stop()
	require.NoError(t, os.Chmod(path, 0o640))
	_, _, err := s.Load(t.Context(), "k")
	require.NoError(t, err)
	requireMode(t, path, 0o600)
	require.Empty(t, notices)
}

func requireFolderRefused(t *testing.T, s *file.Store, version tokenstore.Version) {
	t.Helper()
	_, _, err := s.Load(t.Context(), "k")
	require.ErrorIs(t, err, fs.ErrPermission)
	_, err = s.Swap(t.Context(), "k", version, []byte("w"))
	require.ErrorIs(t, err, fs.ErrPermission)
	require.ErrorIs(t, s.Probe(t.Context()), fs.ErrPermission)
	require.ErrorIs(t, s.Reseal(t.Context()), fs.ErrPermission)
	_, err = s.Hold(t.Context(), "attempt")
	require.ErrorIs(t, err, fs.ErrPermission)
	for key, err := range s.Keys(t.Context(), "") {
		require.ErrorIs(t, err, fs.ErrPermission)
		require.Empty(t, key)
	}
}

// Others may have put something there already, so the folder is not closed to them quietly.
func TestFolderThatOthersCanWriteToIsRefused(t *testing.T) {
	for _, mode := range []fs.FileMode{0o777, 0o770, 0o702, 0o777 | fs.ModeSticky} {
		t.Run(mode.String(), func(t *testing.T) {
			dir := t.TempDir()
			s := sealed(t, dir)
			version := put(t, s, "k", "v")
			require.NoError(t, os.Chmod(dir, mode))
			requireFolderRefused(t, s, version)
			requireMode(t, dir, mode)
			require.NoError(t, os.Chmod(dir, 0o755))
			_, _, err := s.Load(t.Context(), "k")
			require.NoError(t, err)
		})
	}
}

// The text says what to do where Kubernetes opens the folder to the pod's group at every start.
func TestFolderThatFsGroupHasOpenedIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	s := sealed(t, dir)
	version := put(t, s, "k", "v")
	require.NoError(t, os.Chmod(dir, 0o770|fs.ModeSetgid))
	requireFolderRefused(t, s, version)
	_, _, err := s.Load(t.Context(), "k")
	require.ErrorContains(t, err, "fsGroupChangePolicy: OnRootMismatch")
}

func TestWhatBelongsToAnotherUserIsRefused(t *testing.T) {
	if os.Geteuid() != 0 { // who cannot give files away
		_, _, err := sealed(t, "/").Load(t.Context(), "k")
		require.ErrorIs(t, err, fs.ErrPermission)
		return
	}
	dir := t.TempDir()
	s := sealed(t, dir)
	version := put(t, s, "k", "v")
	require.NoError(t, os.Chown(files(t, dir)[0], 12345, 12345))
	_, _, err := s.Load(t.Context(), "k")
	require.ErrorIs(t, err, fs.ErrPermission)
	_, err = s.Swap(t.Context(), "k", version, []byte("w"))
	require.ErrorIs(t, err, fs.ErrPermission)
	require.NoError(t, os.Chown(files(t, dir)[0], 0, 0))
	require.NoError(t, os.Chown(dir, 12345, 12345))
	requireFolderRefused(t, s, version)
}

func TestWhatIsNoRegularFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "key-k.grant"), 0o700))
	_, _, err := plain(t, dir).Load(t.Context(), "k")
	require.ErrorIs(t, err, fs.ErrInvalid)

	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "key-pipe.grant"), 0o600))
	_, _, err = plain(t, dir).Load(t.Context(), "pipe") // does not wait for somebody to write
	require.ErrorIs(t, err, fs.ErrInvalid)
}

// Closing the file that a link names would be an attack on that file.
func TestLinkInThePlaceOfAGrantIsNotFollowed(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	put(t, plain(t, elsewhere), "k", "v")
	target := files(t, elsewhere)[0]
	require.NoError(t, os.Chmod(target, 0o644))
	require.NoError(t, os.Symlink(target, filepath.Join(dir, "key-k.grant")))
	_, _, err := plain(t, dir).Load(t.Context(), "k")
	require.ErrorIs(t, err, syscall.ELOOP)
	requireMode(t, target, 0o644)
}

// People put links to their folders of settings.
func TestLinkToTheFolderIsFollowed(t *testing.T) {
	dir, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	require.NoError(t, os.Symlink(dir, link))
	put(t, plain(t, link), "k", "v")
	require.Len(t, files(t, dir), 1)
	require.NoError(t, os.Chmod(dir, 0o777))
	_, _, err := plain(t, link).Load(t.Context(), "k")
	require.ErrorIs(t, err, fs.ErrPermission)
}

package file_test

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/seal"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

func open(t testing.TB, dir string, options file.Options) *file.Store {
	t.Helper()
	s, err := file.New(dir, options)
	require.NoError(t, err)
	return s
}

func sealed(t testing.TB, dir string) *file.Store {
	t.Helper()
	return open(t, dir, file.Options{Key: seal.RawKey(sealing)})
}

func plain(t testing.TB, dir string) *file.Store {
	t.Helper()
	return open(t, dir, file.Options{Plaintext: true})
}

// put creates a key.
func put(t testing.TB, s *file.Store, key, value string) tokenstore.Version {
	t.Helper()
	version, err := s.Swap(t.Context(), key, "", []byte(value))
	require.NoError(t, err)
	return version
}

// files returns the paths of the folder's files that hold grants.
func files(t testing.TB, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "key-*.grant"))
	require.NoError(t, err)
	return paths
}

func requireNoTemporary(t testing.TB, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestContract(t *testing.T) {
	for name, open := range map[string]func(testing.TB, string) *file.Store{"sealed": sealed, "plain": plain} {
		t.Run(name, func(t *testing.T) {
			storetest.Run(t, func(t testing.TB) tokenstore.Store { return open(t, filepath.Join(storetest.Place(t), "a", "b")) })
		})
	}
}

// Shows MCP25-SEC-1.
func TestNewRefuses(t *testing.T) {
	key := seal.RawKey(sealing)
	for name, c := range map[string]struct {
		dir     string
		options file.Options
	}{
		"neither":        {"d", file.Options{}},
		"both":           {"d", file.Options{Key: key, Plaintext: true}},
		"both, in a way": {"d", file.Options{Former: []seal.KeySource{key}, Plaintext: true}},
		"no folder":      {"", file.Options{Key: key}},
		"no key":         {"d", file.Options{Key: seal.RawKey(nil)}},
		"short key":      {"d", file.Options{Key: seal.RawKey(sealing[:16])}},
		"long key":       {"d", file.Options{Key: seal.RawKey(append(sealing, 0))}},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := file.New(c.dir, c.options)
			require.Error(t, err)
			require.Nil(t, s)
		})
	}
}

func TestNewDoesNothingToTheDisk(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	s := sealed(t, dir)
	_, _, err := s.Load(t.Context(), "k")
	require.ErrorIs(t, err, tokenstore.ErrNotFound)
	held, err := s.Held(t.Context(), "attempt")
	require.NoError(t, err)
	require.False(t, held)
	for key, err := range s.Keys(t.Context(), "") {
		require.NoError(t, err)
		t.Errorf("key %q in a folder that does not exist", key)
	}
	require.NoDirExists(t, dir)
}

func TestTheFolderIsThatOfNew(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	s := sealed(t, "d")
	t.Chdir(t.TempDir())
	put(t, s, "k", "v")
	require.Len(t, files(t, filepath.Join(dir, "d")), 1)
}

func TestTwoStoresOverOneFolder(t *testing.T) {
	dir := t.TempDir()
	a, b := sealed(t, dir), sealed(t, dir)
	first := put(t, a, "k", "first")
	value, version, err := b.Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "first", string(value))
	require.Equal(t, first, version)
	_, err = b.Swap(t.Context(), "k", first, []byte("second"))
	require.NoError(t, err)
	_, err = a.Swap(t.Context(), "k", first, []byte("third"))
	require.ErrorIs(t, err, tokenstore.ErrConflict)

	release, err := a.Hold(t.Context(), "attempt")
	require.NoError(t, err)
	defer release()
	held, err := b.Held(t.Context(), "attempt")
	require.NoError(t, err)
	require.True(t, held)
}

// Names must be good on Windows too, where reserved words, case, final dots and colons matter.
func TestFileNames(t *testing.T) {
	dir := t.TempDir()
	s := plain(t, dir)
	put(t, s, "https:%2F%2Fop.example/cli/me", "v")
	require.FileExists(t, filepath.Join(dir, "key-https%3a%252%46%252%46op.example%2fcli%2fme.grant"))
	for _, key := range []string{"con", "CON", "nul.txt", "a.", "a ", "", "..", strings.Repeat("ü", 500)} {
		put(t, s, key, "v")
	}
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	good := regexp.MustCompile(`^(key-[a-z0-9._%~-]{0,128}\.grant|lock-[0-9a-f])$`)
	for _, entry := range entries {
		require.Regexp(t, good, entry.Name())
	}
	require.Len(t, files(t, dir), 9)
}

func TestSealedShowsNoValue(t *testing.T) {
	dir := t.TempDir()
	put(t, sealed(t, dir), "k", "SECRET-value")
	put(t, plain(t, dir), "p", "in the clear")
	for i, want := range []string{"key-k.grant", "key-p.grant"} {
		path := files(t, dir)[i]
		require.Equal(t, want, filepath.Base(path))
		data, err := os.ReadFile(path)
		require.NoError(t, err)
		require.NotContains(t, string(data), "SECRET")
		require.Equal(t, i == 1, strings.HasSuffix(string(data), "in the clear"))
	}
}

func TestLeftoverOfADeadWriter(t *testing.T) {
	for name, value := range map[string][]byte{"replace": []byte("w"), "delete": nil} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := sealed(t, dir)
			version := put(t, s, "k", "v")
			require.NoError(t, os.WriteFile(files(t, dir)[0]+".tmp", []byte("half"), 0o600))
			for key, err := range s.Keys(t.Context(), "") {
				require.NoError(t, err)
				require.Equal(t, "k", key)
			}
			_, err := s.Swap(t.Context(), "k", version, value)
			require.NoError(t, err)
			requireNoTemporary(t, dir)
		})
	}
}

func TestWhereNoFolderCanBe(t *testing.T) {
	blocked := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(blocked, nil, 0o600))
	var pathError *os.PathError
	for name, dir := range map[string]string{"is a file": blocked, "below a file": filepath.Join(blocked, "d")} {
		t.Run(name, func(t *testing.T) {
			s := sealed(t, dir)
			_, err := s.Swap(t.Context(), "k", "", []byte("v"))
			require.Error(t, err)
			require.NotErrorIs(t, err, tokenstore.ErrConflict)
			if name == "below a file" {
				require.ErrorAs(t, err, &pathError)
			}
			_, err = s.Hold(t.Context(), "attempt")
			require.Error(t, err)
		})
	}
}

func TestSwapWaitsForTheLockUntilItsContextEnds(t *testing.T) {
	dir := t.TempDir()
	holding := keyFunc(func() ([]byte, error) { // runs while the Swap holds the lock
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, err := sealed(t, dir).Swap(ctx, "k", "", []byte("other"))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		return sealing, nil
	})
	_, err := open(t, dir, file.Options{Key: holding}).Swap(t.Context(), "k", "", []byte("v"))
	require.NoError(t, err)
	value, _, err := sealed(t, dir).Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "v", string(value))
}

// keyFunc is a KeySource that never makes a key.
type keyFunc func() ([]byte, error)

func (f keyFunc) Key(context.Context, bool) ([]byte, error) { return f() }

// A person who deletes the folder logs everybody out.
func TestDeletedFolderIsAbsent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s := plain(t, dir)
	version := put(t, s, "k", "v")
	for _, gone := range []string{dir, filepath.Dir(dir)} {
		require.NoError(t, os.RemoveAll(gone))
		_, _, err := s.Load(t.Context(), "k")
		require.ErrorIs(t, err, tokenstore.ErrNotFound)
		_, err = s.Swap(t.Context(), "k", version, []byte("w"))
		require.ErrorIs(t, err, tokenstore.ErrConflict)
		version = put(t, s, "k", "v")
	}
}

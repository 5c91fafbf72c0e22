package file_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// requireLeftAlone checks that key cannot be loaded, for the reason want, and that no Swap touches its file.
func requireLeftAlone(t *testing.T, s *file.Store, path, key string, version tokenstore.Version, want error) {
	t.Helper()
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	value, _, err := s.Load(t.Context(), key)
	require.ErrorIs(t, err, want)
	require.NotErrorIs(t, err, tokenstore.ErrNotFound)
	require.Nil(t, value)
	require.NotContains(t, err.Error(), "SECRET")
	for _, old := range []tokenstore.Version{"", version} {
		for _, value := range [][]byte{[]byte("new"), nil} {
			_, err := s.Swap(t.Context(), key, old, value)
			require.ErrorIs(t, err, want)
		}
	}
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

func TestWrongKey(t *testing.T) {
	other := bytes.Repeat([]byte{7}, 32)
	lost := keyFunc(func() ([]byte, error) { return nil, nil })
	for name, c := range map[string]struct{ wrote, reads file.Options }{
		"another key":         {file.Options{Key: seal.RawKey(sealing)}, file.Options{Key: seal.RawKey(other)}},
		"lost key":            {file.Options{Key: seal.RawKey(sealing)}, file.Options{Key: lost}},
		"sealed, read plain":  {file.Options{Key: seal.RawKey(sealing)}, file.Options{Plaintext: true}},
		"plain, read unseals": {file.Options{Plaintext: true}, file.Options{Key: seal.RawKey(sealing)}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			version := put(t, open(t, dir, c.wrote), "k", "SECRET")
			requireLeftAlone(t, open(t, dir, c.reads), files(t, dir)[0], "k", version, seal.ErrWrongKey)
		})
	}
}

func TestDamagedFile(t *testing.T) {
	for mode, make := range map[string]func(testing.TB, string) *file.Store{"sealed": sealed, "plain": plain} {
		for name, damage := range map[string]func([]byte) []byte{
			"empty":          func([]byte) []byte { return nil },
			"zeroes":         func(d []byte) []byte { return bytes.Repeat([]byte{0}, len(d)) },
			"cut short":      func(d []byte) []byte { return d[:len(d)-1] },
			"longer":         func(d []byte) []byte { return append(d, 'x') },
			"value lost":     func(d []byte) []byte { return d[:bytes.Index(d, []byte("\n\n"))+2] },
			"head only":      func(d []byte) []byte { return d[:bytes.Index(d, []byte("\n\n"))] },
			"value changed":  func(d []byte) []byte { d[len(d)-1] ^= 1; return d },
			"key changed":    func(d []byte) []byte { return bytes.Replace(d, []byte(`key "k"`), []byte(`key "j"`), 1) },
			"no key":         func(d []byte) []byte { return bytes.Replace(d, []byte(`key "k"`), []byte(`kex "k"`), 1) },
			"key not quoted": func(d []byte) []byte { return bytes.Replace(d, []byte(`key "k"`), []byte(`key k`), 1) },
			"no version":     func(d []byte) []byte { return bytes.Replace(d, []byte("version "), []byte("versiom "), 1) },
			"neither": func(d []byte) []byte {
				return []byte(strings.NewReplacer("\nsealed\n", "\nsealer\n", "plain ", "plein ").Replace(string(d)))
			},
			"a line more":       func(d []byte) []byte { return bytes.Replace(d, []byte("\n\n"), []byte("\nmore\n\n"), 1) },
			"somebody's":        func([]byte) []byte { return []byte(`{"access_token":"SECRET"}`) },
			"of another format": func(d []byte) []byte { return bytes.Replace(d, []byte("evergrant"), []byte("elsewhere"), 1) },
		} {
			t.Run(mode+", "+name, func(t *testing.T) {
				dir := t.TempDir()
				s := make(t, dir)
				version := put(t, s, "k", "SECRET")
				path := files(t, dir)[0]
				data, err := os.ReadFile(path)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(path, damage(data), 0o600))
				requireLeftAlone(t, s, path, "k", version, tokenstore.ErrDamaged)
			})
		}
	}
}

// The version is sealed with the value: with an older one a stale Swap would pass.
func TestChangedVersion(t *testing.T) {
	dir := t.TempDir()
	s := sealed(t, dir)
	version := put(t, s, "k", "SECRET")
	path := files(t, dir)[0]
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	data = bytes.Replace(data, []byte("version "+version), []byte("version "+strings.Repeat("A", len(version))), 1)
	require.NoError(t, os.WriteFile(path, data, 0o600))
	requireLeftAlone(t, s, path, "k", version, tokenstore.ErrDamaged)
}

func TestFileOfAnotherKey(t *testing.T) {
	dir := t.TempDir()
	s := sealed(t, dir)
	version := put(t, s, "k", "SECRET")
	moved := filepath.Join(dir, "key-j.grant")
	require.NoError(t, os.Rename(files(t, dir)[0], moved))
	requireLeftAlone(t, s, moved, "j", version, tokenstore.ErrDamaged)
	for key, err := range s.Keys(t.Context(), "") {
		require.ErrorIs(t, err, tokenstore.ErrDamaged)
		require.Empty(t, key)
	}
}

func TestFileOfANewerProgram(t *testing.T) {
	dir := t.TempDir()
	s := sealed(t, dir)
	path := filepath.Join(dir, "key-k.grant")
	require.NoError(t, os.WriteFile(path, []byte("evergrant grant 2\nwho knows"), 0o600))
	_, _, err := s.Load(t.Context(), "k")
	require.Error(t, err)
	require.NotErrorIs(t, err, tokenstore.ErrDamaged)
	require.NotErrorIs(t, err, tokenstore.ErrNotFound)
	_, err = s.Swap(t.Context(), "k", "", []byte("v"))
	require.Error(t, err)
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, "evergrant grant 2\nwho knows", string(data))
}

func TestDamagedFileHidesNoOtherKey(t *testing.T) {
	dir := t.TempDir()
	s := sealed(t, dir)
	for _, key := range []string{"a", "b", "c"} {
		put(t, s, key, "v")
	}
	require.NoError(t, os.WriteFile(filepath.Join(dir, "key-b.grant"), []byte("?"), 0o600))
	var keys []string
	var last error
	for key, err := range s.Keys(t.Context(), "") {
		require.NoError(t, last)
		if last = err; err == nil {
			keys = append(keys, key)
		}
	}
	require.Equal(t, []string{"a", "c"}, keys)
	require.ErrorIs(t, last, tokenstore.ErrDamaged)
}

// vault is a KeySource that makes its key when told to.
type vault struct {
	mu   sync.Mutex
	key  []byte
	made int
	err  error
}

func (v *vault) Key(_ context.Context, create bool) ([]byte, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.key == nil && create {
		v.key = bytes.Repeat([]byte{byte(v.made + 1)}, 32)
		v.made++
	}
	return v.key, v.err
}

func TestKeyIsMadeInAnEmptyFolderOnly(t *testing.T) {
	dir, v := t.TempDir(), &vault{}
	s := open(t, dir, file.Options{Key: v})
	_, _, err := s.Load(t.Context(), "k")
	require.ErrorIs(t, err, tokenstore.ErrNotFound)
	require.Zero(t, v.made)
	version := put(t, s, "k", "v")
	require.Equal(t, 1, v.made)

	v.key = nil // somebody reset the keychain
	_, _, err = s.Load(t.Context(), "k")
	require.ErrorIs(t, err, seal.ErrWrongKey)
	_, err = s.Swap(t.Context(), "other", "", []byte("v"))
	require.ErrorIs(t, err, seal.ErrWrongKey)
	_, err = s.Swap(t.Context(), "k", version, nil)
	require.ErrorIs(t, err, seal.ErrWrongKey)
	require.Equal(t, 1, v.made)

	require.NoError(t, os.Remove(files(t, dir)[0])) // as the error says
	put(t, s, "other", "v")
	require.Equal(t, 2, v.made)
}

func TestKeySourceThatFails(t *testing.T) {
	dir, cause := t.TempDir(), errors.New("vault sealed")
	for name, c := range map[string]struct {
		source seal.KeySource
		want   error
	}{
		"error":    {&vault{err: cause}, cause},
		"short":    {&vault{key: []byte("SECRET")}, nil},
		"no bytes": {&vault{key: []byte{}}, nil},
		"no key":   {keyFunc(func() ([]byte, error) { return nil, nil }), nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := open(t, dir, file.Options{Key: c.source}).Swap(t.Context(), "k", "", []byte("v"))
			require.Error(t, err)
			require.NotContains(t, err.Error(), "SECRET")
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
			require.Empty(t, files(t, dir))
		})
	}
}

func TestRawKeyKeepsNoSlice(t *testing.T) {
	dir, key := t.TempDir(), bytes.Clone(sealing)
	s := open(t, dir, file.Options{Key: seal.RawKey(key)})
	clear(key)
	put(t, s, "k", "v")
	_, _, err := sealed(t, dir).Load(t.Context(), "k")
	require.NoError(t, err)
}

func TestKeyIsNotShown(t *testing.T) {
	key := seal.RawKey(sealing)
	options := file.Options{Key: key}
	s := open(t, t.TempDir(), options)
	var shown strings.Builder
	for _, v := range []any{key, options, &options, s, reflect.ValueOf(s).Elem().Interface(), struct{ s *file.Store }{s}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
			fmt.Fprintf(&shown, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&shown, nil)).Info("", "v", v)
		slog.New(slog.NewJSONHandler(&shown, nil)).Info("", "v", v)
		require.NoError(t, json.NewEncoder(&shown).Encode(v))
	}
	require.NotContains(t, shown.String(), "012345678")
	require.NotContains(t, shown.String(), "48 49 50 51")
	require.NotContains(t, shown.String(), "30313233")
	require.NotContains(t, shown.String(), "MDEyMzQ1")
}

package file_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// next is the key after sealing.
var next = []byte("vutsrqponmlkjihgfedcba9876543210")

// keyed opens a folder with a key and former ones.
func keyed(t testing.TB, dir string, key []byte, former ...[]byte) *file.Store {
	t.Helper()
	options := file.Options{Key: seal.RawKey(key)}
	for _, f := range former {
		options.Former = append(options.Former, seal.RawKey(f))
	}
	return open(t, dir, options)
}

func requireLoads(t testing.TB, s *file.Store, key, want string) tokenstore.Version {
	t.Helper()
	value, version, err := s.Load(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, want, string(value))
	return version
}

func TestFormerKeyOpensAndTheNextSwapSealsAnew(t *testing.T) {
	dir := t.TempDir()
	version := put(t, sealed(t, dir), "k", "v")
	rotating, done := keyed(t, dir, next, sealing), keyed(t, dir, next)
	require.Equal(t, version, requireLoads(t, rotating, "k", "v"))
	_, _, err := done.Load(t.Context(), "k")
	require.ErrorIs(t, err, seal.ErrWrongKey)
	_, err = rotating.Swap(t.Context(), "k", version, []byte("w"))
	require.NoError(t, err)
	requireLoads(t, done, "k", "w")
	requireLoads(t, keyed(t, dir, sealing, next), "k", "w") // a program that has not changed over yet
}

func TestReseal(t *testing.T) {
	dir := t.TempDir()
	old := sealed(t, dir)
	versions := map[string]tokenstore.Version{}
	for _, key := range []string{"a", "b", "c/d", ""} {
		versions[key] = put(t, old, key, "value of "+key)
	}
	rotating, done := keyed(t, dir, next, sealing), keyed(t, dir, next)
	require.NoError(t, rotating.Reseal(t.Context()))
	for key, version := range versions {
		require.Equal(t, version, requireLoads(t, done, key, "value of "+key))
		_, _, err := old.Load(t.Context(), key)
		require.ErrorIs(t, err, seal.ErrWrongKey)
	}
	before, err := os.ReadFile(files(t, dir)[0])
	require.NoError(t, err)
	require.NoError(t, rotating.Reseal(t.Context()))
	after, err := os.ReadFile(files(t, dir)[0])
	require.NoError(t, err)
	require.Equal(t, before, after, "a file that had the key was written again")
	_, err = done.Swap(t.Context(), "a", versions["a"], []byte("w")) // of a caller that loaded it before
	require.NoError(t, err)
}

func TestResealLeavesAloneWhatItCannotOpen(t *testing.T) {
	dir := t.TempDir()
	put(t, sealed(t, dir), "good", "v")
	put(t, keyed(t, dir, bytes.Repeat([]byte{7}, 32)), "lost", "v")
	put(t, sealed(t, dir), "spoilt", "v")
	put(t, plain(t, dir), "plain", "v")
	spoilt := filepath.Join(dir, "key-spoilt.grant")
	data, err := os.ReadFile(spoilt)
	require.NoError(t, err)
	data[len(data)-1] ^= 1
	require.NoError(t, os.WriteFile(spoilt, data, 0o600))

	err = keyed(t, dir, next, sealing).Reseal(t.Context())
	require.ErrorIs(t, err, seal.ErrWrongKey)
	require.ErrorIs(t, err, tokenstore.ErrDamaged)
	requireLoads(t, keyed(t, dir, next), "good", "v")
	left, err := os.ReadFile(spoilt)
	require.NoError(t, err)
	require.Equal(t, data, left)
	require.NoError(t, plain(t, dir).Reseal(t.Context()))
	requireLoads(t, plain(t, dir), "plain", "v")
}

func TestResealUnderAContextThatHasEnded(t *testing.T) {
	dir := t.TempDir()
	put(t, sealed(t, dir), "k", "v")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, keyed(t, dir, next, sealing).Reseal(ctx), context.Canceled)
	requireLoads(t, sealed(t, dir), "k", "v")
}

// Programs with the old key and with the new one count in one file while it is resealed, to and fro.
func TestKeyIsChangedUnderRunningPrograms(t *testing.T) {
	dir := t.TempDir()
	old, rotated := keyed(t, dir, sealing, next), keyed(t, dir, next, sealing)
	var group, resealers sync.WaitGroup
	for _, job := range []string{"increment old", "increment new"} {
		cmd, out := process(t, job, dir)
		group.Go(func() {
			_, _ = io.Copy(io.Discard, out)
			if err := cmd.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
	for _, s := range []*file.Store{old, rotated} {
		group.Go(func() {
			if err := increment(t.Context(), s, perProcess); err != nil {
				t.Error(err)
			}
		})
	}
	ctx, stop := context.WithCancel(t.Context())
	for _, s := range []*file.Store{old, rotated} {
		resealers.Go(func() {
			for {
				if err := s.Reseal(ctx); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
				if ctx.Err() != nil {
					return
				}
			}
		})
	}
	group.Wait()
	stop()
	resealers.Wait()
	require.NoError(t, rotated.Reseal(t.Context()))
	requireLoads(t, keyed(t, dir, next), "n", strconv.Itoa(4*perProcess))
}

// A key that a vault holds gives way to one in another vault, which has none yet.
func TestNewKeyIsMadeBesideFilesOfFormerKeys(t *testing.T) {
	for name, use := range map[string]func(*file.Store) error{
		"Swap":   func(s *file.Store) error { _, err := s.Swap(t.Context(), "other", "", []byte("w")); return err },
		"Reseal": func(s *file.Store) error { return s.Reseal(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			put(t, sealed(t, dir), "k", "v")
			v := &vault{}
			require.ErrorIs(t, use(open(t, dir, file.Options{Key: v})), seal.ErrWrongKey)
			require.Zero(t, v.made, "a key was made beside a file that needs another one")
			s := open(t, dir, file.Options{Key: v, Former: []seal.KeySource{seal.RawKey(sealing)}})
			require.NoError(t, s.Probe(t.Context()))
			require.Zero(t, v.made)
			require.NoError(t, use(s))
			require.Equal(t, 1, v.made)
			require.NoError(t, s.Reseal(t.Context()))
			requireLoads(t, open(t, dir, file.Options{Key: v}), "k", "v")
		})
	}
}

func TestFilesSealedWithAPassphrase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "grants")
	locked := func(words string) *file.Store {
		return open(t, dir, file.Options{Key: seal.Passphrase(filepath.Join(dir, "salt"), words)})
	}
	version := put(t, locked("open sesame"), "k", "v")
	require.Equal(t, version, requireLoads(t, locked("open sesame"), "k", "v"))
	for key, err := range locked("open sesame").Keys(t.Context(), "") {
		require.NoError(t, err)
		require.Equal(t, "k", key)
	}
	requireLeftAlone(t, locked("open barley"), files(t, dir)[0], "k", version, seal.ErrWrongKey)
	_, err := locked("open barley").Swap(t.Context(), "other", "", []byte("w"))
	require.ErrorIs(t, err, seal.ErrWrongKey)
	require.ErrorIs(t, locked("open barley").Probe(t.Context()), seal.ErrWrongKey)
	require.NoError(t, os.Remove(filepath.Join(dir, "salt")))
	_, err = locked("open sesame").Swap(t.Context(), "other", "", []byte("w"))
	require.ErrorIs(t, err, seal.ErrWrongKey)
	require.NoFileExists(t, filepath.Join(dir, "salt"), "a new salt hides that the old one is lost")
}

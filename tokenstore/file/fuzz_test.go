package file_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// FuzzFile puts anything in the place of a grant's file. A sealed store gives what was written, or an error; one in the clear
// may give what somebody else has written with its hash, under this key only. Neither quotes it.
func FuzzFile(f *testing.F) {
	const key = "https:%2F%2Fop.example/app/alice"
	recorded, err := filepath.Glob("testdata/grants/*")
	require.NoError(f, err)
	require.NotEmpty(f, recorded)
	for _, name := range recorded {
		data, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(data)
	}
	dirs := map[bool]string{false: f.TempDir(), true: f.TempDir()}
	stores := map[bool]*file.Store{false: plain(f, dirs[false]), true: sealed(f, dirs[true])}
	for _, s := range stores {
		put(f, s, key, "SECRET")
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for isSealed, s := range stores {
			require.NoError(t, os.WriteFile(files(t, dirs[isSealed])[0], data, 0o600))
			value, version, err := s.Load(t.Context(), key)
			if err != nil {
				require.Nil(t, value)
				require.NotErrorIs(t, err, tokenstore.ErrNotFound, "it is there, and nobody should write over it")
				require.NotContains(t, err.Error(), "SECRET")
				_, err = s.Swap(t.Context(), key, "", []byte("v"))
				require.Error(t, err)
				continue
			}
			require.NotEmpty(t, version)
			if isSealed {
				require.Contains(t, []string{"SECRET", "recorded"}, string(value))
			}
		}
	})
}

// Files that were written before are read for ever.
func TestRecordedFiles(t *testing.T) {
	for name, options := range map[string]file.Options{"plain": {Plaintext: true}, "sealed": {Key: seal.RawKey(sealing)}} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := open(t, dir, options)
			const key = "https:%2F%2Fop.example/app/alice"
			put(t, s, key, "v")
			data, err := os.ReadFile(filepath.Join("testdata", "grants", name))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(files(t, dir)[0], data, 0o600))
			value, _, err := s.Load(t.Context(), key)
			require.NoError(t, err)
			require.Equal(t, "recorded", string(value))
		})
	}
}

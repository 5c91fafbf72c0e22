package keychain_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
)

// list gathers the keys of a store that start with prefix.
func list(t testing.TB, l tokenstore.Lister, prefix string) (keys []string, err error) {
	t.Helper()
	for key, err := range l.Keys(t.Context(), prefix) {
		if err != nil {
			require.Empty(t, key)
			return keys, err
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func TestKeysOfManyGrants(t *testing.T) {
	f, dir := newFake(), t.TempDir()
	s := over(t, f, dir)
	versions := make(map[string]tokenstore.Version)
	for range 100 { // their list is longer than an item
		key := string(noise(100))
		versions[key] = swap(t, s, key, "", []byte("v"))
	}
	require.Greater(t, f.all()-f.users(), 1)
	keys, err := list(t, over(t, f, dir), "")
	require.NoError(t, err)
	require.Len(t, keys, 100)
	for _, key := range keys {
		require.Contains(t, versions, key)
		swap(t, s, key, versions[key], nil)
	}
	require.Zero(t, f.all(), "the list goes with its last key")
}

func TestListIsWrittenWhenAKeyComesOrGoesOnly(t *testing.T) {
	f := newFake()
	s := over(t, f, t.TempDir())
	version := swap(t, s, "k", "", []byte("v"))
	f.trouble = func(_, user string) error {
		if user == "key-list" {
			return errCut
		}
		return nil
	}
	version = swap(t, s, "k", version, []byte("w"))
	_, err := s.Swap(t.Context(), "other", "", []byte("v"))
	require.ErrorIs(t, err, errCut, "a key that cannot be listed does not come")
	require.Equal(t, 1, f.users())
	_, err = list(t, s, "")
	require.ErrorIs(t, err, errCut)

	swap(t, s, "k", version, nil)
	f.trouble = nil
	keys, err := list(t, s, "")
	require.NoError(t, err)
	require.Empty(t, keys, "only what is there is yielded")
}

func TestDamagedList(t *testing.T) {
	for name, text := range map[string]string{"no item of ours": "SECRET", "no list": ""} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			s := over(t, f, t.TempDir())
			version := swap(t, s, "k", "", []byte("v"))
			f.items["test:key-list"] = text
			if text == "" { // a grant, but no list
				f.items["test:key-list"] = f.items["test:grant-k"]
			}
			before := f.items["test:key-list"]
			_, err := list(t, s, "")
			require.ErrorIs(t, err, tokenstore.ErrDamaged)
			require.NotContains(t, err.Error(), "SECRET")
			_, err = s.Swap(t.Context(), "other", "", []byte("v"))
			require.ErrorIs(t, err, tokenstore.ErrDamaged)
			version = swap(t, s, "k", version, []byte("w"))
			swap(t, s, "k", version, nil)
			require.Equal(t, before, f.items["test:key-list"])
			require.Zero(t, f.users(), "a grant does without the list")
		})
	}
}

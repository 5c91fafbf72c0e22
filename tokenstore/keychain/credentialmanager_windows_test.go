package keychain_test

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/keychain"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

// TestCredentialManager checks the contract on the Credential Manager itself, under Wine: on a machine that
// somebody uses it would leave credentials of its own among theirs.
func TestCredentialManager(t *testing.T) {
	if os.Getenv("EVERGRANT_E2E") != "1" {
		t.Skip("writes into the Credential Manager; EVERGRANT_E2E=1 allows it")
	}
	storetest.Run(t, func(t testing.TB) tokenstore.Store {
		place := storetest.Place(t)
		s, err := keychain.New("evergrant-test "+filepath.Base(place), keychain.Options{Dir: place})
		require.NoError(t, err)
		return s
	})
}

// A grant over the limit of an item lies in several, and Windows is asked for no more than it takes.
func TestCredentialManagerTakesLargeGrants(t *testing.T) {
	if os.Getenv("EVERGRANT_E2E") != "1" {
		t.Skip("writes into the Credential Manager; EVERGRANT_E2E=1 allows it")
	}
	s, err := keychain.New("evergrant-test "+rand.Text(), keychain.Options{Dir: t.TempDir()})
	require.NoError(t, err)
	var version tokenstore.Version
	for _, size := range []int{1, 2560, 64 << 10} {
		want := noise(size)
		version, err = s.Swap(t.Context(), "k", version, want)
		require.NoError(t, err)
		value, at, err := s.Load(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, version, at)
		require.Equal(t, want, value)
	}
	_, err = s.Swap(t.Context(), "k", version, nil)
	require.NoError(t, err)
}

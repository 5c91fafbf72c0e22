package file_test

import (
	"os"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is read and written again and again leaves nothing open, whatever the garbage collector closes.
func TestNothingStaysOpen(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	open := func() int {
		entries, err := os.ReadDir("/proc/self/fd")
		require.NoError(t, err)
		return len(entries)
	}
	s := sealed(t, t.TempDir())
	version := put(t, s, "k", "v")
	before := open()
	for range 20 {
		value, _, err := s.Load(t.Context(), "k")
		require.NoError(t, err)
		version, err = s.Swap(t.Context(), "k", version, value)
		require.NoError(t, err)
		for _, err := range s.Keys(t.Context(), "") {
			require.NoError(t, err)
		}
		release, err := s.Hold(t.Context(), "attempt")
		require.NoError(t, err)
		_, err = s.Held(t.Context(), "attempt")
		require.NoError(t, err)
		release()
		require.NoError(t, s.Probe(t.Context()))
	}
	require.LessOrEqual(t, open(), before)
}

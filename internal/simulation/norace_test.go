//go:build !race

package simulation

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const underRace = false

// TestSeedsReplay runs seeds twice: the second history is the first one, step by step. (The race detector has goroutines
// run in a random order.)
func TestSeedsReplay(t *testing.T) {
	for seed := uint64(1); seed <= 30; seed++ {
		require.Equal(t, run(t, seed).log, run(t, seed).log, "seed %d", seed)
	}
}

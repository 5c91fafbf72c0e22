package machine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/machine"
)

func TestBothClocksGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := machine.Real{}.Now()
		require.Positive(t, before.Mono)
		time.Sleep(time.Hour)
		wall, mono := machine.Real{}.Now().Since(before)
		require.Equal(t, time.Hour, wall)
		require.Equal(t, time.Hour, mono)
	})
}

func TestWallHasNoMonotonicPart(t *testing.T) {
	wall := machine.Real{}.Now().Wall
	require.Equal(t, wall, wall.Round(0))
}

type simulated struct{ machine.Real }

func (s simulated) Machine() machine.Machine { return s }

func TestASimulatedProcessBringsItsMachine(t *testing.T) {
	require.Equal(t, simulated{}, machine.Of(simulated{}))
	require.Equal(t, machine.Real{}, machine.Of(nil))
}

func TestUpToStaysWithinItsBounds(t *testing.T) {
	require.Zero(t, machine.UpTo(machine.Real{}, 0))
	require.Zero(t, machine.UpTo(machine.Real{}, -1))
	seen := map[time.Duration]bool{}
	for range 1000 {
		d := machine.UpTo(machine.Real{}, 3)
		require.True(t, d >= 0 && d <= 3)
		seen[d] = true
	}
	require.Len(t, seen, 4, "both bounds are reached")
}

func TestIDsDiffer(t *testing.T) {
	require.NotEqual(t, machine.ID(machine.Real{}), machine.ID(machine.Real{}))
	require.Regexp(t, `^[0-9a-z]+$`, machine.ID(machine.Real{}))
}

func TestNameIsAFingerprint(t *testing.T) {
	require.Equal(t, machine.Name(machine.Real{}), machine.Name(machine.Real{}))
	require.Equal(t, "laptop", machine.Name(renamed{}))
	require.Regexp(t, `^[0-9a-f]{16}$`, machine.Fingerprint("0123\n"))
	require.NotEqual(t, machine.Fingerprint("0123\n"), machine.Fingerprint("4567\n"))
	for _, none := range []string{"", "\n", "uninitialized\n"} {
		require.Empty(t, machine.Fingerprint(none), "a machine without an id has no name")
	}
}

type renamed struct{ machine.Real }

func (renamed) Name() string { return "laptop" }

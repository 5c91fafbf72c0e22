package simulation

import (
	"flag"
	"os"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

var (
	from    = flag.Uint64("from", 1, "the first seed that TestSeeds runs")
	seeds   = flag.Uint64("seeds", 500, "how many seeds TestSeeds runs")
	only    = flag.Uint64("seed", 0, "the one seed that TestSeeds runs, step by step with -v; 0: many")
	seconds = flag.Int("seconds", 0, "how long TestSoak runs; 0: not at all")
)

func TestMain(m *testing.M) {
	// See "Seeds" in the package's documentation. A collector that runs often would change the order as well.
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(512 << 20)
	goleak.VerifyTestMain(m)
}

// outcome is what became of a seed.
type outcome struct {
	ruling string
	log    []string
}

// run runs the history of a seed.
func run(t *testing.T, seed uint64) (got outcome) {
	synctest.Test(t, func(t *testing.T) {
		s := newScheduler(seed)
		if *only != 0 {
			s.loud = func(line string) { t.Log(line) }
		}
		w := newWorld(t, seed, drawScenario(s.chance), s)
		w.history()
		got = outcome{w.judge.ruling, w.log}
	})
	return got
}

// fail reports a seed that violates something.
func fail(t *testing.T, seed uint64, got outcome) {
	last := got.log[max(0, len(got.log)-60):]
	t.Errorf("seed %d: %s\nthe last steps:\n%s\nAgain: go test ./internal/simulation -run Seeds -seed %d -v",
		seed, got.ruling, strings.Join(last, "\n"), seed)
}

func TestSeeds(t *testing.T) {
	first, count := *from, *seeds
	if underRace {
		count /= 5
	}
	if *only != 0 {
		first, count = *only, 1
	}
	for seed := first; seed < first+count; seed++ {
		if got := run(t, seed); got.ruling != "" {
			fail(t, seed, got)
			return
		}
	}
}

// TestSoak runs seeds that nobody has run before for as long as it was told to.
func TestSoak(t *testing.T) {
	if *seconds == 0 {
		t.Skip("without -seconds")
	}
	first, until := uint64(time.Now().UnixNano())^uint64(os.Getpid())<<20, time.Now().Add(time.Duration(*seconds)*time.Second)
	seed := first
	for ; time.Now().Before(until); seed++ {
		if got := run(t, seed); got.ruling != "" {
			fail(t, seed, got)
			return
		}
	}
	t.Logf("%d seeds from %d on", seed-first, first)
}

// TestSeedsReplay runs seeds twice: the second history is the first one, step by step.
func TestSeedsReplay(t *testing.T) {
	if underRace {
		t.Skip("the race detector has goroutines run in a random order")
	}
	for seed := uint64(1); seed <= 30; seed++ {
		require.Equal(t, run(t, seed).log, run(t, seed).log, "seed %d", seed)
	}
}

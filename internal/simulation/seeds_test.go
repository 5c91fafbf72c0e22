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

	"go.uber.org/goleak"
)

var (
	from    = flag.Uint64("from", 1, "the first seed that TestSeeds runs")
	seeds   = flag.Uint64("seeds", 500, "how many seeds TestSeeds runs")
	only    = flag.Uint64("seed", 0, "the one seed that TestSeeds runs, step by step with -v; 0: many")
	seconds = flag.Int("seconds", 0, "how long TestSeeds runs new seeds; 0: it runs those of -from and -seeds")
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

// TestSeeds runs the histories of seeds, one after the other: so many of them, or, with -seconds, as many as fit, from
// one on that nobody has run before.
func TestSeeds(t *testing.T) {
	first, count := *from, *seeds
	if underRace {
		count /= 5
	}
	more := func(n uint64) bool { return n < count }
	switch {
	case *only != 0:
		first, count = *only, 1
	case *seconds != 0:
		first = uint64(time.Now().UnixNano()) ^ uint64(os.Getpid())<<20
		until := time.Now().Add(time.Duration(*seconds) * time.Second)
		more = func(uint64) bool { return time.Now().Before(until) }
	}
	n := uint64(0)
	for ; more(n); n++ {
		if got := run(t, first+n); got.ruling != "" {
			fail(t, first+n, got)
			return
		}
	}
	t.Logf("%d seeds from %d on", n, first)
}

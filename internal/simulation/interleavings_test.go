package simulation

import (
	"context"
	"flag"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore"
)

var every = flag.Bool("interleavings", false, "have TestInterleavings run every small world, not the quick ones alone")

// small is a world of two processes whose access token has ended and which both call once, with at most one crash and
// one store error, anywhere.
type small struct {
	server, store string
	crash, fails  bool
	quick         bool // run by a plain go test too
}

func (s small) String() string {
	return fmt.Sprintf("server %s, store %s, crash %v, store error %v", s.server, s.store, s.crash, s.fails)
}

// TestInterleavings runs small worlds in every order of their steps.
func TestInterleavings(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(100)) // so many worlds at a time need a collector
	total := 0
	for _, s := range []small{
		{"strict", "local", false, false, true},
		{"strict", "waiting", false, false, true},
		{"strict", "plain", false, false, true},
		{"strict", "local", true, false, true},
		{"strict", "waiting", true, false, false},
		{"strict", "plain", true, false, false},
		{"strict", "local", false, true, true},
		{"until used", "local", true, false, false},
		{"until used", "local", false, true, false},
		{"no kill", "local", true, false, false},
		{"strict", "local", true, true, false},
	} {
		if !s.quick && !*every || underRace && (s.crash || s.fails) {
			continue
		}
		began := time.Now()
		n := s.exhaust(t)
		t.Logf("%s: %d interleavings in %v", s, n, time.Since(began).Round(time.Millisecond))
		total += n
	}
	t.Logf("%d interleavings", total)
}

// exhaust runs every interleaving: each run follows the choices of the one before, but for the last that had an
// alternative left.
func (s small) exhaust(t *testing.T) (n int) {
	var path choices
	for more := true; more; more = path.next() {
		n++
		if ruling, log := s.run(t, &path); ruling != "" {
			t.Fatalf("interleaving %v of the small world (%s): %s\n%s", path.taken, s, ruling, strings.Join(log, "\n"))
		}
	}
	return n
}

// choices is a way through a tree.
type choices struct {
	taken, of []int
	depth     int
}

// choose returns which of n to take: as before, or the first of a place where nobody was.
func (c *choices) choose(n int) int {
	if n == 1 {
		return 0
	}
	if c.depth == len(c.taken) {
		c.taken, c.of = append(c.taken, 0), append(c.of, n)
	}
	if c.of[c.depth] != n {
		panic(fmt.Sprintf("the same choices lead elsewhere: %d of %d at %v", n, c.of[c.depth], c.taken[:c.depth]))
	}
	c.depth++
	return c.taken[c.depth-1]
}

// next goes to the next way; false when there is none.
func (c *choices) next() bool {
	c.taken, c.of = c.taken[:c.depth], c.of[:c.depth]
	c.depth = 0
	for i := len(c.taken) - 1; i >= 0; i-- {
		if c.taken[i]++; c.taken[i] < c.of[i] {
			c.taken, c.of = c.taken[:i+1], c.of[:i+1]
			return true
		}
	}
	return false
}

func (s small) policy() clienttest.Policy {
	switch s.server {
	case "until used":
		return clienttest.Policy{LeewayUntilUsed: true}
	case "no kill":
		return clienttest.Policy{KeepFamily: true}
	}
	return clienttest.Policy{}
}

// run runs one interleaving.
func (s small) run(t *testing.T, path *choices) (ruling string, log []string) {
	synctest.Test(t, func(t *testing.T) {
		sc := scenario{processes: 2, server: s.server, policy: s.policy(), store: s.store}
		sc.policy.Lifetime = time.Hour
		w := newWorld(t, 1, sc, newScheduler(1))
		w.pass(2 * time.Hour)
		for range 2 {
			w.call(w.start(), "token", "")
		}
		crash, fails := s.crash, s.fails
		for w.isBusy() && !w.judge.hasRuled() {
			moves := w.moves(crash, fails)
			m := moves[path.choose(len(moves))]
			m.do()
			crash, fails = crash && !m.crash, fails && !m.fails
			w.judge.examine()
		}
		w.aftermath()
		ruling, log = w.judge.ruling, w.log
	})
	return ruling, log
}

// move is one thing that can happen next.
type move struct {
	do           func()
	crash, fails bool
}

// moves lists what can happen next.
func (w *world) moves(crash, fails bool) []move {
	var all []move
	steps := w.ready()
	let := func(st *step, f fault) move {
		return move{do: func() { w.let(st, f) }, fails: f != ""}
	}
	for _, st := range steps {
		all = append(all, let(st, ""))
		if fails && (st.kind == "load" || st.kind == "swap") {
			all = append(all, let(st, "before"))
		}
		if fails && st.kind == "swap" {
			all = append(all, let(st, "after"))
		}
	}
	for _, p := range w.living() {
		if crash {
			all = append(all, move{do: func() { w.kill(p) }, crash: true})
		}
	}
	if len(steps) == 0 || slices.ContainsFunc(w.living(), func(p *process) bool { return w.wouldSeeMore(p, steps) }) {
		all = append(all, move{do: func() { w.pass(w.poll()) }})
	}
	return all
}

// wouldSeeMore reports whether a process that waits for time to pass would then see something new: that another one
// looks once more at what it has seen changes nothing, and is not worth an interleaving of its own.
func (w *world) wouldSeeMore(p *process, steps []*step) bool {
	if slices.ContainsFunc(steps, func(st *step) bool { return st.process == p }) {
		return false
	}
	_, version, _ := w.store.Load(context.Background(), w.storeKey)
	return p.loaded != version && p.loaded != tokenstore.Version("") && len(w.waitingOf(p)) > 0 || w.judge.holdsUnsaved(p)
}

func (w *world) waitingOf(p *process) []*caller {
	return slices.DeleteFunc(w.waiting(), func(c *caller) bool { return c.process != p })
}

// poll is how long a waiting process sleeps at most.
func (w *world) poll() time.Duration {
	if w.scenario.store == "local" {
		return 75 * time.Millisecond
	}
	return time.Second
}

// aftermath asks, when everything is well again, whether the grant has been kept.
func (w *world) aftermath() {
	w.calm = true
	w.drain(15 * time.Minute)
	w.pass(20 * time.Minute)
	w.drain(15 * time.Minute)
	if !w.judge.hasRuled() {
		w.pass(time.Hour)
		c := w.call(w.start(), "token", "")
		w.drain(15 * time.Minute)
		if !w.judge.final(c) {
			w.judge.rule("P6: the grant is not usable: %v", c.err)
		}
	}
	w.end()
}

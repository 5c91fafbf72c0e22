// Package peers_test measures Evergrant beside what else one could use, on the same work. `make bench` runs it and writes
// docs/performance.md. Without it every work is done once in a small size, so that the measuring stays right: what must be so
// whatever the machine (nobody's token is missing, Evergrant loses no grant) is asserted there and here.
package peers_test

import (
	"os"
	"testing"
	"time"
)

// output is the file that the page is written to; empty: the works are done small.
var output = os.Getenv("EVERGRANT_BENCH")

// size is how much of each work is done.
type size struct {
	rounds int
	turn   time.Duration // of what is repeated within a round

	connections int // that a busy program has to one host; more of them only burden the server

	crowds   []int         // goroutines that ask at once
	bursts   int           // rounds of a crowd, if there is time for so many
	duels    int           // further rounds of plain and Evergrant alone, likewise
	endpoint time.Duration // that a token request takes when a crowd waits for it

	slices int           // of the steady load
	slice  time.Duration // how long one is
	rate   int           // requests a second

	workers int
	revoked time.Duration // how long they go on after the token was revoked

	sessions []int
	starts   int // of a program
	ages     int // of the grant that processes share
}

var (
	small = size{
		rounds: 1, turn: time.Millisecond, connections: 8,
		crowds: []int{50}, bursts: 1, duels: 1, endpoint: 50 * time.Millisecond,
		slices: 1, slice: 100 * time.Millisecond, rate: 100,
		workers: 5, revoked: 500 * time.Millisecond,
		sessions: []int{1000}, starts: 1, ages: 1,
	}
	full = size{
		rounds: 15, turn: 100 * time.Millisecond, connections: 256,
		crowds: []int{1000, 10_000}, bursts: 7, duels: 28, endpoint: 100 * time.Millisecond,
		slices: 5, slice: 4 * time.Second, rate: 500,
		workers: 50, revoked: 600 * time.Millisecond,
		sessions: []int{100_000, 1_000_000}, starts: 25, ages: 7,
	}
)

func TestMain(m *testing.M) {
	if task := os.Getenv(shareTask); task != "" {
		shareGrant(task)
		return
	}
	os.Exit(m.Run())
}

func TestPerformance(t *testing.T) {
	s := small
	if output != "" {
		s = full
	}
	works := []struct {
		name string
		do   func(*testing.T, size) section
	}{
		{"overhead", overhead},
		{"loopback", loopback},
		{"expiry", expiry},
		{"steady load", steadyLoad},
		{"early revocation", revocation},
		{"cancellation", cancellation},
		{"sessions", sessions},
		{"processes", processes},
		{"start", start},
		{"proofs", proofs},
	}
	sections := make([]section, len(works))
	for i, work := range works {
		t.Run(work.name, func(t *testing.T) {
			if output == "" {
				t.Parallel() // what disturbs whom does not matter then
			}
			began := time.Now()
			done := work.do(t, s)
			for _, table := range done.tables {
				for _, row := range table.rows {
					t.Log(row)
				}
			}
			for _, f := range done.figures {
				t.Logf("%s: %s: %s", f.want, f.got, f.verdict())
			}
			t.Logf("took %v", time.Since(began).Round(time.Millisecond))
			sections[i] = done
		})
	}
	if output != "" && !t.Failed() {
		writePage(t, output, sections)
	}
}

// Package clock reads the two clocks that a token's life is measured by. The wall clock can be wrong
// and can jump; the monotonic clock stands still while a laptop sleeps. Neither alone can say
// whether a token or a lease has ended.
package clock

import "time"

// Reading is one look at both clocks.
type Reading struct {
	Wall time.Time     // without a monotonic part
	Mono time.Duration // since some fixed moment of this process
}

// Clock reads both clocks at once. System is the real one; a simulated world has its own, because its
// processes may disagree about the time.
type Clock interface{ Now() Reading }

// System is the machine's clock.
type System struct{}

var start = time.Now()

// century keeps every reading positive, so that a zero Mono can mean "never": a synctest bubble's clock
// begins long before the process does.
const century = 100 * 365 * 24 * time.Hour

// Now implements Clock.
func (System) Now() Reading {
	now := time.Now()
	return Reading{Wall: now.Round(0), Mono: now.Sub(start) + century}
}

// Since returns how far the wall clock and the monotonic clock went from then to r.
func (r Reading) Since(then Reading) (wall, mono time.Duration) {
	return r.Wall.Sub(then.Wall), r.Mono - then.Mono
}

// Of returns the clock of the process that uses store: a simulated process brings its own along with
// its store, every other one has the machine's.
func Of(store any) Clock {
	if c, ok := store.(interface{ Clock() Clock }); ok {
		return c.Clock()
	}
	return System{}
}

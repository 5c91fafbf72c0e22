// Package measure times several ways of doing the same work on a noisy machine: in turns, in many short rounds, so that
// what disturbs one disturbs all, and by medians.
package measure

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Way is one way of doing some work.
type Way struct {
	Name  string
	Do    func() error // the work
	Times int          // how often Do does it; 0: once
}

// Result is what doing the work once has cost in one way.
type Result struct {
	Name             string
	Median, Min, Max time.Duration   // of Rounds
	Rounds           []time.Duration // the mean of each round, in their order
	Bytes, Allocs    uint64          // of the whole process in the last round, so that a server in it counts too
}

// Contest gives each way its turn in every round, for about the given time, beginning with another one each round.
func Contest(rounds int, turn time.Duration, ways ...Way) ([]Result, error) {
	results := make([]Result, len(ways))
	for round := range rounds {
		for i := range ways {
			n := (round + i) % len(ways)
			mean, bytes, allocs, err := take(ways[n], turn)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", ways[n].Name, err)
			}
			results[n] = Result{Name: ways[n].Name, Rounds: append(results[n].Rounds, mean), Bytes: bytes, Allocs: allocs}
		}
	}
	for n := range results {
		results[n].Median, results[n].Min, results[n].Max = Middle(results[n].Rounds)
	}
	return results, nil
}

// Middle returns the median of values, of which there is at least one, the smallest and the largest.
func Middle[T cmp.Ordered](values []T) (median, least, most T) {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2], sorted[0], sorted[len(sorted)-1]
}

// take does the work again and again for about a turn. It begins with an empty heap, and pays for the garbage that it makes.
func take(w Way, turn time.Duration) (mean time.Duration, bytes, allocs uint64, err error) {
	if err := w.Do(); err != nil { // what is needed once is not counted
		return 0, 0, 0, err
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, began := 0, time.Now()
	for batch := 1; time.Since(began) < turn; batch = min(2*batch, 256) {
		for range batch {
			if err := w.Do(); err != nil {
				return 0, 0, 0, err
			}
		}
		n += batch * max(w.Times, 1)
	}
	passed := time.Since(began)
	runtime.ReadMemStats(&after)
	return passed / time.Duration(n), (after.TotalAlloc - before.TotalAlloc) / uint64(n), (after.Mallocs - before.Mallocs) / uint64(n), nil
}

// Table writes rows as a Markdown table.
func Table(w io.Writer, head []string, rows [][]string) {
	fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat(" --- |", len(head)))
	for _, row := range rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(row, " | "))
	}
}

// Show is d with three digits.
func Show(d time.Duration) string {
	switch {
	case d < 10*time.Microsecond:
		return fmt.Sprintf("%d ns", d.Nanoseconds())
	case d < time.Millisecond:
		return fmt.Sprintf("%.3g µs", float64(d.Nanoseconds())/1e3)
	}
	return fmt.Sprintf("%.3g ms", float64(d.Nanoseconds())/1e6)
}

// Ratio is the median of the rounds' quotients, with two digits: what disturbs a round disturbs both of its turns.
func Ratio(of, to Result) string { return fmt.Sprintf("%.2f", Quotient(of, to)) }

// Quotient is Ratio as a number.
func Quotient(of, to Result) float64 {
	median, _, _ := Middle(quotients(of, to))
	return median
}

func quotients(of, to Result) []float64 {
	all := make([]float64, len(of.Rounds))
	for i := range all {
		all[i] = float64(of.Rounds[i]) / float64(to.Rounds[i])
	}
	return all
}

// Noise is how far from 1 a run may have put the Quotient of two ways to do the same: the further end of the interval that
// holds the median with a probability of 95 % (by the ranks of the rounds, whatever their distribution).
func Noise(of, to Result) float64 {
	sorted := slices.Sorted(slices.Values(quotients(of, to)))
	n := float64(len(sorted))
	rank := max(int(n/2-0.98*math.Sqrt(n)), 0)
	return max(1-sorted[rank], sorted[len(sorted)-1-rank]-1, 0)
}

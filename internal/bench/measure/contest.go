// Package measure times several ways of doing the same work on a noisy machine: in turns, in many short rounds, so that
// what disturbs one disturbs all, and by medians.
package measure

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Way is one way of doing some work.
type Way struct {
	Name string
	Do   func() error // the work, once
}

// Result is what doing the work once has cost in one way.
type Result struct {
	Name             string
	Median, Min, Max time.Duration // of the rounds' means
	Bytes, Allocs    uint64        // of the whole process, so that a server in it counts too
}

// Contest gives each way its turn in every round, for about the given time, beginning with another one each round.
func Contest(rounds int, turn time.Duration, ways ...Way) ([]Result, error) {
	means := make([][]time.Duration, len(ways))
	results := make([]Result, len(ways))
	for round := range rounds {
		for i := range ways {
			n := (round + i) % len(ways)
			mean, bytes, allocs, err := take(ways[n], turn)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", ways[n].Name, err)
			}
			means[n] = append(means[n], mean)
			results[n] = Result{Name: ways[n].Name, Bytes: bytes, Allocs: allocs}
		}
	}
	for n := range results {
		slices.Sort(means[n])
		results[n].Min, results[n].Median, results[n].Max = means[n][0], means[n][len(means[n])/2], means[n][len(means[n])-1]
	}
	return results, nil
}

// take does the work again and again for about a turn.
func take(w Way, turn time.Duration) (mean time.Duration, bytes, allocs uint64, err error) {
	if err := w.Do(); err != nil { // what is needed once is not counted
		return 0, 0, 0, err
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	n, began := 0, time.Now()
	for batch := 1; time.Since(began) < turn; batch = min(2*batch, 256) {
		for range batch {
			if err := w.Do(); err != nil {
				return 0, 0, 0, err
			}
		}
		n += batch
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

// Ratio is the quotient of two medians, with two digits.
func Ratio(of, to Result) string { return fmt.Sprintf("%.2f", float64(of.Median)/float64(to.Median)) }

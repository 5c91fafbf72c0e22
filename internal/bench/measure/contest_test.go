package measure_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/bench/measure"
)

func TestContestTakesTurns(t *testing.T) {
	var order strings.Builder
	last := ""
	way := func(name string, d time.Duration) measure.Way {
		return measure.Way{Name: name, Do: func() error {
			if last != name {
				order.WriteString(name)
			}
			last = name
			for began := time.Now(); time.Since(began) < d; {
			}
			return nil
		}}
	}
	results, err := measure.Contest(4, time.Millisecond, way("a", 10*time.Microsecond), way("b", 100*time.Microsecond))
	require.NoError(t, err)
	require.Equal(t, "ababa", order.String(), "the second round begins with the other way, which has just had its turn")
	require.Len(t, results, 2)
	for i, least := range []time.Duration{10 * time.Microsecond, 100 * time.Microsecond} {
		r := results[i]
		require.GreaterOrEqual(t, r.Min, least)
		require.LessOrEqual(t, r.Min, r.Median)
		require.LessOrEqual(t, r.Median, r.Max)
	}
}

func TestContestFailsWithTheWork(t *testing.T) {
	broken := errors.New("broken")
	_, err := measure.Contest(1, time.Millisecond, measure.Way{Name: "a", Do: func() error { return broken }})
	require.ErrorIs(t, err, broken)
}

func TestTable(t *testing.T) {
	var out strings.Builder
	measure.Table(&out, []string{"x", "y"}, [][]string{{"1", "2"}})
	require.Equal(t, "| x | y |\n| --- | --- |\n| 1 | 2 |\n", out.String())
}

func TestShow(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"999 ns": 999, "9999 ns": 9999, "10 µs": 10_000, "1.23 ms": 1_234_000, "123 µs": 123_456, "12.3 ms": 12_345_678,
	} {
		require.Equal(t, want, measure.Show(d))
	}
}

func TestAWayThatDoesItsWorkSeveralTimes(t *testing.T) {
	results, err := measure.Contest(1, 10*time.Millisecond, measure.Way{Name: "a", Times: 1000, Do: func() error {
		time.Sleep(time.Millisecond)
		return nil
	}})
	require.NoError(t, err)
	require.GreaterOrEqual(t, results[0].Median, time.Microsecond)
	require.Less(t, results[0].Median, time.Millisecond)
}

func TestQuotientComparesRoundByRound(t *testing.T) {
	slow := measure.Result{Rounds: []time.Duration{20, 200, 2000}}
	quick := measure.Result{Rounds: []time.Duration{10, 100, 100}}
	require.Equal(t, 2.0, measure.Quotient(slow, quick))
	require.Equal(t, "2.00", measure.Ratio(slow, quick))
}

func TestNoise(t *testing.T) {
	one := measure.Result{Rounds: slices.Repeat([]time.Duration{100}, 100)}
	require.Zero(t, measure.Noise(one, one))
	other := measure.Result{}
	for i := range 100 { // quotients from 0.6 to 1.59
		other.Rounds = append(other.Rounds, time.Duration(60+i))
	}
	require.InDelta(t, 0.19, measure.Noise(other, one), 1e-9, "the ranks 40 and 59")
	require.InDelta(t, 0.4, measure.Noise(measure.Result{Rounds: []time.Duration{60, 100}}, measure.Result{Rounds: []time.Duration{100, 100}}), 1e-9)
}

func TestMiddle(t *testing.T) {
	values := []int{3, 1, 2}
	median, least, most := measure.Middle(values)
	require.Equal(t, []int{2, 1, 3}, []int{median, least, most})
	require.Equal(t, []int{3, 1, 2}, values)
}

package peers_test

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/bench/measure"
)

const (
	waiters  = 15
	patience = 50 * time.Millisecond
)

// cancellation has callers of an ended token leave before the renewal is over.
func cancellation(t *testing.T, s size) section {
	endpoint := 2 * s.endpoint
	entrants := []contestant{evergrant, xoauth2, google, msal}
	stages, clients := make([]*stage, len(entrants)), make([][]*http.Client, len(entrants))
	for i, c := range entrants {
		stages[i] = newStage(t, s, c)
		clients[i] = stages[i].dress(t, 2*s.bursts, c.ended)
	}
	time.Sleep(pause)
	late, left := make([][]time.Duration, len(entrants)), make([][]time.Duration, len(entrants))
	failed, lost := make([]int, len(entrants)), make([]int, len(entrants))
	var timers []time.Duration // how late the machine itself is
	for round := range s.bursts {
		for turn := range entrants {
			i := (round + turn) % len(entrants)
			st := stages[i]
			st.slow(endpoint)
			left[i] = append(left[i], st.keepDeadline(clients[i][2*round])...)
			fails, trigger := st.cancelTrigger(clients[i][2*round+1])
			failed[i] += fails
			late[i] = append(late[i], trigger)
			for _, hc := range clients[i][2*round : 2*round+2] {
				if call(t.Context(), hc, st.url) != nil {
					lost[i]++
				}
			}
		}
		timers = append(timers, lateTimers()...)
	}
	rows := table{head: []string{"", fmt.Sprintf("late at its own deadline of %v", patience), "late when it is cancelled", fmt.Sprintf("waiters failed of %d", waiters*s.bursts), fmt.Sprintf("grants that failed later, of %d", 2*s.bursts)}}
	rows.add("a bare timer", span(timers), "", "", "")
	for i, c := range entrants {
		rows.add(c.name, span(left[i]), span(late[i]), fmt.Sprint(failed[i]), fmt.Sprint(lost[i]))
	}
	require.Zero(t, failed[0]+lost[0], "somebody was hurt by another's cancellation")
	typical, earliest, latest := measure.Middle(append(left[0], late[0]...))
	require.GreaterOrEqual(t, earliest, time.Duration(0), "somebody gave up before he had to")
	_, _, timer := measure.Middle(timers)
	return section{
		title: "6. Callers who leave",
		text: fmt.Sprintf("%d callers of a client whose token has ended wait for a token request that takes %v. In one half of the rounds all have a deadline of %v. "+
			"In the other the one that came first, and so triggered the renewal, is cancelled after %v, and %d wait on. Afterwards each grant is used again.",
			waiters+1, endpoint, patience, patience, waiters),
		tables: []table{rows},
		figures: []figure{
			most("mostly at most 1 ms late", typical, time.Millisecond, ""),
			most(fmt.Sprintf("never later than a bare timer of this run, %s, and 1 ms", show(timer)), latest, timer+time.Millisecond, ""),
			most("waiters failed by the trigger's cancellation", failed[0], 0, ""),
		},
	}
}

// keepDeadline has everybody ask with a deadline of his own, and returns how late each of them is back.
func (s *stage) keepDeadline(hc *http.Client) []time.Duration {
	return together(func() time.Duration {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		deadline, _ := ctx.Deadline()
		_ = call(ctx, hc, s.url)
		return time.Since(deadline)
	})
}

// lateTimers is keepDeadline of callers who do nothing else than wait.
func lateTimers() []time.Duration {
	return together(func() time.Duration {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		deadline, _ := ctx.Deadline()
		<-ctx.Done()
		return time.Since(deadline)
	})
}

func together(do func() time.Duration) []time.Duration {
	all := make([]time.Duration, waiters+1)
	var group sync.WaitGroup
	for i := range all {
		group.Go(func() { all[i] = do() })
	}
	group.Wait()
	return all
}

// cancelTrigger cancels the caller who came first, and returns how many of the others failed and how late he was back.
func (s *stage) cancelTrigger(hc *http.Client) (failed int, late time.Duration) {
	ctx, cancel := context.WithCancel(context.Background())
	asked := len(s.as.Requests())
	var trigger sync.WaitGroup
	var back time.Time
	trigger.Go(func() {
		_ = call(ctx, hc, s.url)
		back = time.Now()
	})
	for limit := time.Now().Add(time.Second); len(s.as.Requests()) == asked && time.Now().Before(limit); {
		time.Sleep(time.Millisecond)
	}
	var group sync.WaitGroup
	errs := make([]error, waiters)
	for i := range errs {
		group.Go(func() { errs[i] = call(context.Background(), hc, s.url) })
	}
	time.Sleep(patience)
	cancelled := time.Now()
	cancel()
	trigger.Wait()
	group.Wait()
	for _, err := range errs {
		if err != nil {
			failed++
		}
	}
	return failed, back.Sub(cancelled)
}

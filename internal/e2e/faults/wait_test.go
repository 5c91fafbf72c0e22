package faults_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/gnomekeyring"
	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/tcpproxy"
)

// A process that only waits has the tokens that another one saves soon after they are durable.
func TestAWaiterLearnsOfARenewal(t *testing.T) {
	for name, at := range map[string]func(*testing.T) crew.Place{
		"file":        func(t *testing.T) crew.Place { return crew.Place{Dir: t.TempDir()} },
		"sealed file": func(t *testing.T) crew.Place { return crew.InFolder(t) },
		"keychain":    func(t *testing.T) crew.Place { return crew.Place{Keychain: true, Dir: t.TempDir()} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // with its siblings; the whole test is not, so that no other keeps the machine busy
			if at := at(t); !at.Keychain || !gnomekeyring.Rerun(t, gnomekeyring.Unlocked) {
				measureWaiting(t, at)
			}
		})
	}
}

// measureWaiting has one process wait while another renews, and measures how long after the new tokens are durable the one
// that waits has them.
func measureWaiting(t *testing.T, at crew.Place) {
	const (
		rounds  = 20
		settled = 800 * time.Millisecond // the waiter's pauses have grown to their longest
		limit   = 100 * time.Millisecond
	)
	s, _ := strictScene(t, at, 0)
	winner, waiter := s.hire(0), s.hire(0)
	var took []time.Duration
	for round := range rounds {
		gate := s.hold(tcpproxy.HoldAnswer)
		winner.tell(renew)
		s.awaitMet(gate)
		waiter.tell(renew)
		time.Sleep(settled)
		gate.Open()
		require.Equal(t, winner.requireRenewed(), waiter.requireRenewed())
		durable := winner.await(round+1, crew.Settled)
		require.Equal(t, ledger.Name(s.stored().RefreshToken), durable.Detail)
		took = append(took, waiter.outcome().At.Sub(durable.At))
	}
	require.Len(t, s.refreshes(), rounds, "the waiter has only waited")
	slices.Sort(took)
	t.Logf("a waiter had the new token %v after it was durable, in the median of %d rounds; in the slowest after %v",
		took[rounds/2].Round(time.Millisecond), rounds, took[rounds-1].Round(time.Millisecond))
	require.Less(t, took[rounds/2], limit)
}

package processes_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/gnomekeyring"
	"github.com/evergrant/evergrant/internal/e2e/ledger"
)

// I1: among all processes, one refresh token is presented once.
func TestProcessesShareAFileStore(t *testing.T) {
	share(t, crew.InFolder(t))
}

func TestProcessesShareAKeychain(t *testing.T) {
	if gnomekeyring.Rerun(t, gnomekeyring.Unlocked) {
		return
	}
	share(t, crew.Place{Keychain: true, Dir: t.TempDir()})
}

// share has four processes call for twenty seconds.
func share(t *testing.T, at crew.Place) {
	const (
		processes = 4
		duration  = 20 * time.Second
		// The provider counts in whole seconds, so an access token of two seconds ends one to two seconds after it was given.
		shortestLife = time.Second
		// And is renewed when three quarters of it are over; a store takes its time, and the machine may be busy.
		longestAge = 2500 * time.Millisecond
	)
	p := strict(t)
	c := crew.New(t, crew.AtOIDCProvider(p), at)
	for range processes {
		c.Hire()
	}
	time.Sleep(duration)
	c.Dismiss()

	lines := c.Site.Refreshes()
	ledger.RequireSpentOnce(t, lines)
	for i := 1; i < len(lines); i++ {
		require.Greater(t, lines[i].Time.Sub(lines[i-1].Time), shortestLife*9/10, "two processes have renewed the same age")
	}
	require.GreaterOrEqual(t, len(lines), int(duration/longestAge))

	for _, w := range c.All {
		calls := 0
		for _, e := range w.Events() {
			require.NotEqual(t, crew.LoginRequired, e.Name)
			require.NotEqual(t, crew.Failed, e.Name, e.Detail)
			if e.Name == crew.Called {
				calls++
			}
		}
		require.Greater(t, calls, int(duration/time.Second), "a call takes no second")
	}
	t.Logf("%d renewals by %d processes; the API has refused %d calls and accepted %d",
		len(lines), processes, p.Stats().API.Refused, p.Stats().API.Accepted)
}

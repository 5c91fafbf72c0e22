package faults_test

import (
	"bufio"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
)

// The acts of programs that are soon over. The API's address comes on standard input.
const (
	tidy  = "call and close"
	hasty = "call and exit" // at once, without Close
	busy  = "call for a moment and exit"
)

func callOnce(s *client.Session, _ *crew.Journal) error {
	return crew.Call(s.HTTPClient(), readLine())
}

func callAndExit(s *client.Session, j *crew.Journal) error {
	if err := callOnce(s, j); err != nil {
		return err
	}
	os.Exit(0)
	return nil
}

// callAndExitLater finds the token in memory from the second call on, which may be stale: in less than a second, that is no
// reason to renew.
func callAndExitLater(s *client.Session, _ *crew.Journal) error {
	const moment = 200 * time.Millisecond
	hc, api := s.HTTPClient(), readLine()
	for end := time.Now().Add(rand.N(moment)); ; {
		if err := crew.Call(hc, api); err != nil {
			return err
		}
		if time.Now().After(end) {
			os.Exit(0)
		}
	}
}

func readLine() string {
	lines := bufio.NewScanner(os.Stdin)
	lines.Scan()
	return lines.Text()
}

// A program that is soon gone leaves no grant half renewed, whatever is left of its token's life.
func TestShortLivedPrograms(t *testing.T) {
	const (
		runs    = 200
		longest = 10                     // seconds that an access token lives; short lives are more frequent
		rest    = 100 * time.Millisecond // between two programs, at most
		limit   = time.Minute
	)
	t.Parallel()
	s, p := strictScene(t, crew.InFolder(t), time.Second)
	p.Fail(oidcprovider.Faults{AnswerDelay: 150 * time.Millisecond}) // a renewal that nobody waits for would be cut off
	task := s.Task
	task.Journal = filepath.Join(t.TempDir(), "journal")
	env := append(os.Environ(), "GORACE=atexit_sleep_ms=0") // the race detector would sleep a second at every end
	begin := time.Now()
	for i := range runs {
		p.SetAccessTokenLife(time.Duration(1+rand.N(1+rand.N(longest))) * time.Second)
		task.Act = []string{tidy, hasty, tidy, busy}[i%4]
		program := task.Start(t, env)
		program.Tell(s.Site.API)
		program.Wait()
		time.Sleep(rand.N(rest))
	}
	lasted := time.Since(begin)
	lines := s.refreshes()
	t.Logf("%d programs in %v, %d renewals; the API has refused %d calls and accepted %d",
		runs, lasted.Round(time.Second), len(lines), p.Stats().API.Refused, p.Stats().API.Accepted)
	require.Less(t, lasted, limit)
	s.requireSpentOnce()
	require.GreaterOrEqual(t, p.Stats().API.Accepted, runs)
	require.Greater(t, len(lines), int(lasted/time.Second)/longest, "tokens of 1 to 10 s are renewed more often")
	status, err := s.Session.Status(t.Context())
	require.NoError(t, err)
	require.True(t, status.LoggedIn)
	require.Nil(t, s.stored().Lease, "a program has left in the middle of a renewal")
}

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
)

// The acts of programs that make one call. The API's address comes on standard input.
const (
	tidy  = "call and close"
	hasty = "call and exit" // at once, without Close
)

func callOnce(s *client.Session, _ *crew.Journal) error {
	lines := bufio.NewScanner(os.Stdin)
	lines.Scan()
	return crew.Call(s.HTTPClient(), lines.Text())
}

func callAndExit(s *client.Session, j *crew.Journal) error {
	err := callOnce(s, j)
	if err == nil {
		os.Exit(0)
	}
	return err
}

// A program that makes one call and is gone leaves no grant half renewed, whatever is left of its token's life.
func TestShortLivedPrograms(t *testing.T) {
	const (
		runs    = 200
		longest = 10                     // seconds that an access token lives; short lives are more frequent
		rest    = 300 * time.Millisecond // between two programs, at most
		limit   = time.Minute
	)
	t.Parallel()
	s, p := strictScene(t, crew.InFolder(t), time.Second)
	task := s.Task
	task.Journal = filepath.Join(t.TempDir(), "journal")
	env := append(os.Environ(), "GORACE=atexit_sleep_ms=0") // the race detector would sleep a second at every end
	begin := time.Now()
	for i := range runs {
		p.SetAccessTokenLife(time.Duration(1+rand.N(1+rand.N(longest))) * time.Second)
		task.Act = []string{tidy, hasty}[i%2]
		program := task.Start(t, env)
		program.Tell(task.Server.API)
		program.Wait()
		time.Sleep(rand.N(rest))
	}
	lasted := time.Since(begin)
	lines := s.refreshes()
	t.Logf("%d programs in %v, %d renewals; the API has refused %d calls and accepted %d",
		runs, lasted.Round(time.Second), len(lines), p.Stats().API.Refused, p.Stats().API.Accepted)
	require.Less(t, lasted, limit)
	s.requireSpentOnce()
	require.Equal(t, runs, p.Stats().API.Accepted, "every program was served")
	require.Greater(t, len(lines), int(lasted/time.Second)/longest, "tokens of 1 to 10 s are renewed more often")
	status, err := s.Session.Status(t.Context())
	require.NoError(t, err)
	require.True(t, status.LoggedIn)
	require.Nil(t, s.stored().Lease, "a program has left in the middle of a renewal")
}

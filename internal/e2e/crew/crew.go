// Package crew runs Evergrant in several processes at once over one store. The processes are the test binary, run again:
// a test package that uses crews calls Main in its TestMain. Each process writes a journal of what it does to the store,
// the authorization server and the API.
package crew

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
)

// Length is how long a test of endurance lasts: the seconds in EVERGRANT_SOAK; empty: usual.
func Length(t testing.TB, usual time.Duration) time.Duration {
	t.Helper()
	text := os.Getenv("EVERGRANT_SOAK")
	if text == "" {
		return usual
	}
	seconds, err := strconv.Atoi(text)
	require.NoError(t, err, "EVERGRANT_SOAK is a number of seconds")
	return time.Duration(seconds) * time.Second
}

// Crew are workers over one store, and what the test knows of it. It is for the test's own goroutine.
type Crew struct {
	Site    Site
	Task    Task // of the workers to be hired; each gets a journal of its own
	Store   Store
	Session *client.Session // the test's own
	Workers []*Worker       // those that live
	All     []*Worker

	Strikes int
	Doubts  map[string][]time.Time // by refresh token: the kills of workers that it was in doubt with

	t        testing.TB
	journals string    // the folder of the journals
	login    time.Time // when somebody logged in last
}

// New has somebody logged in, and no workers yet.
func New(t testing.TB, site Site, at Place) *Crew {
	t.Helper()
	s, err := at.Open()
	require.NoError(t, err)
	c := &Crew{
		Site: site, Task: Task{Place: at, Server: site.Server}, Store: s, Session: site.Session(t, s),
		Doubts: map[string][]time.Time{}, t: t, journals: t.TempDir(),
	}
	c.SignIn()
	return c
}

// SignIn logs somebody in.
func (c *Crew) SignIn() {
	c.t.Helper()
	c.Site.SignIn(c.t, c.Session)
	c.login = time.Now()
}

// ReplaceLost logs in if the grant is lost, once every worker has said so, and reports whether it was. It must have been
// lost with an answer.
func (c *Crew) ReplaceLost() bool {
	c.t.Helper()
	status, err := c.Session.Status(c.t.Context())
	require.NoError(c.t, err)
	if status.LoggedIn {
		return false
	}
	require.ErrorIs(c.t, status.Failure, client.ErrLoginRequired)
	var why *client.Error
	require.ErrorAs(c.t, status.Failure, &why)
	require.Equal(c.t, "lost answer", why.Cause)
	c.RequireAll("report the loss", LoginRequired, c.login)
	c.SignIn()
	return true
}

// Hire starts a worker.
func (c *Crew) Hire() *Worker {
	c.t.Helper()
	task := c.Task
	task.Journal = filepath.Join(c.journals, fmt.Sprint(len(c.All)))
	w := task.Start(c.t, os.Environ())
	c.Workers, c.All = append(c.Workers, w), append(c.All, w)
	return w
}

// Strike kills a worker and starts another in its place. Every second time it is, if there is one soon, one that has a
// token request out, at a random moment within the given time. The repetition that follows is left to chance, or nothing
// would be renewed. It returns the refresh token that was in doubt, or "".
func (c *Crew) Strike(within time.Duration) (doubtful string) {
	c.t.Helper()
	victim := c.Workers[rand.N(len(c.Workers))]
	if c.Strikes%2 == 1 {
		if busy := c.awaitBusy(); busy != nil {
			victim = busy
			time.Sleep(rand.N(within))
		}
	}
	c.Strikes++
	at := victim.Kill()
	c.Workers = slices.DeleteFunc(c.Workers, func(w *Worker) bool { return w == victim })
	c.Hire()
	doubtful = InDoubt(victim.Events())
	if doubtful != "" {
		c.Doubts[doubtful] = append(c.Doubts[doubtful], at)
	}
	return doubtful
}

// awaitBusy returns a worker that has sent a token that nobody was killed with; nil if there is none for two seconds.
func (c *Crew) awaitBusy() *Worker {
	c.t.Helper()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(look) {
		for _, w := range c.Workers {
			if token := InDoubt(w.Events()); token != "" && c.Doubts[token] == nil {
				return w
			}
		}
	}
	return nil
}

// Dismiss lets all workers end as programs do.
func (c *Crew) Dismiss() {
	c.t.Helper()
	for _, w := range c.Workers {
		w.Dismiss()
	}
	for _, w := range c.Workers {
		w.Wait()
	}
	c.Workers = nil
}

// RequireAll waits until the journals of all workers that live hold the event, later than after.
func (c *Crew) RequireAll(what, name string, after time.Time) {
	c.t.Helper()
	for _, w := range c.Workers {
		w.Await(what, 10*time.Second, 1, later(name, after))
	}
}

// Have reports whether the journals of all workers that live hold the event, later than after.
func (c *Crew) Have(name string, after time.Time) bool {
	c.t.Helper()
	for _, w := range c.Workers {
		if !slices.ContainsFunc(w.Events(), later(name, after)) {
			return false
		}
	}
	return true
}

func later(name string, after time.Time) func(Event) bool {
	return func(e Event) bool { return e.Name == name && e.At.After(after) }
}

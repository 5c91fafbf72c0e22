// Package crew runs Evergrant in several processes at once over one store. The processes are the test binary, run again:
// a test package that uses crews calls Main in its TestMain. Each process writes a journal of what it does to the store,
// the authorization server and the API.
package crew

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore"
)

// Crew are workers over one store, and what the test knows of it. It is for the test's own goroutine.
type Crew struct {
	Task    Task // of the workers to be hired; each gets a journal of its own
	Store   Store
	Session *client.Session // the test's own
	Workers []*Worker       // those that live
	All     []*Worker

	t        testing.TB
	signIn   func(address string) *url.URL
	journals string // the folder of the journals
}

// New has somebody logged in, and no workers yet. signIn plays the person at the browser: it opens an authorization URL,
// consents, and returns the callback address.
func New(t testing.TB, server Server, at Place, signIn func(address string) *url.URL) *Crew {
	t.Helper()
	s, err := at.Open()
	require.NoError(t, err)
	c := &Crew{
		Task: Task{Place: at, Server: server}, Store: s, Session: server.Session(t, s),
		t: t, signIn: signIn, journals: t.TempDir(),
	}
	c.SignIn()
	return c
}

// Session is a session of this process, of the account that the workers use too.
func (s Server) Session(t testing.TB, store Store) *client.Session {
	t.Helper()
	c, err := client.New(s.config(store))
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, c.Close(ctx))
	})
	return c.Session(account)
}

// StoreKey is the key of that session's record.
func (s Server) StoreKey() string {
	issuer := s.Issuer
	if issuer == "" {
		issuer = s.Endpoint.TokenURL
	}
	return tokenstore.Key(issuer, s.ClientID, account)
}

// SignIn logs somebody in as a web backend does.
func (c *Crew) SignIn() {
	c.t.Helper()
	SignIn(c.t, c.Session, c.signIn)
}

// SignIn logs somebody in as a web backend does; signIn is as for New.
func SignIn(t testing.TB, s *client.Session, signIn func(address string) *url.URL) {
	t.Helper()
	pending, err := s.Start(t.Context(), client.AuthCode{Params: url.Values{"prompt": {"consent"}}})
	require.NoError(t, err)
	require.NoError(t, s.Finish(t.Context(), pending, signIn(pending.URL).Query()))
}

// Hire starts a worker.
func (c *Crew) Hire() {
	c.t.Helper()
	task := c.Task
	task.Journal = filepath.Join(c.journals, fmt.Sprint(len(c.All)))
	w := task.Start(c.t, os.Environ())
	c.Workers, c.All = append(c.Workers, w), append(c.All, w)
}

// Replace kills a worker, which must still be alive, starts another in its place, and returns when it was killed.
func (c *Crew) Replace(w *Worker) time.Time {
	c.t.Helper()
	at := w.Kill()
	c.Workers = slices.DeleteFunc(c.Workers, func(other *Worker) bool { return other == w })
	c.Hire()
	return at
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
		has := func() bool {
			return slices.ContainsFunc(w.Events(), func(e Event) bool { return e.Name == name && e.At.After(after) })
		}
		require.Eventually(c.t, has, 10*time.Second, 20*time.Millisecond, "%s does not %s", w.journal, what)
	}
}

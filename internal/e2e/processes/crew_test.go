package processes_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/tokenstore"
)

// crew are workers over one store, and what the test knows of it.
type crew struct {
	t        *testing.T
	provider *oidcprovider.Provider
	place    place
	slow     time.Duration
	store    store
	session  *client.Session // the test's own; it only logs in and looks
	journals string          // the folder of the journals
	workers  []*worker       // those that live
	all      []*worker
}

// worker is one process.
type worker struct {
	cmd     *exec.Cmd
	stdin   io.Closer
	stderr  bytes.Buffer // whole once the process has ended
	journal string
}

// strict is a provider whose access tokens live for two seconds, and whose grants end when a refresh token comes twice.
func strict(t *testing.T) *oidcprovider.Provider {
	t.Helper()
	return oidcprovider.Start(t, oidcprovider.Config{Rotate: true, AccessTokenLife: 2 * time.Second})
}

// newCrew has somebody logged in, and no workers yet.
func newCrew(t *testing.T, p *oidcprovider.Provider, at place) *crew {
	t.Helper()
	s, err := at.open()
	require.NoError(t, err)
	c := &crew{t: t, provider: p, place: at, store: s, session: newSession(t, p.Issuer, s), journals: t.TempDir()}
	signIn(t, p, c.session)
	return c
}

func inFolder(t *testing.T) place {
	key := make([]byte, 32)
	rand.Read(key)
	return place{Dir: t.TempDir(), Key: key}
}

// newSession is a session of this process.
func newSession(t *testing.T, issuer string, s tokenstore.Store) *client.Session {
	t.Helper()
	c, err := client.New(client.Config{
		Issuer:      issuer,
		ClientID:    oidcprovider.Native,
		Scopes:      []string{"openid", "offline_access"},
		RedirectURL: oidcprovider.Callback,
		Store:       s,
	})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, c.Close(ctx))
	})
	return c.Session(account)
}

// signIn logs somebody in as a web backend does.
func signIn(t *testing.T, p *oidcprovider.Provider, s *client.Session) {
	t.Helper()
	pending, err := s.Start(t.Context(), client.AuthCode{Params: url.Values{"prompt": {"consent"}}})
	require.NoError(t, err)
	require.NoError(t, s.Finish(t.Context(), pending, p.SignIn(pending.URL, account).Query()))
}

// hire starts a worker that calls the API.
func (c *crew) hire() {
	c.t.Helper()
	w := start(c.t, os.Environ(), task{
		Place: c.place, Issuer: c.provider.Issuer, API: c.provider.API(), Slow: c.slow,
		Journal: filepath.Join(c.journals, fmt.Sprint(len(c.all))),
	})
	c.workers, c.all = append(c.workers, w), append(c.all, w)
}

// start starts a worker that is killed, at the latest, when the test ends.
func start(t *testing.T, env []string, todo task) *worker {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	text, err := json.Marshal(todo)
	require.NoError(t, err)
	w := &worker{cmd: exec.CommandContext(t.Context(), self), journal: todo.Journal}
	w.cmd.Env = append(env, taskVariable+"="+string(text))
	w.cmd.Stderr = &w.stderr
	w.stdin, err = w.cmd.StdinPipe()
	require.NoError(t, err)
	require.NoError(t, w.cmd.Start())
	t.Cleanup(func() { _ = w.cmd.Wait() }) // the end of the test's context has killed it, or somebody has waited before
	return w
}

// dismiss lets all workers end as programs do.
func (c *crew) dismiss() {
	c.t.Helper()
	for _, w := range c.workers {
		require.NoError(c.t, w.stdin.Close())
	}
	for _, w := range c.workers {
		require.NoError(c.t, w.cmd.Wait(), w.stderr.String())
	}
	c.workers = nil
}

// refreshes are the ledger's lines about refresh tokens.
func refreshes(p *oidcprovider.Provider) []oidcprovider.TokenRequest {
	var lines []oidcprovider.TokenRequest
	for _, line := range p.Log() {
		if line.GrantType == "refresh_token" {
			lines = append(lines, line)
		}
	}
	return lines
}

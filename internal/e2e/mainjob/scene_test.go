package mainjob_test

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
)

// alice is the account at the provider, and the key of her session.
const alice = "alice"

// native is a program on a person's machine.
func native(issuer string) client.Config {
	return client.Config{Issuer: issuer, ClientID: oidcprovider.Native, Scopes: []string{"openid", "offline_access"}}
}

// backend is a web application. Nothing listens at its redirect URL: the test carries the callback.
func backend(issuer string) client.Config {
	return client.Config{
		Issuer: issuer, ClientID: oidcprovider.WebBasic, ClientSecret: oidcprovider.Secret,
		Scopes: []string{"openid", "offline_access"}, RedirectURL: "http://127.0.0.1:5555/callback",
	}
}

func newClient(t *testing.T, config client.Config) *client.Client {
	t.Helper()
	c, err := client.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) }) // t's own context has ended by then
	return c
}

// sealed is config over a new folder of sealed files.
func sealed(t *testing.T, config client.Config) client.Config {
	t.Helper()
	store, err := crew.InFolder(t).Open()
	require.NoError(t, err)
	config.Store = store
	return config
}

// login is one under way.
type login struct {
	address chan string // gets the address to log in at
	outcome chan error
}

func beginBrowser(t *testing.T, s *client.Session, flow client.Browser) *login {
	l := &login{make(chan string, 1), make(chan error, 1)}
	flow.Open = func(address string) error {
		l.address <- address
		return nil
	}
	go func() { l.outcome <- s.Login(t.Context(), flow) }()
	return l
}

// at returns the address to log in at.
func (l *login) at(t *testing.T) string {
	t.Helper()
	select {
	case address := <-l.address:
		return address
	case err := <-l.outcome:
		require.FailNow(t, "the login ended before anybody was asked", "%v", err)
		return ""
	}
}

// visit brings a person's browser back to the program.
func visit(t *testing.T, callback string) {
	t.Helper()
	resp, err := http.Get(callback)
	require.NoError(t, err)
	page, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Contains(t, string(page), "You are logged in")
}

// logAliceIn logs alice in with a browser.
func logAliceIn(t *testing.T, s *client.Session, p *oidcprovider.Provider) {
	t.Helper()
	l := beginBrowser(t, s, client.Browser{Params: consent})
	visit(t, p.SignIn(l.at(t), alice).String())
	require.NoError(t, <-l.outcome)
}

// get calls an API.
func get(c *http.Client, address string) (status int, err error) {
	resp, err := c.Get(address)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// pace is the pause between two calls of one worker: a provider on a machine with two cores is not to be measured.
const pace = 40 * time.Millisecond

// crowd are workers that call an API, each at its pace, until told to stop.
type crowd struct {
	stop    chan struct{}
	workers sync.WaitGroup

	mu      sync.Mutex
	answers map[int]int // by status code; guarded by mu
	errs    []error     // guarded by mu
}

func gather(workers int, c *http.Client, address string) *crowd {
	all := &crowd{stop: make(chan struct{}), answers: map[int]int{}}
	for range workers {
		all.workers.Go(func() {
			ticker := time.NewTicker(pace)
			defer ticker.Stop()
			for {
				all.note(get(c, address))
				select {
				case <-ticker.C:
				case <-all.stop:
					return
				}
			}
		})
	}
	return all
}

func (c *crowd) note(status int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.errs = append(c.errs, err)
		return
	}
	c.answers[status]++
}

// calls is how many calls have ended.
func (c *crowd) calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.errs)
	for _, answers := range c.answers {
		n += answers
	}
	return n
}

// after lets the crowd work for d, and returns what it has seen when all have stopped.
func (c *crowd) after(d time.Duration) (answers map[int]int, errs []error) {
	<-time.After(d)
	close(c.stop)
	c.workers.Wait()
	return c.answers, c.errs
}

// requireAllServed requires that every call was answered with 200, at least so many.
func requireAllServed(t *testing.T, answers map[int]int, errs []error, least int) {
	t.Helper()
	if len(errs) > 0 {
		require.NoError(t, errs[0], "the first of %d", len(errs))
	}
	require.GreaterOrEqual(t, answers[http.StatusOK], least)
	require.Equal(t, map[int]int{http.StatusOK: answers[http.StatusOK]}, answers)
}

// of picks the requests of one grant type from the ledger.
func of(grantType string, ledger []oidcprovider.TokenRequest) []oidcprovider.TokenRequest {
	var picked []oidcprovider.TokenRequest
	for _, r := range ledger {
		if r.GrantType == grantType {
			picked = append(picked, r)
		}
	}
	return picked
}

// requireChain requires that the refresh tokens of the ledger, which is of one grant, form a chain: each was presented
// once, by whoever got it, and each request was answered with the next one.
func requireChain(t *testing.T, ledger []oidcprovider.TokenRequest) {
	t.Helper()
	presented := map[string]bool{}
	for i, r := range ledger {
		require.Equal(t, http.StatusOK, r.Status, r.Detail)
		require.NotEmpty(t, r.Issued)
		if i == 0 {
			continue
		}
		require.Equal(t, "refresh_token", r.GrantType)
		require.Equal(t, ledger[i-1].Issued, r.Presented)
		require.False(t, r.Reuse)
		require.NotContains(t, presented, r.Presented)
		presented[r.Presented] = true
	}
}

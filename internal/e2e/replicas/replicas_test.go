// Package replicas_test runs a web backend of eight processes over one database: each serves every account, at an
// authorization server that forgives nothing, while processes are killed every second and the database is restarted.
package replicas_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

const (
	processes  = 8
	accounts   = 500
	tokenLife  = 20 * time.Second
	pauseLeast = 2 * time.Second // between two calls of a process for one account
	pauseMost  = 4 * time.Second
	killEvery  = time.Second
	aimed      = 5                     // one kill in so many strikes at a process with a token request out
	aimWithin  = 20 * time.Millisecond // about as long as such a request and the save take
	patience   = 3 * time.Minute       // with what takes no longer than a dead process's lease, on a slow machine
	excess     = 1.02                  // token requests beside the minimum
)

func account(n int) string { return fmt.Sprint("account-", n) }

// replicas are the processes, and what the test knows of them. It is for the test's own goroutine.
type replicas struct {
	t        *testing.T
	task     crew.Task
	life     time.Duration // of an access token
	place    place
	restart  func() error // of the database
	provider *oidcprovider.Provider
	gate     *gate
	store    store // the test's own, as is the client
	client   *client.Client

	living, all []*process
	strikes     int
	suspects    map[string]string // the accounts of the tokens in doubts
	doubts      map[string]int    // by refresh token: kills of workers that had sent it, or nearly
	leases      map[string]int    // by refresh token: kills of workers that had its lease
	outage      [2]time.Time      // of the database: from when it was told to stop until it was back
	losses      int
	replaced    map[string]time.Time // by account: when somebody whose grant was lost had logged in again, the last time
	journals    string               // their folder
}

// process is a worker.
type process struct {
	*crew.Worker
	name string
	seen int // how many of its events have been looked at
}

// newReplicas has everybody logged in, and no processes yet.
func newReplicas(t *testing.T, at place, restart func() error) *replicas {
	t.Helper()
	provider := oidcprovider.Start(t, oidcprovider.Config{Rotate: true, AccessTokenLife: tokenLife})
	site := crew.AtOIDCProvider(provider)
	r := &replicas{
		t: t, place: at, restart: restart, provider: provider, gate: startGate(t, "http://"+site.Address+site.TokenPath),
		journals: t.TempDir(), suspects: map[string]string{}, doubts: map[string]int{}, leases: map[string]int{},
		replaced: map[string]time.Time{},
	}
	server := site.Behind(r.gate.Listener.Addr().String()).Server
	r.task = crew.Task{Server: server, Program: program(t)}
	s, closeStore, err := at.open()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, closeStore()) })
	r.store = s
	r.client, err = client.New(server.Config(s))
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, r.client.Close(ctx))
	})
	var everybody []string
	for n := range accounts {
		everybody = append(everybody, account(n))
	}
	r.calibrate(everybody)
	r.signIn(everybody)
	return r
}

// calibrate sees how fast the provider is, by a tenth of the logins: on a machine that is busy otherwise it could not
// give everybody a new token in time, whoever asks. There, tokens live up to three times tokenLife.
func (r *replicas) calibrate(everybody []string) {
	r.t.Helper()
	const fast = 15 * time.Second // for all logins
	begun := time.Now()
	r.signIn(everybody[:accounts/10])
	r.life = tokenLife * min(1+10*time.Since(begun)/fast, 3)
	r.provider.SetAccessTokenLife(r.life)
}

// staleAge is when the engine renews at the earliest: a quarter of the life ahead, and a tenth of that.
func (r *replicas) staleAge() time.Duration { return r.life - r.life/4 - r.life/40 }

// program is the test binary without the race detector, with which eight replicas are more than two cores can run beside
// a provider and a database.
func program(t *testing.T) string {
	t.Helper()
	if !underRace {
		return ""
	}
	path := filepath.Join(t.TempDir(), "replica")
	text, err := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", path, ".").CombinedOutput()
	require.NoError(t, err, "%s", text)
	return path
}

// signIn logs people in, several at a time.
func (r *replicas) signIn(people []string) {
	r.t.Helper()
	queue, errs := make(chan string), make(chan error, len(people))
	var group sync.WaitGroup
	for range processes {
		group.Go(func() {
			for person := range queue {
				errs <- r.signInOne(person)
			}
		})
	}
	for _, person := range people {
		queue <- person
	}
	close(queue)
	group.Wait()
	close(errs)
	for err := range errs {
		require.NoError(r.t, err)
	}
}

// signInOne logs somebody in as a web backend does. The provider asks those nothing whom it is told of beforehand.
func (r *replicas) signInOne(person string) error {
	ctx, session := r.t.Context(), r.client.Session(person)
	pending, err := session.Start(ctx, client.AuthCode{Params: url.Values{"prompt": {"consent"}, "login_hint": {person}}})
	if err != nil {
		return err
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		return err
	}
	callback, err := url.Parse(oidcprovider.Callback)
	if err != nil {
		return err
	}
	browser := http.Client{Jar: jar, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		if req.URL.Host == callback.Host {
			return http.ErrUseLastResponse
		}
		return nil
	}}
	resp, err := browser.Get(pending.URL)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	back, err := resp.Location()
	if err != nil {
		return fmt.Errorf("%s came to %s: %w", person, resp.Request.URL.Path, err)
	}
	return session.Finish(ctx, pending, back.Query())
}

// run has the replicas work while one of them is killed every second, for d and at least three lives of a token, and
// judges it.
func (r *replicas) run(d time.Duration) {
	r.t.Helper()
	d = max(d, 3*r.life)
	for range processes {
		r.hire()
	}
	for _, p := range r.living {
		p.Await("serve everybody", patience, 1, func(e crew.Event) bool { return e.Name == warm })
	}
	begun := time.Now()
	for next := begun.Add(killEvery); next.Before(begun.Add(d)); next = next.Add(killEvery) {
		time.Sleep(time.Until(next))
		if r.outage[0].IsZero() && time.Since(begun) > d/2 {
			r.outage[0] = time.Now()
			require.NoError(r.t, r.restart())
			r.outage[1] = time.Now()
		}
		r.strike()
		r.replaceLost()
	}
	for limit := time.Now().Add(patience); r.inDoubt() && time.Now().Before(limit); r.replaceLost() {
		time.Sleep(killEvery)
	}
	r.dismiss()
	r.replaceLost()
	assert.False(r.t, r.inDoubt(), "a token that was in doubt has not been presented again")
	r.judge(time.Since(begun))
}

// hire starts a worker.
func (r *replicas) hire() {
	r.t.Helper()
	p := &process{name: fmt.Sprint(len(r.all))}
	text, err := json.Marshal(order{Place: r.place, Tokens: r.gate.list.Name(), Accounts: accounts})
	require.NoError(r.t, err)
	task := r.task
	task.Order, task.Journal = text, filepath.Join(r.journals, p.name)
	p.Worker = task.Start(r.t, os.Environ())
	r.living, r.all = append(r.living, p), append(r.all, p)
}

// strike kills a worker and starts another in its place. One kill in aimed is of a worker that has a token request out, at
// a random moment until the answer is probably saved. The others spare such workers if they can: on a slow machine
// repetitions would be most of what there is.
func (r *replicas) strike() {
	r.t.Helper()
	aim := r.strikes%aimed == 0
	victim := r.await(aim)
	if aim {
		time.Sleep(rand.N(aimWithin))
	}
	r.strikes++
	victim.Kill()
	r.living = slices.DeleteFunc(r.living, func(p *process) bool { return p == victim })
	leased, inDoubt := leftBehind(victim.Events())
	for token := range leased {
		r.leases[token]++
	}
	for token, account := range inDoubt {
		r.doubts[token]++
		r.suspects[token] = account
	}
	r.hire()
}

// await returns a worker that has a token request out, or one that has no lease, as is asked for; any worker if there is
// none such in time.
func (r *replicas) await(busy bool) *process {
	r.t.Helper()
	order := rand.Perm(len(r.living))
	for limit := time.Now().Add(killEvery / 2); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		for _, i := range order {
			leased, inDoubt := leftBehind(r.living[i].lately())
			if busy && len(inDoubt) > 0 || !busy && len(leased) == 0 {
				return r.living[i]
			}
		}
	}
	return r.living[order[0]]
}

// lately is what the worker has noted while a token request takes.
func (p *process) lately() []crew.Event {
	const while = 10 * time.Second
	events := p.Events()
	since := time.Now().Add(-while)
	first, _ := slices.BinarySearchFunc(events, since, func(e crew.Event, t time.Time) int { return e.At.Compare(t) })
	return events[first:]
}

// replaceLost logs those in again whose grants workers have found to be lost.
func (r *replicas) replaceLost() {
	r.t.Helper()
	suspects := map[string]bool{}
	for _, p := range r.all {
		events := p.Events()
		for _, e := range events[p.seen:] {
			if e.Name == loginRequired {
				account, _, _ := strings.Cut(e.Detail, " ")
				suspects[account] = true
			}
		}
		p.seen = len(events)
	}
	var lost []string
	for account := range suspects {
		status, err := r.client.Session(account).Status(r.t.Context())
		require.NoError(r.t, err)
		if !status.LoggedIn { // else somebody has spoken of a loss that is made good
			lost = append(lost, account)
		}
	}
	r.losses += len(lost)
	r.signIn(lost)
	for _, account := range lost {
		r.replaced[account] = time.Now()
	}
}

// inDoubt reports whether the store still holds a token that a dead worker had sent: nobody has presented it again.
func (r *replicas) inDoubt() bool {
	r.t.Helper()
	for token, account := range r.suspects {
		if ledger.Name(r.stored(account).RefreshToken) == token {
			return true
		}
	}
	return false
}

// stored is the record of an account.
func (r *replicas) stored(account string) *record.Record {
	r.t.Helper()
	server := r.task.Server
	data, _, err := r.store.Load(r.t.Context(), tokenstore.Key(server.Issuer, server.ClientID, account))
	require.NoError(r.t, err)
	rec, err := record.Decode(data)
	require.NoError(r.t, err)
	return rec
}

// dismiss lets all workers end as programs do.
func (r *replicas) dismiss() {
	r.t.Helper()
	for _, p := range r.living {
		p.Dismiss()
	}
	for _, p := range r.living {
		p.Wait()
	}
}

// evidence puts together what is known.
func (r *replicas) evidence() evidence {
	r.t.Helper()
	e := evidence{ledger: r.provider.Log(), stale: r.staleAge(), doubts: r.doubts, leases: r.leases, held: map[string]time.Time{}, losses: r.losses}
	for _, p := range r.all {
		for _, event := range p.Events() {
			if event.Name != crew.Leased && event.Name != crew.Settled {
				continue
			}
			_, token, _ := strings.Cut(event.Detail, " ")
			if since, ok := e.held[token]; !ok || event.At.Before(since) {
				e.held[token] = event.At
			}
		}
	}
	return e
}

// judge wants nobody to have been failed, every loss explained, and no token request too many.
func (r *replicas) judge(lasted time.Duration) {
	r.t.Helper()
	e := r.evidence()
	assert.Empty(r.t, e.faults())
	requests, minimum, owed := e.cost()
	assert.LessOrEqual(r.t, float64(requests)-owed, excess*minimum, "token requests that no kill explains")
	if len(r.doubts) <= r.strikes/2 { // else the machine is so slow that the kills hit more than they are meant to
		assert.LessOrEqual(r.t, float64(requests), excess*minimum, "token requests")
	}
	var cpu, longest time.Duration
	calls, waits, failures := 0, 0, 0
	for _, p := range r.all {
		cpu += p.CPU()
		for _, event := range p.Events() {
			account, detail, _ := strings.Cut(event.Detail, " ")
			switch event.Name {
			case called:
				n, err := strconv.Atoi(account)
				require.NoError(r.t, err)
				calls += n
			case slow:
				waited, err := time.ParseDuration(detail)
				require.NoError(r.t, err)
				longest, waits = max(longest, waited), waits+1
			case loginRequired:
				const under = 10 * time.Second // way, when somebody logs in again
				assert.Equal(r.t, "lost answer", detail)
				assert.True(r.t, event.At.Before(r.replaced[account].Add(under)), "worker %s wants a login of %s, which has lost nothing", p.name, account)
			case failed:
				failures++
				assert.True(r.t, r.wasAway(event.At), "worker %s at %v: %s", p.name, event.At.UTC(), event.Detail)
			case wronged:
				assert.Fail(r.t, "a call failed although there was a usable token", "worker %s at %v: %s", p.name, event.At.UTC(), event.Detail)
			}
		}
	}
	for n := range accounts {
		status, err := r.client.Session(account(n)).Status(r.t.Context())
		require.NoError(r.t, err)
		assert.True(r.t, status.LoggedIn, "%s: %v", account(n), status.Failure)
	}
	r.t.Logf("access tokens of %v; %d calls in %v; %d token requests, at least %.1f: %.4f, %.1f of them for the kills; %d kills, %d tokens in doubt, %d grants lost; "+
		"the database was away for %v, and %d calls of processes without a token failed; %d calls took longer than %v, the longest %v; "+
		"processor time of the replicas %v",
		r.life, calls, lasted.Round(time.Second), requests, minimum, float64(requests)/minimum, owed, r.strikes, len(r.doubts), r.losses,
		r.outage[1].Sub(r.outage[0]).Round(time.Millisecond), failures, waits, slowCall, longest.Round(time.Millisecond),
		cpu.Round(time.Millisecond))
	assert.NotEmpty(r.t, r.doubts, "no kill has fallen between sending and saving: this run has proved nothing about that")
}

// wasAway reports whether the database was away, or had been a moment before.
func (r *replicas) wasAway(at time.Time) bool {
	const moment = time.Second
	return at.After(r.outage[0]) && at.Before(r.outage[1].Add(moment))
}

// TestReplicas is the promise for a fleet.
func TestReplicas(t *testing.T) {
	if os.Getenv("EVERGRANT_E2E") != "1" {
		t.Skip("takes minutes; `make test` sets EVERGRANT_E2E")
	}
	for _, at := range []struct {
		name  string
		start func(*testing.T) (place, func() error)
	}{{"PostgreSQL", atPostgreSQL}, {"Redis", atRedis}} {
		t.Run(at.name, func(t *testing.T) {
			place, restart := at.start(t)
			newReplicas(t, place, restart).run(crew.Length(t, time.Minute))
		})
	}
}

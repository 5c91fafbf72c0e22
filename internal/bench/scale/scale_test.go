// Package scale_test fills PostgreSQL and Redis with a million grants, measures what they take and give, and has eight
// processes renew a hundred thousand that have expired at once. `make scale` runs it; docs/scale.md says what follows.
package scale_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/bench/measure"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

const (
	wanted    = "EVERGRANT_SCALE"        // how many grants; empty: nothing is measured
	asWorker  = "EVERGRANT_SCALE_WORKER" // the worker's task as JSON: this process is one
	processes = 8
	perWorker = 16 // goroutines of a process
	steady    = 15 * time.Second
	clientID  = "client"
)

func TestMain(m *testing.M) {
	if task := os.Getenv(asWorker); task != "" {
		work(task)
		return
	}
	os.Exit(m.Run())
}

func TestScale(t *testing.T) {
	if os.Getenv(wanted) == "" {
		t.Skip("takes half an hour; `make scale` runs it")
	}
	grants, err := strconv.Atoi(os.Getenv(wanted))
	require.NoError(t, err)
	expiring := grants / 10
	as := authorizationServer(t)
	rows := [][]string{
		{fmt.Sprintf("%d grants stored, in", grants)}, {"bytes a grant (record alone: " + strconv.Itoa(len(grantOf(0, time.Now()))) + ")"},
		{"Load, a second"}, {"Load, p50 / p99"}, {"Load and Swap, a second"}, {"Load and Swap, p50 / p99"},
		{fmt.Sprintf("%d expired grants renewed by %d processes in", expiring, processes)}, {"renewals a second"}, {"renewal, p50 / p99"},
		{"token requests for them"},
	}
	head := []string{fmt.Sprintf("%d processors, all of it on one machine", runtime.NumCPU())}
	for _, place := range []*place{postgres(t), redisServer(t)} {
		head = append(head, place.Name)
		for i, cell := range place.measure(t, as, grants, expiring) {
			rows[i] = append(rows[i], cell)
		}
	}
	var table strings.Builder
	measure.Table(&table, head, rows)
	t.Log("\n" + table.String())
}

// measure returns the cells of a column.
func (p *place) measure(t *testing.T, as *stub, grants, expiring int) []string {
	began := time.Now()
	p.fill(t, as, grants, expiring)
	filled := time.Since(began)
	bytes := p.bytes(t) / int64(grants)
	loads := p.run(t, task{Place: p.Place, Issuer: as.URL, Do: "load", From: expiring, To: grants})
	swaps := p.run(t, task{Place: p.Place, Issuer: as.URL, Do: "swap", From: expiring, To: grants})
	before := as.requests.Load()
	renewals := p.run(t, task{Place: p.Place, Issuer: as.URL, Do: "renew", From: 0, To: expiring})
	require.Len(t, renewals.times, expiring)
	require.Equal(t, int64(expiring), as.requests.Load()-before, "token requests")
	quantiles := func(r result) string { return measure.Show(r.quantile(0.5)) + " / " + measure.Show(r.quantile(0.99)) }
	return []string{
		filled.Round(time.Second).String(), strconv.FormatInt(bytes, 10),
		loads.rate(), quantiles(loads), swaps.rate(), quantiles(swaps),
		renewals.took.Round(100 * time.Millisecond).String(), renewals.rate(), quantiles(renewals), strconv.FormatInt(as.requests.Load()-before, 10),
	}
}

// fill stores the grants; the first ones have expired.
func (p *place) fill(t *testing.T, as *stub, grants, expiring int) {
	store, done := p.open(true)
	defer done()
	var next atomic.Int64
	var group sync.WaitGroup
	errs := make(chan error, 64)
	for range cap(errs) {
		group.Go(func() {
			for {
				n := int(next.Add(1)) - 1
				if n >= grants {
					return
				}
				expiry := time.Now().Add(24 * time.Hour)
				if n < expiring {
					expiry = time.Now().Add(-time.Hour)
				}
				if _, err := store.Swap(context.Background(), keyOf(as.URL, n), "", grantOf(n, expiry)); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	group.Wait()
	close(errs)
	require.NoError(t, <-errs)
}

func sessionOf(n int) string { return "account-" + strconv.Itoa(n) }

func keyOf(issuer string, n int) string {
	return tokenstore.Key(issuer+"/token", clientID, sessionOf(n))
}

// grantOf is a record as the engine writes it, with an access token as long as a JWT mostly is.
func grantOf(n int, expiry time.Time) []byte {
	r := &record.Record{
		Grant: "grant-" + strconv.Itoa(n), Generation: 7, Leases: 7, Subject: sessionOf(n), Scopes: []string{"openid", "offline_access"},
		RefreshToken: noise(64),
		Access: map[string]*record.Access{"": {
			Token: noise(900), Type: "Bearer", Issued: expiry.Add(-time.Hour).UTC().Truncate(time.Millisecond),
			Expiry: expiry.UTC().Truncate(time.Millisecond), Generation: 7,
		}},
	}
	data, err := r.Encode()
	if err != nil {
		panic(err)
	}
	return data
}

// noise is text that no database can compress much.
func noise(n int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	text := make([]byte, n)
	for i := range text {
		text[i] = letters[rand.N(len(letters))]
	}
	return string(text)
}

// stub is an authorization server that gives tokens to everybody: what is measured is not its work.
type stub struct {
	*httptest.Server
	requests atomic.Int64
}

func authorizationServer(t *testing.T) *stub {
	as := &stub{}
	as.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		as.requests.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": noise(900), "refresh_token": noise(64), "token_type": "Bearer", "expires_in": 3600,
		})
	}))
	t.Cleanup(as.Close)
	return as
}

// result is what the workers have measured.
type result struct {
	took  time.Duration
	times []time.Duration // sorted
}

func (r result) rate() string {
	return strconv.FormatFloat(float64(len(r.times))/r.took.Seconds(), 'f', 0, 64)
}

func (r result) quantile(q float64) time.Duration { return r.times[int(q*float64(len(r.times)-1))] }

// run gives each of the processes its part of the task.
func (p *place) run(t *testing.T, whole task) result {
	self, err := os.Executable()
	require.NoError(t, err)
	var commands []*exec.Cmd
	var outputs []*strings.Builder
	began := time.Now()
	for n := range processes {
		part := whole
		size := (whole.To - whole.From) / processes
		part.From = whole.From + n*size
		if n < processes-1 {
			part.To = part.From + size
		}
		text, err := json.Marshal(part)
		require.NoError(t, err)
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), asWorker+"="+string(text))
		out := &strings.Builder{}
		cmd.Stdout, cmd.Stderr = out, os.Stderr
		require.NoError(t, cmd.Start())
		commands, outputs = append(commands, cmd), append(outputs, out)
	}
	var r result
	for n, cmd := range commands {
		require.NoError(t, cmd.Wait(), outputs[n])
		var times []time.Duration
		require.NoError(t, json.Unmarshal([]byte(outputs[n].String()), &times))
		r.times = append(r.times, times...)
	}
	r.took = time.Since(began)
	if whole.Do != "renew" {
		r.took = steady
	}
	slices.Sort(r.times)
	return r
}

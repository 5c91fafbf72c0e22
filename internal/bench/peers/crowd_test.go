package peers_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/internal/bench/measure"
)

// stage is where a contestant shows what it does: an authorization server in memory, and its API on loopback.
type stage struct {
	contestant
	as   *clienttest.Server
	api  *clienttest.API
	url  string
	base door
}

// door is where requests leave with their token. It notes how long each took to come so far.
type door struct{ http.RoundTripper }

// waiting is in the context of requests: how long they waited for their token.
type waiting struct {
	began time.Time
	out   atomic.Int64 // nanoseconds until the first attempt left; 0: none has
}

type waitingKey struct{}

func (d door) RoundTrip(req *http.Request) (*http.Response, error) {
	if w, ok := req.Context().Value(waitingKey{}).(*waiting); ok {
		w.out.CompareAndSwap(0, int64(time.Since(w.began)))
	}
	return d.RoundTripper.RoundTrip(req)
}

func newStage(t *testing.T, s size, c contestant) *stage {
	as := newServer(t, c)
	api := as.NewAPI("api.test")
	server := httptest.NewServer(api)
	wire := &http.Transport{MaxConnsPerHost: s.connections, MaxIdleConnsPerHost: s.connections}
	t.Cleanup(func() {
		wire.CloseIdleConnections()
		server.Close()
	})
	st := &stage{c, as, api, server.URL, door{wire}}
	st.burst(fitPlain(t, &grant{as, as.Login()}, wire), 4*s.connections) // opens them
	return st
}

// dress gives the contestant some clients, each with a grant of its own whose first token is given on these terms.
func (s *stage) dress(t *testing.T, n int, w terms) []*http.Client {
	grants(s.as, s.contestant, w)
	defer grants(s.as, s.contestant, good)
	clients := make([]*http.Client, n)
	for i := range clients {
		clients[i] = dress(t, s.contestant, s.as, s.base)
	}
	return clients
}

// slow makes token requests take so long from now on: the server acts at once, and its answer lies.
func (s *stage) slow(endpoint time.Duration) {
	s.as.Heal()
	s.as.Fail("/token", slices.Repeat([]clienttest.Fault{{WaitAnswer: endpoint}}, 30_000)...)
}

// outcome is what came of many requests.
type outcome struct {
	mu           sync.Mutex // guards what follows
	times        []time.Duration
	waits        []time.Duration // of times, what passed before the request left
	unauthorized int
	failed       int
	first        time.Time // the first good answer to a request that was begun after since
	since        time.Time
}

var errUnauthorized = errors.New("401")

// call does one GET.
func call(ctx context.Context, hc *http.Client, address string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode == http.StatusUnauthorized {
		return errUnauthorized
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(resp.Status)
	}
	return nil
}

// call does one GET, and counts its time from began on.
func (o *outcome) call(hc *http.Client, address string, began time.Time) {
	w := &waiting{began: time.Now()}
	err := call(context.WithValue(context.Background(), waitingKey{}, w), hc, address)
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	o.times, o.waits = append(o.times, now.Sub(began)), append(o.waits, time.Duration(w.out.Load()))
	switch {
	case errors.Is(err, errUnauthorized):
		o.unauthorized++
	case err != nil:
		o.failed++
	case began.After(o.since) && o.first.IsZero():
		o.first = now
	}
}

// served is how many requests have been answered so far.
func (o *outcome) served() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.times)
}

// good is how many requests were answered well.
func (o *outcome) good() int { return len(o.times) - o.unauthorized - o.failed }

// at is a quantile of the times.
func (o *outcome) at(q float64) time.Duration {
	slices.Sort(o.times)
	return o.times[int(q*float64(len(o.times)-1))]
}

// burst has n goroutines make a request each, all at once. For all of them time begins at that instant, before the first
// of them runs.
func (s *stage) burst(hc *http.Client, n int) *outcome {
	var o outcome
	var ready, done sync.WaitGroup
	var began time.Time
	begin := make(chan struct{})
	ready.Add(n)
	for range n {
		done.Go(func() {
			ready.Done()
			<-begin
			o.call(hc, s.url, began)
		})
	}
	ready.Wait()
	began = time.Now()
	close(begin)
	done.Wait()
	return &o
}

// again is a burst of Evergrant's with a new client whose token has ended.
func (s *stage) again(t *testing.T, size size, n int) error {
	hc := s.dress(t, 1, evergrant.ended)[0]
	time.Sleep(pause)
	s.slow(size.endpoint)
	if o := s.burst(hc, n); o.good() != n {
		return fmt.Errorf("%d of %d requests were answered", o.good(), n)
	}
	return nil
}

const pause = 1500 * time.Millisecond // after which a token of a second has ended, and a refresh_in of a second is over

// What the rounds of a crowd may take on a machine that is slow.
const (
	enough     = 20 * time.Second // those of everybody
	enoughMore = 30 * time.Second // those of plain and Evergrant alone
)

const duellists = 2 // plain and Evergrant, the first of the entrants

// inTurns has everybody of n do rounds, in turns and beginning with another one each time; after enough time there is no
// further round, but for the first three.
func inTurns(n, rounds int, enough time.Duration, do func(i int)) {
	for r, began := 0, time.Now(); r < rounds && (r < 3 || time.Since(began) < enough); r++ {
		for turn := range n {
			do((r + turn) % n)
		}
	}
}

// expiry has crowds ask at the instant of expiry, and within the time in which a token is due to be renewed.
func expiry(t *testing.T, s size) section {
	done := section{
		title: "3. A crowd at the instant of expiry, and while a token is due",
		text: fmt.Sprintf("So many goroutines make a request at the same time, over at most %d connections to a loopback server, with a client "+
			"whose token has just ended, or is due to be renewed ahead of its end. A token request takes %v. Every round is a new grant. There are up to %d rounds, and of plain and "+
			"Evergrant, on which the figures rest, up to %d more: one crowd is not like the other. "+
			"x/oauth2 knows no time in which a token is due: it waits.", s.connections, s.endpoint, s.bursts, s.duels),
	}
	entrants := []contestant{plain, evergrant, xoauth2, google, msal}
	for _, n := range s.crowds {
		for _, due := range []bool{false, true} {
			stages, clients := make([]*stage, len(entrants)), make([][]*http.Client, len(entrants))
			for i, c := range entrants {
				stages[i] = newStage(t, s, c)
				rounds := s.bursts
				if i < duellists {
					rounds += s.duels
				}
				clients[i] = stages[i].dress(t, rounds, map[bool]terms{false: c.ended, true: c.due}[due])
			}
			time.Sleep(pause)
			p99, slowest := make([][]time.Duration, len(entrants)), make([][]time.Duration, len(entrants))
			requests, failed := make([][]int, len(entrants)), make([]int, len(entrants))
			round := func(i int) {
				st := stages[i]
				st.slow(s.endpoint)
				before, accepted := len(st.as.Requests()), st.api.Accepted()
				o := st.burst(clients[i][len(p99[i])], n)
				require.GreaterOrEqual(t, st.api.Accepted()-accepted, o.good(), "a good answer without a good token")
				time.Sleep(s.endpoint + 20*time.Millisecond) // a renewal in the background ends
				p99[i], slowest[i] = append(p99[i], o.at(0.99)), append(slowest[i], o.at(1))
				requests[i] = append(requests[i], len(st.as.Requests())-before)
				failed[i] += o.failed + o.unauthorized
			}
			inTurns(len(entrants), s.bursts, enough, round)
			inTurns(duellists, s.duels, enoughMore, round)
			require.Zero(t, failed[1], "requests of Evergrant failed")
			when := map[bool]string{false: "at expiry", true: "while due"}[due]
			rows := table{head: []string{fmt.Sprintf("%d goroutines, %s", n, when), "p99", "slowest", "token requests a round", "requests failed of all"}}
			for i, c := range entrants {
				rows.add(c.name, span(p99[i]), span(slowest[i]), span(requests[i]), fmt.Sprintf("%d of %d", failed[i], n*len(p99[i])))
			}
			done.tables = append(done.tables, rows)
			if n == s.crowds[len(s.crowds)-1] && !due {
				done.tables = append(done.tables, spent(t, rows.head[0]+", Evergrant", func() error { return stages[1].again(t, s, n) })...)
			}
			beyond := make([]float64, len(p99[1]))
			for r := range beyond {
				limit := 1.05 * float64(p99[0][r]+s.endpoint)
				if due {
					limit = 1.15 * float64(p99[0][r])
				}
				beyond[r] = float64(p99[1][r]) / limit
			}
			middle, _, _ := measure.Middle(beyond)
			what := fmt.Sprintf("%d goroutines, %s: ", n, when)
			want := "p99 at most plain's and the endpoint's time and 5 %, × that"
			if due {
				want = "p99 at most plain's and 15 %, × that"
			}
			why := fmt.Sprintf("x/oauth2's is %s, plain's %s", span(p99[2]), span(p99[0]))
			done.figures = append(done.figures,
				exactly(what+"one token request", requests[1], 1),
				most(what+want, middle, 1, why))
		}
	}
	return done
}

// steadyLoad is requests at a fixed rate while tokens of two seconds come and go.
func steadyLoad(t *testing.T, s size) section {
	const waited = 20 * time.Millisecond
	endpoint := 2 * s.endpoint
	entrants := []contestant{plain, evergrant, xoauth2, google, msal}
	stages, outcomes := make([]*stage, len(entrants)), make([][]*outcome, len(entrants))
	requests := make([]int, len(entrants))
	for i, c := range entrants {
		stages[i] = newStage(t, s, c)
	}
	for round := range s.slices {
		for turn := range entrants {
			i := (round + turn) % len(entrants)
			st, o := stages[i], &outcome{}
			hc := st.dress(t, 1, st.brief)[0]
			grants(st.as, st.contestant, st.brief)
			st.slow(endpoint)
			before := len(st.as.Requests())
			o.offer(hc, st.url, s.rate, s.slice)
			time.Sleep(endpoint) // a renewal in the background ends
			requests[i] += len(st.as.Requests()) - before
			outcomes[i] = append(outcomes[i], o)
			st.as.Heal()
		}
	}
	total := s.slices * len(outcomes[0][0].times)
	rows := table{head: []string{"", "p50", "p99", "p99.9", "slowest", fmt.Sprintf("requests that waited over %v, of %d", waited, total), "failed", "token requests"}}
	over, failed := make([]int, len(entrants)), make([]int, len(entrants))
	for i, c := range entrants {
		for _, o := range outcomes[i] {
			failed[i] += o.failed + o.unauthorized
			for _, d := range o.waits {
				if d > waited {
					over[i]++
				}
			}
		}
		rows.add(c.name, span(quantiles(outcomes[i], 0.5)), span(quantiles(outcomes[i], 0.99)), span(quantiles(outcomes[i], 0.999)), span(quantiles(outcomes[i], 1)),
			fmt.Sprint(over[i]), fmt.Sprint(failed[i]), fmt.Sprint(requests[i]))
	}
	require.Zero(t, failed[1], "requests of Evergrant failed")
	ours, theirs := quantiles(outcomes[1], 0.999), quantiles(outcomes[0], 0.999)
	tails := make([]float64, s.slices)
	for i := range tails {
		tails[i] = float64(ours[i]) / float64(theirs[i])
	}
	tail, _, _ := measure.Middle(tails)
	return section{
		title: "4. A steady load while tokens come and go",
		text: fmt.Sprintf("%d requests a second for %v, in %d slices taken in turns, each with a new grant, over loopback; the quantiles are the slices'. "+
			"A token lasts two seconds, and a token request takes %v. A request that leaves only %v after it has begun has waited for a token, or for "+
			"a busy machine, as plain does, which has a token that does not end.",
			s.rate, time.Duration(s.slices)*s.slice, s.slices, endpoint, waited),
		tables: []table{rows},
		figures: []figure{
			most(fmt.Sprintf("no request waits: those that wait over %v, without as many as plain's", waited), max(over[1]-over[0], 0), 0, ""),
			most("p99.9 at most 1.2 × plain's, × plain", tail, 1.2, ""),
		},
	}
}

func quantiles(of []*outcome, q float64) []time.Duration {
	all := make([]time.Duration, len(of))
	for i, o := range of {
		all[i] = o.at(q)
	}
	return all
}

// offer begins requests at a rate, whether or not those before have ended.
func (o *outcome) offer(hc *http.Client, address string, rate int, length time.Duration) {
	var group sync.WaitGroup
	start := time.Now()
	for n := range rate * int(length/time.Millisecond) / 1000 {
		began := start.Add(time.Duration(n) * time.Second / time.Duration(rate)) // as planned: who is late has waited
		time.Sleep(time.Until(began))
		group.Go(func() { o.call(hc, address, began) })
	}
	group.Wait()
}

// revocation ends a token before its time while many use it.
func revocation(t *testing.T, s size) section {
	entrants := []contestant{evergrant, xoauth2, google, msal}
	stages := make([]*stage, len(entrants))
	for i, c := range entrants {
		stages[i] = newStage(t, s, c)
	}
	refused, failed, requests := make([][]int, len(entrants)), make([]int, len(entrants)), make([][]int, len(entrants))
	recovered := make([][]time.Duration, len(entrants)) // of the rounds in which that happened
	for round := range s.bursts {
		for turn := range entrants {
			i := (round + turn) % len(entrants)
			st, o := stages[i], &outcome{}
			hc := st.dress(t, 1, good)[0]
			st.slow(s.endpoint)
			before := len(st.as.Requests())
			ctx, cancel := context.WithCancel(t.Context())
			var group sync.WaitGroup
			for range s.workers {
				group.Go(func() {
					for ctx.Err() == nil {
						o.call(hc, st.url, time.Now())
						time.Sleep(time.Millisecond)
					}
				})
			}
			for limit := time.Now().Add(5 * time.Second); o.served() < s.workers && time.Now().Before(limit); {
				time.Sleep(time.Millisecond)
			}
			o.mu.Lock()
			wellBefore := o.good()
			st.as.RevokeAccessToken("")
			revoked := time.Now()
			o.first, o.since = time.Time{}, revoked
			o.mu.Unlock()
			require.Positive(t, wellBefore, "nobody has been served")
			time.Sleep(s.revoked)
			cancel()
			group.Wait()
			refused[i] = append(refused[i], o.unauthorized)
			failed[i] += o.failed
			requests[i] = append(requests[i], len(st.as.Requests())-before)
			st.as.Heal()
			if !o.first.IsZero() {
				recovered[i] = append(recovered[i], o.first.Sub(revoked))
			}
		}
	}
	require.Len(t, recovered[0], s.bursts, "Evergrant does not recover")
	rows := table{head: []string{"", "401s that the caller sees, a round", "other failures", "token requests a round", "from the revocation to the first 200"}}
	for i, c := range entrants {
		when := "never"
		if len(recovered[i]) > 0 {
			when = span(recovered[i])
		}
		rows.add(c.name, span(refused[i]), fmt.Sprint(failed[i]), span(requests[i]), when)
	}
	_, _, seen := measure.Middle(refused[0])
	return section{
		title: "5. A token revoked early",
		text: fmt.Sprintf("%d workers make requests over loopback, one after the other, when the server revokes the access token; they go on for %v. "+
			"A token request takes %v.", s.workers, s.revoked, s.endpoint),
		tables:  []table{rows},
		figures: []figure{most("401s seen", seen+failed[0], 0, ""), exactly("one token request", requests[0], 1)},
	}
}

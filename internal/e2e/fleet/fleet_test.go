// Package fleet_test runs eight processes over one store while processes are killed and connections are cut, over every kind
// of store on one machine and against every kind of authorization server, and wants to know of each grant that was lost why.
package fleet_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/gnomekeyring"
	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/tcpproxy"
	"github.com/evergrant/evergrant/internal/record"
)

const (
	processes = 8
	killEvery = time.Second            // and the time until there is a request to strike at, and to recover
	callPause = 200 * time.Millisecond // the servers answer some hundred calls a second at most
	cutShare  = 0.25
	slowest   = 300 * time.Millisecond // how long the network keeps an answer, at most
	calm      = 3 * time.Second        // longer than a dead process's lease is honoured
	patience  = 10 * time.Second       // with a token in doubt, which somebody has yet to present
	look      = 20 * time.Millisecond  // between two looks at the store
)

func TestMain(m *testing.M) { crew.Main(m, nil) }

func TestFleet(t *testing.T) {
	if os.Getenv("EVERGRANT_E2E") != "1" {
		t.Skip("takes minutes; `make test` sets EVERGRANT_E2E")
	}
	for _, at := range []struct {
		name string
		open func(t *testing.T) crew.Place
	}{
		{"file", func(t *testing.T) crew.Place { return crew.Place{Dir: t.TempDir()} }},
		{"sealed file", func(t *testing.T) crew.Place { return crew.InFolder(t) }},
		{"keychain", func(t *testing.T) crew.Place { return crew.Place{Keychain: true, Dir: t.TempDir()} }},
	} {
		for _, kind := range servers {
			t.Run(at.name+"/"+kind.name, func(t *testing.T) {
				if at.name == "keychain" && gnomekeyring.Rerun(t, gnomekeyring.Unlocked) {
					return
				}
				newFleet(t, kind.start(t), kind.window, at.open(t)).run(crew.Length(t, 10*time.Second))
			})
		}
	}
}

// fleet is a crew in bad times, and the count of them.
type fleet struct {
	*crew.Crew
	t       *testing.T
	window  time.Duration // how long the server takes a spent token whose successors are not used
	weather *weather
	outages []outage
}

// outage is a time without a grant, from its loss on.
type outage struct{ from, to time.Time }

func (o outage) holds(at time.Time) bool { return !at.Before(o.from) && at.Before(o.to) }

func newFleet(t *testing.T, site crew.Site, window time.Duration, at crew.Place) *fleet {
	t.Helper()
	proxy := tcpproxy.Start(t)
	proxy.To(site.Address)
	f := &fleet{t: t, window: window, weather: &weather{}, Crew: crew.New(t, site.Behind(proxy.Address), at)}
	proxy.Otherwise(f.weather.choose)
	f.Task.Pause = callPause
	return f
}

// run has the fleet work for d in bad weather, and judges it.
func (f *fleet) run(d time.Duration) {
	f.t.Helper()
	for range processes {
		f.Hire()
	}
	f.RequireAll("begin", crew.Called, time.Time{})
	f.weather.set(true)
	for end := time.Now().Add(d); time.Now().Before(end); {
		f.watch(time.Now().Add(killEvery))
		if token := f.Strike(slowest / 3); token != "" {
			f.recover(token)
		}
	}
	f.weather.set(false)
	f.watch(time.Now().Add(calm))
	for limit := time.Now().Add(patience); !f.account().isSettled() && time.Now().Before(limit); {
		f.watch(time.Now().Add(calm / 10))
	}
	f.RequireAll("go on", crew.Called, time.Now())
	f.Dismiss()
	f.judge()
}

// recover lets the fleet get over the death of a worker that had sent token. A takeover lasts about as long as an access
// token lives here: if everyone who sends were killed, calls would rightly run out of time.
func (f *fleet) recover(token string) {
	f.t.Helper()
	f.watchUntil(func() bool { return ledger.Name(f.stored().RefreshToken) != token }, "take over")
	since := time.Now()
	f.watchUntil(func() bool { return f.Have(crew.Called, since) }, "recover")
}

// watchUntil replaces grants that are lost until something is done, as it must be.
func (f *fleet) watchUntil(done func() bool, what string) {
	f.t.Helper()
	for limit := time.Now().Add(patience); !done(); f.watch(time.Now().Add(look)) {
		require.True(f.t, time.Now().Before(limit), "they do not %s", what)
	}
}

// watch replaces grants that are lost, until then.
func (f *fleet) watch(until time.Time) {
	f.t.Helper()
	for time.Now().Before(until) {
		f.replaceLost()
		time.Sleep(look)
	}
}

// replaceLost logs in if the grant is lost.
func (f *fleet) replaceLost() {
	f.t.Helper()
	if !f.ReplaceLost() {
		return
	}
	const stillOut = time.Second // a call that has begun before the login
	f.outages = append(f.outages, outage{f.refusedLast(), time.Now().Add(stillOut)})
}

// refusedLast is when the token came that the server refused last.
func (f *fleet) refusedLast() (at time.Time) {
	f.t.Helper()
	for _, line := range f.Site.Log() {
		if line.Status != http.StatusOK {
			at = line.Time
		}
	}
	require.NotZero(f.t, at, "a loss without a refusal")
	return at
}

// account puts together what is known so far.
func (f *fleet) account() account {
	f.t.Helper()
	a := account{
		refreshes: f.Site.Refreshes(), wire: f.weather.exchanges(), kills: map[string]int{},
		held: map[string]time.Time{}, window: f.window,
	}
	for token, kills := range f.Doubts {
		a.kills[token] = len(kills)
	}
	hold := func(token string, at time.Time) {
		if since, ok := a.held[token]; !ok || at.Before(since) {
			a.held[token] = at
		}
	}
	for _, w := range f.All {
		for _, e := range w.Events() {
			if e.Name == crew.Leased || e.Name == crew.Settled {
				hold(e.Detail, e.At)
			}
		}
	}
	hold(ledger.Name(f.stored().RefreshToken), time.Now())
	return a
}

// stored is the record in the store.
func (f *fleet) stored() *record.Record {
	f.t.Helper()
	data, _, err := f.Store.Load(f.t.Context(), f.Site.StoreKey())
	require.NoError(f.t, err)
	r, err := record.Decode(data)
	require.NoError(f.t, err)
	return r
}

// judge wants nobody to have been failed, and every loss explained.
func (f *fleet) judge() {
	f.t.Helper()
	a := f.account()
	calls := f.judgeCalls()
	assert.Empty(f.t, a.faults(len(f.outages)))
	answers, requests, stranded := 0, 0, map[string]int{}
	for _, e := range a.wire {
		switch e.do {
		case tcpproxy.CutAnswer:
			answers++
		case tcpproxy.CutRequest:
			requests++
		}
	}
	for token := range a.stranded() {
		if a.cuts(token, tcpproxy.CutAnswer) > 0 {
			stranded["answer cut"]++
		} else {
			stranded["receiver killed"]++
		}
	}
	f.t.Logf("%d calls; %d token requests: %d cut before the server, %d after; %d kills, %d tokens in doubt; %d grants lost: %v",
		calls, len(a.wire), requests, answers, f.Strikes, len(f.Doubts), len(f.outages), stranded)
	assert.NotEmpty(f.t, f.Doubts, "no kill has fallen between sending and saving: this run has proved nothing about that")
	assert.Greater(f.t, len(a.refreshes), len(f.outages), "nothing was renewed")
	assert.LessOrEqual(f.t, len(a.refreshes), len(a.wire)-requests, "the server has seen what the proxy has not")
	if f.t.Failed() {
		f.tell(a)
	}
}

// tell logs what has led to the judgement, in its order.
func (f *fleet) tell(a account) {
	f.t.Helper()
	type entry struct {
		at   time.Time
		text string
	}
	var story []entry
	for _, e := range a.wire {
		story = append(story, entry{e.at, fmt.Sprint("proxy: ", e.token, " ", e.do)})
	}
	for _, line := range a.refreshes {
		story = append(story, entry{line.Time, fmt.Sprint("server: ", line.Presented, " -> ", line.Issued, " ", line.Status, " ", line.Error)})
	}
	for i, w := range f.All {
		for _, e := range w.Events() {
			if e.Name != crew.Called {
				story = append(story, entry{e.At, fmt.Sprint("worker ", i, ": ", e.Name, " ", e.Detail)})
			}
		}
	}
	slices.SortFunc(story, func(a, b entry) int { return a.at.Compare(b.at) })
	for _, e := range story {
		f.t.Log(e.at.UTC().Format("15:04:05.000"), e.text)
	}
}

// judgeCalls counts the calls that were answered. None may have failed, unless it said that the grant was lost and was right.
func (f *fleet) judgeCalls() (calls int) {
	f.t.Helper()
	for _, w := range f.All {
		for _, e := range w.Events() {
			switch e.Name {
			case crew.Called:
				calls++
			case crew.Failed:
				assert.Fail(f.t, "a request failed", e.Detail)
			case crew.LoginRequired:
				assert.Equal(f.t, "lost answer", e.Detail)
				isThen := func(o outage) bool { return o.holds(e.At) }
				assert.True(f.t, slices.ContainsFunc(f.outages, isThen), "a login is asked for at %v, and the outages are %v", e.At, f.outages)
			}
		}
	}
	return calls
}

// weather is what the network does to token requests, and the log of them. It is safe for concurrent use.
type weather struct {
	mu  sync.Mutex // guards what follows
	bad bool
	cut bool // the last request
	log []exchange
}

func (w *weather) set(bad bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.bad = bad
}

func (w *weather) exchanges() []exchange {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]exchange(nil), w.log...)
}

// choose is the rule for a request. A connection is never cut right after another: that the repetition is lost too is a
// failure which callers are told of, and so may not happen here.
func (w *weather) choose(start []byte) tcpproxy.Rule {
	_, body, _ := bytes.Cut(start, []byte("\r\n\r\n"))
	form, err := url.ParseQuery(string(body))
	if err != nil || form.Get("grant_type") != "refresh_token" {
		return tcpproxy.Rule{} // somebody logs in
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	rule := tcpproxy.Rule{Do: tcpproxy.HoldAnswer, Hold: rand.N(slowest)}
	if w.cut = w.bad && !w.cut && rand.Float64() < cutShare; w.cut {
		rule.Do = []tcpproxy.Action{tcpproxy.CutRequest, tcpproxy.CutAnswer}[rand.N(2)]
	}
	w.log = append(w.log, exchange{time.Now(), ledger.Name(form.Get("refresh_token")), rule.Do})
	return rule
}

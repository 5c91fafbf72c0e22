package simulation

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore"
)

const (
	authority     = "front.test" // where the processes believe the authorization server to be
	processHeader = "Simulation-Process"
	faultHeader   = "Simulation-Fault"
	requestHeader = "Simulation-Request"
	callHeader    = "Simulation-Call"
	secret        = "secret of the client"
)

// world is one history.
type world struct {
	*scheduler
	scenario
	t        *testing.T
	seed     uint64
	as       *clienttest.Server
	api      *clienttest.API
	files    *clienttest.API
	store    *tokenstore.Memory
	storeKey string // where the grant lies
	judge    *judge
	late     sync.WaitGroup // requests that the server gets later
	requests atomic.Uint64

	crowd     sync.Mutex
	processes []*process                            // all that ever ran; guarded by crowd
	answers   map[string]*httptest.ResponseRecorder // the first good one, by refresh token; guarded by crowd
	callers   []*caller
	acts      []*act
	spent     int    // of the budget of faults
	outage    string // what the store does to everybody: "", down, read-only
	calm      bool   // nothing goes wrong any more
	naps      []nap
}

// newWorld makes a world in which somebody has logged in. The caller is in a bubble.
func newWorld(t *testing.T, seed uint64, sc scenario, s *scheduler) *world {
	w := &world{scheduler: s, scenario: sc, t: t, seed: seed, as: clienttest.New(t), store: tokenstore.NewMemory()}
	id := "app"
	if sc.credentials {
		sum := sha256.Sum256([]byte("client_id=app&grant_type=client_credentials&scope=read"))
		id += "/" + hex.EncodeToString(sum[:8]) // of a grant that needs no person
	}
	w.storeKey = tokenstore.Key("https://"+authority+"/token", id, "alice")
	w.as.Register("app", secret, "client_secret_basic", "https://app.test/callback")
	w.as.Policy = sc.policy
	w.api, w.files = w.as.NewAPI("api.test"), w.as.NewAPI("files.test")
	w.api.Handler = http.HandlerFunc(w.serveAPI)
	w.as.Handle("https://"+authority, http.HandlerFunc(w.serveAuthority))
	w.as.Handle("https://evil.test", http.HandlerFunc(w.serveEvil))
	w.judge, w.answers = newJudge(w), map[string]*httptest.ResponseRecorder{}
	if !sc.credentials {
		w.begin()
	}
	return w
}

// begin has somebody log in before the first step, and puts a member into the record that no version knows.
func (w *world) begin() {
	c, err := client.New(client.Config{Endpoint: w.endpoint(), ClientID: "app", ClientSecret: secret, Store: w.store})
	require.NoError(w.t, err)
	token := w.as.Login("read")
	w.judge.granted(token)
	require.NoError(w.t, c.Session("alice").Adopt(w.t.Context(), token))
	require.NoError(w.t, c.Close(w.t.Context()))
	value, version, err := w.store.Load(w.t.Context(), w.storeKey)
	require.NoError(w.t, err)
	value = append([]byte(`{"from_the_future":["kept"],`), value[1:]...)
	_, err = w.store.Swap(w.t.Context(), w.storeKey, version, value)
	require.NoError(w.t, err)
	w.judge.stored(value)
}

func (w *world) endpoint() oauth2.Endpoint {
	return oauth2.Endpoint{AuthURL: "https://as.test/authorize", TokenURL: "https://" + authority + "/token", AuthStyle: oauth2.AuthStyleInHeader}
}

// start starts a process.
func (w *world) start() *process {
	w.crowd.Lock()
	number := len(w.processes) + 1
	p := &process{
		world: w, name: fmt.Sprintf("P%d", number), number: number, dead: make(chan struct{}), holds: map[string]bool{}, gaveUp: map[string]time.Time{},
		wire: w.as.HTTPClient("").Transport, seen: newKnowledge(),
	}
	w.processes = append(w.processes, p)
	w.crowd.Unlock()
	if w.clocks {
		p.wall = time.Duration(w.chance.IntN(600)-300) * time.Second
	}
	config := client.Config{
		Endpoint: w.endpoint(), RevocationURL: "https://" + authority + "/revoke", RedirectURL: "https://app.test/callback",
		ClientID: "app", ClientSecret: secret, Scopes: []string{"read"},
		Store: tokenstore.Store(p), AuthServerClient: &http.Client{Transport: p},
	}
	switch w.scenario.store {
	case "local":
		config.Store = local{p}
	case "waiting":
		config.Store = waiting{p}
	}
	if w.credentials {
		config.Grant = client.ClientCredentials{}
	}
	if w.seed%2 == 0 {
		config.OnEvent = func(e client.Event) { w.judge.told(p, e) }
	}
	var err error
	p.client, err = client.New(config)
	require.NoError(w.t, err)
	p.alice = p.client.Session("alice")
	w.note("%s starts, its clock %v off", p.name, p.wall)
	return p
}

func (w *world) everybody() []*process {
	w.crowd.Lock()
	defer w.crowd.Unlock()
	return slices.Clone(w.processes)
}

// living are the processes that could do something now.
func (w *world) living() []*process {
	return slices.DeleteFunc(w.everybody(), func(p *process) bool { return p.isDead() || p.stopped || p.closing })
}

// kill ends a process as SIGKILL does: from now on nothing of it reaches the world.
func (w *world) kill(p *process) {
	w.note("%s is killed", p.name)
	w.judge.died(p)
	p.diedAt = time.Now()
	close(p.dead)
	p.stopped = false
	// What is left of it in memory ends too: the bubble does not.
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	_ = p.client.Close(ended)
	w.rest()
}

// history runs the world to its end: trouble for a while, then calm, in which everything must come right.
func (w *world) history() {
	w.note("%s", &w.scenario)
	for range w.scenario.processes {
		w.start()
	}
	for range w.turns {
		w.turn()
		if w.judge.hasRuled() {
			break
		}
	}
	w.settle()
	if !w.judge.hasRuled() {
		w.probe()
	}
	w.end()
}

// turn is one move of the scheduler.
func (w *world) turn() {
	steps := w.ready()
	w.judge.examine()
	move := w.chance.IntN(100)
	switch {
	case len(steps) > 0 && move < 70:
		st := steps[w.chance.IntN(len(steps))]
		w.let(st, w.drawFault(st.kind))
	case move < 85:
		w.act()
	case len(steps) > 0 && w.has("slow"):
		w.pass(one(w.chance, time.Millisecond, 100*time.Millisecond, 3*time.Second, 6*time.Second, 20*time.Second))
	case len(steps) > 0:
		w.pass(one(w.chance, time.Millisecond, 20*time.Millisecond, 200*time.Millisecond))
	default:
		life := w.policy.Lifetime
		w.pass(one(w.chance, time.Millisecond, 100*time.Millisecond, time.Second, 5*time.Second, life/2, life*4/5, life*9/10, life, 2*life, time.Minute))
	}
}

// drawFault draws what goes wrong with a step.
func (w *world) drawFault(kind string) fault {
	if w.calm {
		return ""
	}
	if w.outage == "down" && (kind == "load" || kind == "swap") || w.outage == "read-only" && kind == "swap" {
		return "before"
	}
	all := w.faults(kind)
	if len(all) == 0 || w.spent >= w.budget || w.chance.IntN(100) >= w.rate {
		return ""
	}
	w.spent++
	return all[w.chance.IntN(len(all))]
}

// settle heals everything and lets what is under way come to its end.
func (w *world) settle() {
	w.note("from here on all is well")
	w.calm, w.outage = true, ""
	w.as.Change(func() { w.api.RejectAll, w.files.RejectAll = false, false })
	for _, p := range w.everybody() {
		w.resume(p)
	}
	w.drain(15 * time.Minute)
}

// drain releases every step until nobody waits for anything.
func (w *world) drain(most time.Duration) {
	for until := time.Now().Add(most); ; {
		steps := w.ready()
		w.judge.examine()
		switch {
		case w.judge.hasRuled():
			return
		case len(steps) > 0:
			w.let(steps[w.chance.IntN(len(steps))], "")
		case !w.isBusy():
			return
		case time.Now().After(until):
			w.judge.rule("P6: callers still wait after %v in which nothing went wrong", most)
			return
		default:
			w.pass(100 * time.Millisecond)
		}
	}
}

// isBusy reports whether somebody waits for an answer of ours.
func (w *world) isBusy() bool {
	return slices.ContainsFunc(w.callers, func(c *caller) bool { return !c.isDone() }) ||
		slices.ContainsFunc(w.acts, func(a *act) bool { return !a.isDone() })
}

// probe asks, when nothing goes wrong any more, whether the grant has been kept.
func (w *world) probe() {
	if len(w.living()) == 0 {
		w.start()
	}
	w.idle(20 * time.Minute) // longer than any backoff, and than what an unclear refusal is believed for
	for _, p := range w.living() {
		for range 3 { // an unclear refusal is asked again
			c := w.call(p, "token", "")
			w.drain(15 * time.Minute)
			if w.judge.hasRuled() {
				return
			}
			if w.judge.final(c) {
				break
			}
			w.idle(11 * time.Minute)
		}
	}
	w.idle(3 * time.Hour)
}

// idle lets time pass while nobody asks for anything: nothing may happen by itself then (I11), except that
// tokens are saved which could not be saved before.
func (w *world) idle(d time.Duration) {
	for range 40 { // renewals that nobody waits for end by their own limit
		w.drain(15 * time.Minute)
		w.pass(4 * time.Second)
	}
	w.drain(15 * time.Minute)
	for _, part := range []time.Duration{time.Second, time.Minute, d} {
		w.pass(part)
		for _, st := range w.ready() {
			if !w.judge.isUnsaved(st.process) {
				w.judge.rule("I11: %s does something by itself: %s", st.process.name, st.kind)
			}
		}
		w.drain(15 * time.Minute)
	}
}

// end closes everybody.
func (w *world) end() {
	for _, p := range w.living() {
		if w.judge.hasRuled() {
			w.kill(p)
			continue
		}
		w.close(p)
		w.drain(15 * time.Minute)
	}
	for _, p := range w.everybody() {
		if !p.isDead() {
			w.resume(p)
			w.kill(p)
		}
	}
	for _, st := range w.ready() {
		w.let(st, "")
	}
	w.late.Wait()
	w.judge.closing()
}

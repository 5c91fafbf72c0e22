package simulation

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

// leaseLength and grace are what the protocol promises: a living holder keeps its lease for so long without a
// word, and the request of a dead one is left so much time to arrive.
const (
	leaseLength = 15 * time.Second
	grace       = 2 * time.Second
)

// judge knows what the server, the store and the processes have seen, and says what must not be. What it knows is
// from outside the engine.
type judge struct {
	world *world

	mu      sync.Mutex
	ruling  string                   // the first violation; guarded by mu, as all below
	refresh map[string]*refreshToken // all that the server ever issued
	access  map[string]*accessToken
	beats   map[string]time.Time     // when a lease was last written, by attempt and beat
	flights map[string]*presentation // token requests under way, by request
	calls   map[string]int           // sendings with a token, by call
	excuses map[string]bool
	read    struct { // what was in the store when it was last looked at
		version tokenstore.Version
		record  *record.Record
	}
}

// refreshToken is one that the server issued.
type refreshToken struct {
	login     int // tokens that go back to one login have the same
	name      string
	presented []*presentation
	revoked   bool // by an administrator
}

type accessToken struct {
	issued  time.Time
	life    time.Duration
	durable bool // it was in the store at some time
	doubted bool // it may be believed to be older than it is: after a lost answer it may be as old as that
}

// knowledge is what one process has been told.
type knowledge struct {
	received   map[string]bool // refresh and access tokens
	succeeded  map[string]bool // refresh tokens whose successor it has received
	refused    map[string]bool // refresh tokens of which the server told it that they are good no more
	believed   map[string]bool // those of them that the process has been able to compare with the store
	notBefore  map[string]time.Time
	rejected   map[string]bool // access tokens
	held       map[string]held // by resource
	acts       map[string]int  // of persons, under way
	grant      string          // of its newest lease
	lease      string          // the attempt of its newest lease
	numbers    map[uint64]bool // of its leases
	loads      int             // of the store
	doubt      bool            // its newest lease follows one that was not given back
	failing    bool            // a step of it has failed for another reason than the network
	saveFailed bool            // the store has refused it tokens
	unsaved    map[string]bool // access tokens whose save was refused
	renewed    bool            // a caller has asked for a renewal
}

func newKnowledge() knowledge {
	return knowledge{
		received: map[string]bool{}, succeeded: map[string]bool{}, refused: map[string]bool{}, believed: map[string]bool{}, notBefore: map[string]time.Time{},
		rejected: map[string]bool{}, held: map[string]held{}, acts: map[string]int{}, unsaved: map[string]bool{}, numbers: map[uint64]bool{},
	}
}

func newJudge(w *world) *judge {
	return &judge{
		world: w, refresh: map[string]*refreshToken{}, access: map[string]*accessToken{}, beats: map[string]time.Time{},
		flights: map[string]*presentation{}, calls: map[string]int{}, excuses: map[string]bool{},
	}
}

// rule says what was violated. The first ruling counts.
func (j *judge) rule(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ruleLocked(format, args...)
}

func (j *judge) ruleLocked(format string, args ...any) {
	if j.ruling == "" {
		j.ruling = fmt.Sprintf(format, args...)
		j.world.aside("VIOLATION: %s", j.ruling)
	}
}

func (j *judge) hasRuled() bool { j.mu.Lock(); defer j.mu.Unlock(); return j.ruling != "" }

// excuseLocked notes an event for which a grant may be lost.
func (j *judge) excuseLocked(why string) {
	if !j.excuses[why] {
		j.world.aside("(from now on a grant may be lost: %s)", why)
	}
	j.excuses[why] = true
}

// granted notes the tokens of a new login.
func (j *judge) granted(t *oauth2.Token) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.newRefreshLocked(t.RefreshToken, len(j.refresh)+1)
	j.newAccessLocked(t.AccessToken)
}

func (j *judge) newRefreshLocked(value string, login int) {
	if j.refresh[value] == nil {
		j.refresh[value] = &refreshToken{login: login, name: fmt.Sprintf("RT%d", len(j.refresh)+1)}
	}
}

func (j *judge) newAccessLocked(value string) {
	if j.access[value] == nil {
		j.access[value] = &accessToken{issued: time.Now(), life: j.world.policy.Lifetime}
	}
}

// current is the record that the store holds; nil when there is none.
func (j *judge) current() *record.Record {
	value, version, err := j.world.store.Load(context.Background(), j.world.storeKey)
	if err != nil {
		return nil
	}
	if version == j.read.version {
		return j.read.record
	}
	r, err := record.Decode(value)
	if err != nil {
		j.ruleLocked("the store holds what nobody can read: %v", err)
		return nil
	}
	j.read.version, j.read.record = version, r
	return r
}

// died notes what dies with a process.
func (j *judge) died(p *process) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.diedAskingLocked(p)
	j.diedHoldingLocked(p)
}

// diedAskingLocked gives up what a process has under way.
func (j *judge) diedAskingLocked(p *process) {
	for request, seen := range j.flights {
		if seen.by == p {
			j.excuseLocked("crash in flight")
			j.overLocked(request)
		}
	}
}

// diedHoldingLocked looks for tokens that a process has received and that never got into the store.
func (j *judge) diedHoldingLocked(p *process) {
	if j.holdsUnsavedLocked(p) {
		j.excuseLocked("crash holding")
	}
}

func (j *judge) holdsUnsaved(p *process) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.holdsUnsavedLocked(p)
}

func (j *judge) holdsUnsavedLocked(p *process) bool {
	for token := range p.seen.received {
		if at := j.access[token]; at != nil && !at.durable {
			return true
		}
	}
	return false
}

// closed judges the end of a Client that was closed.
func (j *judge) closed(p *process, err error, calm bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if outdone := j.world.has("person") || j.excuses["overrun"]; err == nil && !outdone && j.holdsUnsavedLocked(p) {
		j.ruleLocked("I3: %s is closed, and tokens that it has received are nowhere", p.name)
	}
	if err != nil {
		j.shownLocked(err.Error())
		j.diedAskingLocked(p)
		j.diedHoldingLocked(p)
		if calm {
			j.ruleLocked("P6: %s cannot be closed though nothing goes wrong: %v", p.name, err)
		}
	}
}

// isUnsaved reports whether a process has tokens that the store has refused so far.
func (j *judge) isUnsaved(p *process) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return p.seen.saveFailed
}

// acting notes a person's act; the function it returns, how that has ended.
func (j *judge) acting(p *process, what string) func(error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	p.seen.acts[what]++
	clear(p.seen.held)
	p.seen.failing = true
	return func(err error) {
		j.mu.Lock()
		defer j.mu.Unlock()
		p.seen.acts[what]--
		clear(p.seen.held)
		if err != nil {
			j.shownLocked(err.Error())
		}
	}
}

func (p *process) isLoggingIn() bool { return p.seen.acts["login"]+p.seen.acts["adopt"] > 0 }

// told looks at an event.
func (j *judge) told(p *process, e client.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.shownLocked(fmt.Sprintf("%+v", e))
}

// shownLocked is I10: no text holds a secret.
func (j *judge) shownLocked(text string) {
	for token := range j.refresh {
		if strings.Contains(text, token) {
			j.ruleLocked("I10: a refresh token is shown: %s", text)
		}
	}
	for token := range j.access {
		if strings.Contains(text, token) {
			j.ruleLocked("I10: an access token is shown: %s", text)
		}
	}
	if strings.Contains(text, secret) {
		j.ruleLocked("I10: the client's secret is shown: %s", text)
	}
}

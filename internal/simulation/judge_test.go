package simulation

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/transport"
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

// presentation is a refresh token on its way to the server, and what became of it.
type presentation struct {
	by        *process
	token     string
	login     bool   // it is a code
	lease     string // the attempt under which it is sent
	loads     int    // of the store by the process, when it was over
	ended     time.Time
	over      bool   // nothing is under way any more
	processed bool   // the server acted upon it
	delivered bool   // the whole answer reached the process
	late      bool   // the server gets it later
	issued    string // the refresh token in the answer
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

// held is an access token that a process has used.
type held struct {
	token  string
	usable time.Time // until, by its own wall clock
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

// excuse notes an event for which a grant may be lost.
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

// presented judges a request that arrives at the authorization server.
func (j *judge) presented(p *process, request, path string, form url.Values) *presentation {
	j.mu.Lock()
	defer j.mu.Unlock()
	token := form.Get("refresh_token")
	if path == "/revoke" {
		j.revokingLocked(p, form.Get("token"))
		return &presentation{by: p}
	}
	rt := j.refresh[token]
	seen := &presentation{by: p, token: token, login: form.Get("code") != ""}
	if token == "" {
		return seen
	}
	j.flights[request] = seen
	if rt == nil {
		j.ruleLocked("%s sends a refresh token that was never issued", p.name)
		return seen
	}
	j.world.aside("%s presents %s", p.name, rt.name)
	seen.lease = p.seen.lease
	j.mayPresentLocked(seen, rt)
	if now := j.current(); now != nil {
		j.isDueLocked(seen, now)
	}
	rt.presented = append(rt.presented, seen)
	return seen
}

// mayPresentLocked is I1, I2 and the memory of failures, at the moment when a refresh token arrives.
func (j *judge) mayPresentLocked(seen *presentation, rt *refreshToken) {
	now, p, token := j.current(), seen.by, seen.token
	mine := now != nil && now.Grant == p.seen.grant
	switch {
	case p.seen.succeeded[token]:
		j.ruleLocked("I1: %s sends %s after it has received its successor", p.name, rt.name)
	case p.seen.believed[token]:
		j.ruleLocked("I6: %s sends %s again, which the server has refused", p.name, rt.name)
	case time.Now().Before(p.seen.notBefore[token]):
		j.ruleLocked("Retry-After: %s sends %s %v too early", p.name, rt.name, time.Until(p.seen.notBefore[token]))
	case mine && now.RefreshToken != token && !j.excuses["overrun"]:
		j.ruleLocked("I1: %s sends %s, whose successor is in the store", p.name, rt.name)
	case mine && (now.Lease == nil || now.Lease.Owner != p.owner):
		j.ruleLocked("I2: %s sends %s without its lease being in the store", p.name, rt.name)
	case mine && time.Since(j.beats[beat(now.Lease)]) >= leaseLength:
		j.ruleLocked("I1: %s sends %s when its lease has run out", p.name, rt.name)
	case mine && now.Mark != nil && now.Mark.Verdict == record.Dead:
		j.ruleLocked("I6: %s sends %s, which is marked as dead", p.name, rt.name)
	}
	for i, before := range rt.presented {
		last := i == len(rt.presented)-1
		switch {
		case before.by == p && before.lease == seen.lease && before.over && before.loads == p.seen.loads:
			j.ruleLocked("D12: %s sends %s again without having looked into the store", p.name, rt.name)
		case last && j.world.rotates() && before.by == p && before.lease != seen.lease && before.over && !before.delivered && time.Since(before.ended) < 750*time.Millisecond && !p.overrun && !p.seen.failing:
			j.ruleLocked("I12: %s sends %s again %v after a renewal with it has failed", p.name, rt.name, time.Since(before.ended))
		case j.world.rotates() && before.delivered && before.issued != "" && before.issued != token && !before.by.isDead() && !before.by.overrun:
			j.ruleLocked("I1: %s sends %s, which %s has exchanged", p.name, rt.name, before.by.name)
		case !before.over && !before.by.isDead() && !before.by.overrun:
			j.ruleLocked("I1: %s sends %s while %s does", p.name, rt.name, before.by.name)
		}
	}
}

// isDueLocked judges whether it was time to renew: a fresh token that nobody has rejected is not renewed.
func (j *judge) isDueLocked(seen *presentation, now *record.Record) {
	sc, p := &j.world.scenario, seen.by
	stored := now.Access[""]
	if stored == nil || p.seen.renewed || sc.clocks || sc.policy.Answer != nil || now.RefreshToken != seen.token || len(p.seen.rejected) > 0 ||
		sc.has("renew") || sc.has("resources") || sc.has("person") || len(j.excuses) > 0 {
		return
	}
	at := j.access[stored.Token]
	margin := min(sc.policy.Lifetime/4, 5*time.Minute)
	if early := sc.policy.Lifetime - margin - margin/10; at != nil && !at.doubted && time.Since(at.issued) < early-time.Second {
		j.ruleLocked("%s renews a token of %v when it is %v old", p.name, sc.policy.Lifetime, time.Since(at.issued))
	}
}

func beat(l *record.Lease) string { return l.Attempt + "/" + strconv.FormatUint(l.Beat, 10) }

func (j *judge) isLate(seen *presentation) {
	j.mu.Lock()
	defer j.mu.Unlock()
	seen.late = true
	j.excuseLocked("late request")
}

// processed notes what the server answers.
func (j *judge) processed(seen *presentation, status int, body []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	seen.processed = true
	var answer struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	if status != http.StatusOK || json.Unmarshal(body, &answer) != nil || answer.Access == "" {
		if rt := j.refresh[seen.token]; rt != nil {
			j.world.aside("the server refuses %s: %d", rt.name, status)
		}
		return
	}
	j.newAccessLocked(answer.Access)
	j.access[answer.Access].doubted = seen.login || seen.by.seen.doubt // a login counts from before its request was dialled
	login := len(j.refresh) + 1
	if rt := j.refresh[seen.token]; rt != nil {
		login = rt.login
		if slices.ContainsFunc(rt.presented, func(other *presentation) bool { return other != seen && !other.delivered }) {
			j.access[answer.Access].doubted = true
		}
	}
	if answer.Refresh != "" {
		seen.issued = answer.Refresh
		j.newRefreshLocked(answer.Refresh, login)
		j.world.aside("the server issues %s", j.refresh[answer.Refresh].name)
	}
	if seen.over && seen.token != "" { // nobody waits for it any more
		j.excuseLocked("lost answer")
	}
}

// answered notes what reaches a process of the answer to its request.
func (j *judge) answered(p *process, request string, resp *http.Response, body []byte, cut error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	var answer struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
		Error   string `json:"error"`
	}
	_ = json.Unmarshal(body, &answer)
	whole := cut == nil
	seen := j.flights[request]
	if whole && resp.StatusCode == http.StatusOK && answer.Access != "" {
		p.seen.received[answer.Access], p.seen.received[answer.Refresh] = true, true
		if seen != nil {
			seen.delivered = true
			if answer.Refresh != "" && answer.Refresh != seen.token {
				p.seen.succeeded[seen.token] = true
			}
		}
	}
	if seen == nil {
		return
	}
	j.overLocked(request)
	if whole && answer.Error == "invalid_grant" {
		p.seen.refused[seen.token], p.seen.believed[seen.token] = true, true
	}
	switch resp.StatusCode {
	case http.StatusTooManyRequests:
		p.seen.notBefore[seen.token] = time.Now().Add(7 * time.Second)
	case http.StatusServiceUnavailable:
		p.seen.notBefore[seen.token] = time.Now().Add(3 * time.Second) // dates have whole seconds
	}
}

// over notes that nobody waits for the answer to a request any more.
func (j *judge) over(request string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.overLocked(request)
}

func (j *judge) overLocked(request string) {
	seen := j.flights[request]
	if seen == nil {
		return
	}
	delete(j.flights, request)
	seen.over, seen.loads, seen.ended = true, seen.by.seen.loads, time.Now()
	if seen.processed && !seen.delivered && seen.issued != "" {
		j.excuseLocked("lost answer")
	}
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

// revoked notes that an administrator has ended every grant there is.
func (j *judge) revoked() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, rt := range j.refresh {
		rt.revoked = true
	}
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

// revokingLocked judges a revocation (RFC 7009): none may reach the grant that the store holds, but for a logout.
func (j *judge) revokingLocked(p *process, token string) {
	now, rt := j.current(), j.refresh[token]
	if rt == nil {
		return
	}
	for _, other := range j.refresh {
		other.revoked = other.revoked || other.login == rt.login
	}
	if now == nil {
		return
	}
	if stored := j.refresh[now.RefreshToken]; stored != nil && stored.login == rt.login && p.seen.acts["logout"] == 0 && !p.isLoggingIn() {
		j.ruleLocked("a newer login could die: %s revokes %s while the store holds the same grant", p.name, rt.name)
	}
}

// called judges a request to a resource server.
func (j *judge) called(p *process, req *http.Request) {
	header := req.Header.Get("Authorization")
	if header == "" {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	token, resource := strings.TrimPrefix(header, "Bearer "), ""
	if req.URL.Host == "files.test" {
		resource = "https://files.test"
	}
	if host := req.URL.Host; host != "api.test" && host != "files.test" {
		j.ruleLocked("I7: a token goes to %s", host)
	}
	id := req.Header.Get(callHeader)
	if j.calls[id]++; j.calls[id] > 2 {
		j.ruleLocked("I9: call %s is sent %d times", id, j.calls[id])
	}
	at := j.access[token]
	switch {
	case at == nil:
		j.ruleLocked("%s uses an access token that was never issued", p.name)
	case !at.durable && !p.seen.unsaved[token]:
		j.ruleLocked("I3: %s uses a token before it is in the store", p.name)
	case !at.durable && j.hasUsableLocked(p, resource) && p.seen.held[resource].token != token && !p.seen.renewed:
		j.ruleLocked("I3: %s uses a token that is not saved, though the saved one is good", p.name)
	}
	j.heldLocked(p, resource, token)
}

// heldLocked notes that a process has an access token.
func (j *judge) heldLocked(p *process, resource, token string) {
	at, now := j.access[token], j.current()
	if at == nil || at.doubted || p.seen.rejected[token] || now == nil || now.Access[resource] == nil || now.Access[resource].Token != token {
		return // what a call took along before a person logged out says nothing of the next call
	}
	margin := min(at.life/20, 10*time.Second)
	if p.seen.held[resource].token != token {
		p.seen.held[resource] = held{token, at.issued.Add(at.life - margin - time.Second)}
	}
}

// served notes how a resource server has answered.
func (j *judge) served(p *process, req *http.Request, resp *http.Response) {
	if resp.StatusCode != http.StatusUnauthorized {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	token := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	p.seen.rejected[token] = true
	for resource, h := range p.seen.held {
		if h.token == token {
			delete(p.seen.held, resource)
		}
	}
}

// hasUsable reports whether a process surely has a usable token for resource (I5).
func (j *judge) hasUsable(p *process, resource string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.hasUsableLocked(p, resource)
}

func (j *judge) hasUsableLocked(p *process, resource string) bool {
	h, ok := p.seen.held[resource]
	_, said := j.world.policy.Answer["expires_in"]
	return ok && !said && !j.world.clocks && time.Now().Before(h.usable)
}

// begun judges a call as far as it has got before the first step: with a usable token nothing waits for a renewal.
func (j *judge) begun(c *caller) {
	if !c.atOnce || c.isDone() {
		return
	}
	j.world.scheduler.mu.Lock()
	sent := slices.ContainsFunc(j.world.pending, func(st *step) bool { return st.kind == "call" && st.what == c.id })
	j.world.scheduler.mu.Unlock()
	if !sent {
		j.rule("I5: call %s of %s waits though there is a usable token", c.id, c.process.name)
	}
}

// examine judges the calls that have ended since it last did, and those that should have.
func (j *judge) examine() {
	shared := map[*process]error{} // I12
	for _, c := range j.world.callers {
		if c.judged {
			continue
		}
		if !c.isDone() {
			if c.ctx.Err() != nil && !c.process.stopped {
				j.rule("I4: call %s of %s goes on after its context has ended", c.id, c.process.name)
			}
			continue
		}
		c.judged = true
		if c.process.isDead() {
			continue
		}
		j.ended(c, shared)
	}
}

// ended judges a call that has ended.
func (j *judge) ended(c *caller, shared map[*process]error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	p := c.process
	if c.body != nil && c.body.closed != 1 {
		j.ruleLocked("I8: the body of call %s is closed %d times", c.id, c.body.closed)
	}
	if c.kind == "renew" {
		p.seen.renewed = true
		clear(p.seen.held)
	}
	if c.err == nil {
		if c.token != nil {
			j.heldLocked(p, c.resource, c.token.AccessToken)
			if at := j.access[c.token.AccessToken]; at != nil && !j.world.clocks && j.world.policy.Answer == nil && c.token.Expiry.After(at.issued.Add(at.life)) {
				j.ruleLocked("%s believes that a token lives until %v after its end", p.name, c.token.Expiry.Sub(at.issued.Add(at.life)))
			}
			if c.token.RefreshToken != "" {
				j.ruleLocked("a token that is handed out holds the refresh token")
			}
		}
		return
	}
	j.world.aside("call %s of %s ends: %v", c.id, p.name, c.err)
	j.shownLocked(c.err.Error())
	e, ok := errors.AsType[*client.Error](c.err)
	if errors.Is(c.err, context.Canceled) && c.ctx.Err() == nil && !p.closing {
		j.ruleLocked("I4: call %s of %s ends because another caller has given up: %v", c.id, p.name, c.err)
	}
	if !ok || c.ctx.Err() != nil || errors.Is(c.err, transport.ErrRejected) {
		return
	}
	if c.atOnce {
		j.ruleLocked("I5: call %s of %s fails though there is a usable token: %v", c.id, p.name, e)
	}
	if before := shared[p]; before != nil && before != error(e) && c.resource == "" {
		j.ruleLocked("I12: those who wait for one renewal get different errors: %v and %v", before, e)
	}
	if c.resource == "" {
		shared[p] = e
	}
	if errors.Is(e, client.ErrLoginRequired) {
		j.needsLoginLocked(p, e)
	}
}

// needsLoginLocked is I6: nothing but the server's word, or a logout, ends a session.
func (j *judge) needsLoginLocked(p *process, e *client.Error) {
	now := j.current()
	switch {
	case now == nil && e.Cause == "absent":
	case now == nil || e.Cause == "absent":
		if !j.excuses["overrun"] && len(j.acted()) == 0 {
			j.ruleLocked("I6: %s is told %q though the store says otherwise", p.name, e.Cause)
		}
	case now.Mark == nil && !p.seen.refused[now.RefreshToken] && len(j.acted()) == 0:
		j.ruleLocked("I6: %s is told that a login is required, which no server has said", p.name)
	}
}

// acted names the persons' acts that are under way: what the store holds is then only half of the story.
func (j *judge) acted() []string {
	var all []string
	for _, p := range j.world.everybody() {
		for what, n := range p.seen.acts {
			if n > 0 {
				all = append(all, what)
			}
		}
	}
	return all
}

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

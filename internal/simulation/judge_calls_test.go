package simulation

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/transport"
)

// held is an access token that a process has used.
type held struct {
	token  string
	usable time.Time // until, by its own wall clock
}

// carried is the access token of a request to a resource server, "" when there is none, and the resource it is for.
func carried(req *http.Request) (token, resource string) {
	if req.URL.Host == "files.test" {
		resource = "https://files.test"
	}
	return strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer "), resource
}

// hasBetter reports whether p has had a usable token that is saved, other than the one that it now gives to req.
func (j *judge) hasBetter(p *process, req *http.Request) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	token, resource := carried(req)
	return j.hasUsableLocked(p, resource) && p.seen.held[resource].token != token
}

// called judges a request to a resource server; better says what hasBetter said when its token was chosen.
func (j *judge) called(p *process, req *http.Request, better bool) {
	token, resource := carried(req)
	if token == "" {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
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
	case !at.durable && better && !p.seen.renewed:
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

// adopted notes that a process has adopted a token: whoever waits there for one is to have it, whatever else is under way (I5).
func (j *judge) adopted(p *process, token string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, said := j.world.policy.Answer["expires_in"]
	if at := j.access[token]; said || j.world.clocks || p.closing || time.Since(at.issued) > at.life*9/10-time.Second {
		return
	}
	for _, c := range j.world.waiting() {
		c.served = c.served || c.process == p && c.kind == "token" && c.resource == ""
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
			if c.served {
				j.rule("I5: call %s of %s waits for a renewal though a token was adopted", c.id, c.process.name)
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

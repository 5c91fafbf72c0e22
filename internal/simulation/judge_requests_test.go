package simulation

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/evergrant/evergrant/internal/record"
)

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

// revoked notes that an administrator has ended every grant there is.
func (j *judge) revoked() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, rt := range j.refresh {
		rt.revoked = true
	}
}

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

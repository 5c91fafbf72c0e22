package client

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/record"
)

const (
	backoffFirst = time.Second
	backoffMost  = time.Minute
	doubtedFor   = 30 * time.Second // an unclear refusal is asked again after this
	presumedFor  = 10 * time.Minute // and believed for this, if repeated
)

// trouble is a failed renewal, remembered for its backoff so that waiters do not turn one failure
// into a queue of requests. It is immutable.
type trouble struct {
	err        error // as callers get it
	failures   int
	grant      string
	generation uint64
	until      time.Duration // on the monotonic clock: no token request before
	final      bool          // the server's word: no token request for this generation ever
	answered   bool          // with tokens that cannot be used: those that it gave for these are no better
}

// concerns reports whether there was a failure, and about the tokens that r holds.
func (t *trouble) concerns(r *record.Record) bool {
	if t != nil && t.answered {
		return t.grant == r.Grant // whoever has received the generations since
	}
	return t != nil && t.grant == r.Grant && t.generation == r.Generation
}

// isOver reports whether p is newer than the tokens that the failure was about.
func (t *trouble) isOver(p *published) bool {
	return t != nil && (t.grant != p.grant || t.generation < p.generation)
}

// remembered is the error of an earlier renewal that still holds for rec, nil when the server may be asked.
func (r *renewal) remembered(rec *record.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range []*trouble{r.trouble, r.denied} {
		if t.concerns(rec) && (t.final || r.client.machine.Now().Mono < t.until) {
			r.flight.remembered = true
			return t.err
		}
	}
	return nil
}

// marked is the error for a record that the server has refused already, nil when it may be asked.
func (s *Session) marked(rec *record.Record) error {
	m := rec.Mark
	if m == nil {
		return nil
	}
	refusal := &authserver.Failure{Outcome: authserver.InvalidGrant, Code: m.Code, Description: m.Description}
	age := s.client.serverNow().Sub(m.At).Abs()
	switch {
	case m.Verdict == record.Dead, m.Verdict == record.Presumed && age < presumedFor:
		return &loginRequired{cmp.Or(m.Cause, causeRevoked), refusal}
	case m.Verdict == record.Doubted && age < doubtedFor:
		return fmt.Errorf("the server has refused in unclear words and is asked again %v later: %w", doubtedFor, refusal)
	}
	return nil
}

// failed remembers err for its backoff and returns it in the form that callers get, so that whoever
// comes within the backoff gets the very same. A refusal for good is remembered even where its mark
// could not be written, so that a dead token is never sent again.
func (r *renewal) failed(st state, err error) error {
	if errors.Is(err, errAgain) {
		return err
	}
	return r.remember(&trouble{err: r.client.fail("renew", r.key, err), grant: st.record.Grant, generation: st.record.Generation}, st)
}

// discarded is failed for tokens that were received and cannot be used. What was received for them is another generation,
// which shall not have the server asked for the same again at once.
func (r *renewal) discarded(st state, err error) error {
	return r.remember(&trouble{err: r.client.fail("renew", r.key, err), grant: st.record.Grant, generation: st.record.Generation, answered: true}, st)
}

func (r *renewal) remember(t *trouble, st state) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	t.failures = 1
	memory := &r.trouble
	f, ok := errors.AsType[*authserver.Failure](t.err)
	if t.answered || ok && slices.Contains([]string{"invalid_target", "invalid_resource", "invalid_scope"}, f.Code) {
		memory = &r.denied // other resources are other questions
	}
	if (*memory).concerns(st.record) {
		t.failures += (*memory).failures
	}
	pause := r.client.jitter(min(backoffFirst<<min(t.failures-1, 10), backoffMost))
	if ok {
		pause = max(pause, f.RetryAfter)
		// A configured grant may have been refused for what another session has given to it, which will give something else.
		t.final = errors.Is(t.err, ErrLoginRequired) && f.Outcome == authserver.InvalidGrant && r.client.config.Grant == nil
		if f.Outcome == authserver.Doubtful {
			pause = max(pause, doubtedFor)
		}
	}
	t.until = r.client.machine.Now().Mono + pause
	*memory = t
	return t.err
}

// nextTryLocked is when a renewal in the background may start after a failed one.
func (s *Session) nextTryLocked(now time.Duration) time.Duration {
	next := now + time.Second
	for _, t := range []*trouble{s.trouble, s.denied} {
		if t != nil {
			next = max(next, t.until)
		}
	}
	return next
}

package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"time"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/machine"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/internal/secret"
	"github.com/evergrant/evergrant/tokenstore"
)

const (
	saveFirstPause = 50 * time.Millisecond
	saveDensePause = time.Second // the longest pause while the lease lasts
)

// received is what a renewal has brought: the record with it, where that lies, and for which resource the access token is.
type received struct {
	record   *record.Record
	key      string
	resource string
	unusable error // why the access token was discarded; nil: it was not
}

// receive is old with what the server answered: a new generation. What the answer omits stays
// (RFC 6749 §6: an omitted refresh token is still the old one; §5.1: an omitted scope is the one asked for).
func (c *Client) receive(old *record.Record, a *authserver.Answer, resource string, generation uint64, sent time.Time) *record.Record {
	won := old.Clone()
	won.Generation, won.Leases = generation, max(won.Leases, generation)
	won.Lease, won.Mark, won.Unanswered, won.Machine = nil, nil, time.Time{}, machine.Name(c.machine)
	if !a.RefreshToken.IsEmpty() && c.config.Grant == nil {
		won.RefreshToken = a.RefreshToken.Reveal()
	}
	if !a.IDToken.IsEmpty() {
		won.IDToken = a.IDToken.Reveal()
	}
	access := &record.Access{
		Type: a.TokenType, Issued: c.serverTime(sent), Generation: generation, Certificate: c.thumbprint,
	}
	won.DPoP = boundBy(old.DPoP, a)
	if c.checkBound(a) == nil {
		access.Token = a.AccessToken.Reveal() // else it is discarded (RFC 9449 §5), while the refresh token is as good as before
	}
	if first := old.Unanswered; !first.IsZero() && first.Before(access.Issued) {
		access.Issued = first // it may be the lost answer's token, whatever the server says of its life
	}
	if a.Lifetime > 0 {
		access.Expiry = access.Issued.Add(a.Lifetime)
	}
	if a.RefreshIn > 0 {
		access.RefreshAt = access.Issued.Add(a.RefreshIn)
	}
	won.Access = maps.Clone(won.Access)
	if won.Access == nil {
		won.Access = make(map[string]*record.Access)
	}
	won.Access[resource] = access
	if resource != "" {
		access.Scopes, access.Extra = a.Scopes, a.Extra // nil where the server said nothing
		if _, asked := split(resource); !a.ScopesGiven {
			access.Scopes = asked
		}
		return won
	}
	if a.ScopesGiven {
		won.Scopes = a.Scopes
	}
	if won.Extra == nil && len(a.Extra) > 0 {
		won.Extra = make(map[string]json.RawMessage)
	}
	maps.Copy(won.Extra, a.Extra)
	return won
}

// merge lays the tokens of got over what the store holds now: unknown members, the access tokens of other
// resources that have not ended and another's live lease stay; the writer's own is over. An access token that cannot be
// used takes the place of none that can.
func merge(stored *record.Record, got *received, owner string) *record.Record {
	merged, won := stored.Clone(), got.record
	merged.Generation, merged.Leases = won.Generation, max(stored.Leases, won.Leases)
	if stored.Mark == nil {
		merged.Unanswered = time.Time{} // with a mark, the server has refused a presentation after this one
	}
	merged.Mark, merged.Machine = nil, won.Machine
	if merged.Lease != nil && merged.Lease.Owner == owner {
		merged.Lease, merged.Unanswered = nil, time.Time{} // a mark was there before the lease
	}
	merged.DPoP = won.DPoP // with the tokens that are bound to it
	merged.Subject = won.Subject
	merged.RefreshToken, merged.IDToken, merged.Scopes, merged.Extra = won.RefreshToken, won.IDToken, won.Scopes, won.Extra
	merged.Access = maps.Clone(stored.Access)
	if merged.Access == nil {
		merged.Access = make(map[string]*record.Access)
	}
	fresh := won.Access[got.resource]
	maps.DeleteFunc(merged.Access, func(resource string, a *record.Access) bool {
		return resource != "" && !a.Expiry.IsZero() && a.Expiry.Before(fresh.Issued)
	})
	if kept := stored.Access[got.resource]; got.unusable != nil && kept.IsGood(fresh.Issued) {
		served := *kept
		served.Generation = cmp.Or(kept.Generation, stored.Generation)
		fresh = &served
	}
	merged.Access[got.resource] = fresh
	return merged
}

// save writes won, starting from st, by the rule that tells which of two writers is right: within a
// grant the higher generation; another grant means that a person logged in; none, that one logged
// out. landed is false when won was outdone; st is then what prevails. On any error won may have been
// written or not: save it again.
func (a *account) save(ctx context.Context, got *received, st state) (_ state, landed bool, err error) {
	won := got.record
	for {
		switch {
		case st.record == nil:
			a.client.revokeDropped(ctx, won)
			return st, false, nil
		case st.record.Grant != won.Grant || st.record.Generation > won.Generation:
			return st, false, nil
		case st.record.Generation == won.Generation:
			return st, true, nil // the number of a lease is given once: this is our own write
		}
		merged := merge(st.record, got, a.client.owner)
		saved, err := a.swap(ctx, st, merged)
		if err == nil {
			return saved, true, nil
		}
		read, readErr := a.read(ctx, st.key)
		if readErr != nil {
			return st, false, err
		}
		if !errors.Is(err, tokenstore.ErrConflict) && read.version == st.version {
			return st, false, err
		}
		st = read
	}
}

// revokeDropped takes back tokens that were received after a person had logged out. Nobody waits
// for a server that cannot be reached: they then live until they expire.
func (c *Client) revokeDropped(ctx context.Context, r *record.Record) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	_ = c.revoke(ctx, r)
}

// revoke takes the grant of r back (RFC 7009): its refresh token, and then the access tokens, which not every server
// ends along with it (§2.1). What becomes of these is no matter once the refresh token is gone: they end by themselves.
func (c *Client) revoke(ctx context.Context, r *record.Record) error {
	server, metadata, err := c.authServer(ctx, r.Client)
	if err != nil {
		return err
	}
	if metadata.RevocationEndpoint == "" {
		return fmt.Errorf("%w: %w", metadata.Lacks("revocation_endpoint"), errors.ErrUnsupported)
	}
	server = c.at(server, metadata, metadata.RevocationAuthMethods, metadata.RevocationAuthAlgorithms)
	if r, err = c.profile.revoked(r, c.serverNow()); err != nil {
		return err
	}
	var refusal error
	if r.RefreshToken != "" {
		refusal = c.revokeToken(ctx, server, metadata, r.RefreshToken, "refresh_token")
		if f, _ := errors.AsType[*authserver.Failure](refusal); f != nil && f.Code != "unsupported_token_type" {
			return refusal
		}
	}
	errs := []error{refusal}
	now := c.serverNow()
	for _, a := range r.Access {
		if a.Token == "" || !a.Expiry.IsZero() && a.Expiry.Before(now) {
			continue // discarded, or over
		}
		errs = append(errs, c.revokeToken(ctx, server, metadata, a.Token, "access_token"))
	}
	if r.RefreshToken != "" && refusal == nil {
		return nil
	}
	return errors.Join(errs...)
}

// revokeToken revokes one token, which lives on while the server is too busy to look (RFC 7009 §2.2.1): it is asked once
// more when it says so, if that is in time.
func (c *Client) revokeToken(ctx context.Context, server *authserver.Client, m *authserver.Metadata, token, hint string) error {
	err := server.Revoke(ctx, m.RevocationEndpoint, secret.New(token), hint)
	f, _ := errors.AsType[*authserver.Failure](err)
	if f == nil || f.Status != http.StatusServiceUnavailable {
		return err
	}
	wait := max(f.RetryAfter, time.Second)
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= wait || sleep(ctx, wait) != nil {
		return err
	}
	return server.Revoke(ctx, m.RevocationEndpoint, secret.New(token), hint)
}

// keep saves what a renewal has brought and publishes it. If the store fails, the tokens are kept
// and saved again until that works; requests have the old token as long as it is usable, because the
// use of the new one would end a server's leeway for the old refresh token.
func (r *renewal) keep(ctx context.Context, l *lease, won *received) error {
	ctx = context.WithoutCancel(ctx)
	within, cancel := context.WithTimeout(ctx, leaseLength)
	saved, landed, err := r.save(within, won, l.known())
	cancel()
	if err != nil {
		return r.keepUnsaved(ctx, l, won, err)
	}
	l.living()
	if !landed {
		return errAgain
	}
	r.renewed(l, won)
	if won.unusable != nil {
		return r.discarded(saved, won.unusable)
	}
	p := r.client.publish(saved.record, r.resource)
	if p == nil {
		return r.failed(saved, errUnbound)
	}
	if p.unusable.hasCome(r.client.machine.Now()) && !l.known().record.Unanswered.IsZero() {
		return errAgain // what the lost answer gave has ended; its refresh token gives another
	}
	if !r.publish(p) {
		return errAgain
	}
	r.countRejection()
	return nil
}

// renewed tells that the server has given new tokens, and whether a new refresh token was among them.
func (r *renewal) renewed(l *lease, won *received) {
	e := Event{Kind: "renewed", Reason: r.flight.reason, Attempt: r.flight.attempts, Duration: r.lasted(), Generation: won.record.Generation}
	if won.unusable == nil {
		r.happened(e)
	}
	if won.record.RefreshToken != l.known().record.RefreshToken {
		e.Kind, e.Reason = "rotated", "the server gave a new refresh token"
		r.happened(e)
	}
}

// countRejection notes that a rejected token has been replaced by a new one from the server, or that one has lasted until
// it was replaced for another reason.
func (r *renewal) countRejection() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.flight.demand.rejected {
		r.rejected.inARow = 0
		return
	}
	r.rejected.inARow++
	r.rejected.refused = false
	r.rejected.last = r.client.machine.Now().Mono
}

// keepUnsaved leaves won to a saver in the background.
func (r *renewal) keepUnsaved(ctx context.Context, l *lease, won *received, err error) error {
	r.mu.Lock()
	if r.epoch != r.Session.epoch && won.record.Grant != r.left && won.key == r.storeKey() {
		out := r.left == ""
		r.mu.Unlock()
		l.living()
		if out {
			r.client.revokeDropped(ctx, won.record)
		}
		return errAgain // a person has ended this grant in this process
	}
	if r.unsaved == nil {
		r.unsaved = make(map[string]*received)
	}
	r.unsaved[won.key] = won
	task := r.client.tasks.follow(fmt.Sprintf("unsaved tokens of session %q", r.key))
	d, current := r.flight.demand, r.current.Load()
	serves := current != nil && !current.unusable.hasCome(r.client.machine.Now()) && !(d.rejected && !d.isMet(current))
	r.mu.Unlock()
	r.saveFailed(won, 1, err)
	r.renewed(l, won)
	go func() {
		defer r.client.tasks.end(task)
		r.Session.saveLater(ctx, l, won)
	}()
	if won.unusable != nil {
		return r.discarded(l.known(), won.unusable)
	}
	if serves && !d.force {
		r.flight.result = current
		return nil
	}
	p := r.client.publish(won.record, r.resource)
	if p == nil {
		return r.failed(l.known(), errUnbound)
	}
	if !r.publish(p) {
		return errAgain
	}
	r.countRejection()
	return nil
}

// saveFailed tells that received tokens could not be saved.
func (a *account) saveFailed(won *received, attempt int, err error) {
	a.happened(Event{
		Kind: "save failed", Reason: "the store failed; the tokens are kept in memory and saved again",
		Resource: won.resource, Attempt: attempt, Generation: won.record.Generation, Err: a.client.fail("save", a.key, err),
	})
}

// saveLater saves won: densely while the lease lasts, because afterwards another process may spend
// the old refresh token again, and then with backoff, for as long as the Client is open.
func (a *account) saveLater(ctx context.Context, l *lease, won *received) {
	defer l.living()
	ctx, cancel := a.client.tasks.detach(ctx)
	defer cancel()
	pause := saveFirstPause
	for attempt := 2; a.isUnsaved(won); attempt++ {
		if err := a.pauseSaving(ctx, a.client.jitter(pause)); err != nil {
			return
		}
		landed, err := a.saveNow(ctx, won)
		if err == nil {
			a.settle(won, landed)
			return
		}
		a.saveFailed(won, attempt, err)
		most := saveDensePause
		if l.left() <= 0 {
			l.living()
			most = backoffMost
		}
		pause = min(pause*2, most)
	}
}

// saveNow saves won over whatever the store holds where it belongs, whoever guards the resource by now.
func (a *account) saveNow(ctx context.Context, won *received) (landed bool, err error) {
	st, err := a.read(ctx, won.key)
	if err == nil {
		err = a.checkClient(st)
	}
	if err != nil {
		return false, err
	}
	_, landed, err = a.save(ctx, won, st)
	return landed, err
}

// pauseSaving waits for d; while Close or Wait wait for the tokens, for no more than a moment.
func (a *account) pauseSaving(ctx context.Context, d time.Duration) error {
	hurry := a.client.tasks.hurry()
	select {
	case <-hurry:
		d, hurry = min(d, saveFirstPause), nil
	default:
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-hurry:
	case <-ctx.Done():
		return ended(ctx)
	}
	return nil
}

func (a *account) unsavedTokens() *received {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.unsavedLocked()
}

func (a *account) isUnsaved(won *received) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.unsaved[won.key] == won
}

// settle ends the care for unsaved tokens: they are in the store, or outdone.
func (a *account) settle(won *received, landed bool) {
	s := a.view(won.resource)
	p := a.client.publish(won.record, won.resource)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.unsaved[won.key] != won {
		return
	}
	delete(a.unsaved, won.key)
	current := s.current.Load()
	switch {
	case landed && p != nil && p.replaces(current):
		s.setLocked(p)
	case !landed && current != nil && current.grant == won.record.Grant && current.generation == won.record.Generation:
		s.current.Store(nil) // what prevails is in the store
	}
	reason := "the store takes writes again"
	if !landed {
		reason = "what the store holds by now prevails"
	}
	s.happened(Event{Kind: "saved", Reason: reason, Generation: won.record.Generation})
}

package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/internal/secret"
	"github.com/evergrant/evergrant/tokenstore"
)

const (
	saveFirstPause = 50 * time.Millisecond
	saveDensePause = time.Second // the longest pause while the lease lasts
)

// received is old with what the server answered: a new generation. What the answer omits stays
// (RFC 6749 §6: an omitted refresh token is still the old one; §5.1: an omitted scope is the one asked for).
func (c *Client) received(old *record.Record, a *authserver.Answer, generation uint64, sent time.Time) *record.Record {
	won := old.Clone()
	won.Generation, won.Leases = generation, max(won.Leases, generation)
	won.Lease, won.Mark = nil, nil
	if !a.RefreshToken.IsEmpty() && c.config.Grant == nil {
		won.RefreshToken = a.RefreshToken.Reveal()
	}
	if a.ScopesGiven {
		won.Scopes = a.Scopes
	}
	if !a.IDToken.IsEmpty() {
		won.IDToken = a.IDToken.Reveal()
	}
	access := &record.Access{Token: a.AccessToken.Reveal(), Type: a.TokenType, Issued: c.serverTime(sent)}
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
	won.Access[""] = access
	if won.Extra == nil && len(a.Extra) > 0 {
		won.Extra = make(map[string]json.RawMessage)
	}
	maps.Copy(won.Extra, a.Extra)
	return won
}

// merge lays the tokens of won over what the store holds now: unknown members and another's live
// lease stay; the writer's own is over.
func merge(stored, won *record.Record, owner string) *record.Record {
	merged := stored.Clone()
	merged.Generation, merged.Leases = won.Generation, max(stored.Leases, won.Leases)
	merged.Mark = nil
	if merged.Lease != nil && merged.Lease.Owner == owner {
		merged.Lease = nil
	}
	merged.RefreshToken, merged.IDToken, merged.Scopes, merged.Extra = won.RefreshToken, won.IDToken, won.Scopes, won.Extra
	merged.Access = maps.Clone(stored.Access)
	if merged.Access == nil {
		merged.Access = make(map[string]*record.Access)
	}
	merged.Access[""] = won.Access[""]
	return merged
}

// save writes won, starting from st, by the rule that tells which of two writers is right: within a
// grant the higher generation; another grant means that a person logged in; none, that one logged
// out. landed is false when won was outdone; st is then what prevails. On any error won may have been
// written or not: save it again.
func (s *Session) save(ctx context.Context, won *record.Record, st state) (_ state, landed bool, err error) {
	for {
		switch {
		case st.record == nil:
			s.client.revokeDropped(ctx, won)
			return st, false, nil
		case st.record.Grant != won.Grant || st.record.Generation > won.Generation:
			return st, false, nil
		case st.record.Generation == won.Generation:
			return st, true, nil // the number of a lease is given once: this is our own write
		}
		merged := merge(st.record, won, s.client.owner)
		saved, err := s.swap(ctx, st, merged)
		if err == nil {
			return saved, true, nil
		}
		read, readErr := s.load(ctx)
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
	_ = c.revokeSoon(context.WithoutCancel(ctx), r)
}

// revokeSoon is revoke with a time-out of its own.
func (c *Client) revokeSoon(ctx context.Context, r *record.Record) error {
	ctx, cancel := context.WithTimeout(ctx, revokeTimeout)
	defer cancel()
	return c.revoke(ctx, r)
}

// revoke takes the grant of r back (RFC 7009): by its refresh token, else by its access token.
func (c *Client) revoke(ctx context.Context, r *record.Record) error {
	server, metadata, err := c.authServer(ctx)
	if err != nil {
		return err
	}
	if metadata.RevocationEndpoint == "" {
		return fmt.Errorf("the server has no revocation endpoint: %w", errors.ErrUnsupported)
	}
	if r.RefreshToken != "" {
		return server.Revoke(ctx, metadata.RevocationEndpoint, secret.New(r.RefreshToken), "refresh_token")
	}
	if a := r.Access[""]; a != nil {
		return server.Revoke(ctx, metadata.RevocationEndpoint, secret.New(a.Token), "access_token")
	}
	return nil
}

// keep saves what a renewal has brought and publishes it. If the store fails, the tokens are kept
// and saved again until that works; requests have the old token as long as it is usable, because the
// use of the new one would end a server's leeway for the old refresh token.
func (r *renewal) keep(ctx context.Context, l *lease, won *record.Record) error {
	ctx = context.WithoutCancel(ctx)
	within, cancel := context.WithTimeout(ctx, leaseLength)
	saved, landed, err := r.save(within, won, l.known())
	cancel()
	if err != nil {
		return r.keepUnsaved(ctx, l, won)
	}
	l.living()
	if !landed {
		return errAgain
	}
	if !r.publish(r.client.publish(saved.record)) {
		return errAgain
	}
	r.countRejection()
	return nil
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
	r.rejected.last = r.client.machine.Now().Mono
}

// keepUnsaved leaves won to a saver in the background.
func (r *renewal) keepUnsaved(ctx context.Context, l *lease, won *record.Record) error {
	r.mu.Lock()
	if r.epoch != r.Session.epoch && won.Grant != r.left {
		out := r.left == ""
		r.mu.Unlock()
		if out {
			r.client.revokeDropped(ctx, won)
		}
		return errAgain // a person has ended this grant in this process
	}
	r.unsaved = won
	task := r.client.tasks.follow(fmt.Sprintf("unsaved tokens of session %q", r.key))
	d, current := r.flight.demand, r.current.Load()
	serves := current != nil && !current.unusable.hasCome(r.client.machine.Now()) && !(d.rejected && !d.isMet(current))
	r.mu.Unlock()
	go func() {
		defer r.client.tasks.end(task)
		r.Session.saveLater(ctx, l, won)
	}()
	if serves && !d.force {
		r.flight.result = current
		return nil
	}
	if !r.publish(r.client.publish(won)) {
		return errAgain
	}
	r.countRejection()
	return nil
}

// saveLater saves won: densely while the lease lasts, because afterwards another process may spend
// the old refresh token again, and then with backoff, for as long as the Client is open.
func (s *Session) saveLater(ctx context.Context, l *lease, won *record.Record) {
	defer l.living()
	ctx, cancel := s.client.tasks.detach(ctx)
	defer cancel()
	pause := saveFirstPause
	for s.unsavedTokens() == won {
		if err := s.pauseSaving(ctx, s.client.jitter(pause)); err != nil {
			return
		}
		if landed, err := s.saveNow(ctx, won); err == nil {
			s.settle(won, landed)
			return
		}
		most := saveDensePause
		if l.left() <= 0 {
			l.living()
			most = backoffMost
		}
		pause = min(pause*2, most)
	}
}

// saveNow saves won over whatever the store holds.
func (s *Session) saveNow(ctx context.Context, won *record.Record) (landed bool, err error) {
	st, err := s.load(ctx)
	if err != nil {
		return false, err
	}
	_, landed, err = s.save(ctx, won, st)
	return landed, err
}

// pauseSaving waits for d; while the Client is being closed, for no more than a moment.
func (s *Session) pauseSaving(ctx context.Context, d time.Duration) error {
	closing := s.client.tasks.closing
	select {
	case <-closing:
		d, closing = min(d, saveFirstPause), nil
	default:
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-closing:
	case <-ctx.Done():
		return ended(ctx)
	}
	return nil
}

func (s *Session) unsavedTokens() *record.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.unsaved
}

// settle ends the care for unsaved tokens: they are in the store, or outdone.
func (s *Session) settle(won *record.Record, landed bool) {
	p := s.client.publish(won)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unsaved != won {
		return
	}
	s.unsaved = nil
	current := s.current.Load()
	switch {
	case landed && p.replaces(current):
		s.setLocked(p)
	case !landed && current != nil && current.grant == won.Grant && current.generation == won.Generation:
		s.current.Store(nil) // what prevails is in the store
	}
}

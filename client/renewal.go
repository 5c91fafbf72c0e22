package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/machine"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

const (
	flightLimit   = 2 * time.Minute  // a renewal with all the waiting for others
	spendLimit    = 30 * time.Second // the token endpoint; one request may use it whole
	retryFirst    = 100 * time.Millisecond
	revokeTimeout = 10 * time.Second
)

// renewal is one run of the protocol:
//
//	load     the newest state, saving first what is still unsaved; adopt it if it answers the demand
//	lease    by compare-and-swap, which also proves that the store can be written
//	spend    the refresh token, or run the configured grant, while the lease holds
//	save     the new tokens, by the rule of generations
//	publish  only now do requests get them
//
// Whatever somebody else changes in between sends it back to the load. What one process can see of
// another is the record alone, and the record changes by compare-and-swap alone.
type renewal struct {
	*Session
	flight  *flight
	epoch   uint64 // the account's, when the record was loaded
	watch   watch
	parties parties // of a TokenExchange
	keyless error   // why it is not known where the issuer's keys are
}

// renew runs the protocol until it has a token for f, or a reason why there is none.
func (s *Session) renew(ctx context.Context, f *flight) error {
	ctx, cancel := context.WithTimeoutCause(ctx, flightLimit, errors.New("others have kept the grant busy for too long"))
	defer cancel()
	r := &renewal{Session: s, flight: f}
	if f.after != nil {
		if done, err := r.glance(ctx); done {
			return err
		}
	}
	if err := f.awaitTurn(ctx, s.client.tasks.closing); err != nil {
		return err
	}
	for {
		if err := r.round(ctx); !errors.Is(err, errAgain) {
			return err
		}
		if ctx.Err() != nil {
			return ended(ctx)
		}
		if s.client.tasks.isClosed() {
			return ErrClosed // nothing is at stake any more: Close need not wait for other processes
		}
	}
}

// glance looks into the store while another flight is under way, of another resource or of the former grant: what is there for
// this one is adopted, and a logout needs no turn.
func (r *renewal) glance(ctx context.Context) (done bool, err error) {
	if r.unsavedTokens() != nil {
		return false, nil // they are newer than the store
	}
	r.epoch = r.currentEpoch()
	st, err := r.load(ctx)
	if err != nil {
		return false, nil // in its turn it sees for itself
	}
	if st.record == nil && r.client.config.Grant == nil {
		return true, r.refusal(&st)
	}
	return r.adopt(st), nil
}

func (r *renewal) round(ctx context.Context) error {
	if err := r.client.refindIssuer(ctx); err != nil {
		return err
	}
	r.epoch = r.currentEpoch()
	st, err := r.load(ctx)
	if err == nil {
		st, err = r.saveFirst(ctx, st)
	}
	if err != nil {
		return err
	}
	if r.adopt(st) {
		return nil
	}
	if err := r.flight.tooSoon; err != nil {
		return err
	}
	if err := r.refusal(&st); err != nil {
		return err
	}
	if l := st.record.Lease; l != nil && l.Owner != r.client.owner {
		if !r.watch.isDead(l, r.client.machine.Now(), r.isAlive(ctx, l)) {
			if err := r.watch.await(ctx, r.Session, st.version); err != nil {
				return err
			}
			return errAgain
		}
	}
	server, metadata, err := r.client.authServer(ctx, st.record.Client)
	if err == nil {
		server, st.record, err = r.client.binding(server, metadata, st.record)
	}
	if err != nil {
		return r.failed(st, err)
	}
	if g, ok := r.client.config.Grant.(TokenExchange); ok {
		if r.parties, err = g.gather(ctx, r.key); err != nil {
			return err // nothing was asked of this server, and whoever gives the tokens remembers its own failures
		}
	}
	metadata = r.prepareKeys(ctx, metadata, st.record)
	l, err := r.takeLease(ctx, st)
	if err != nil {
		return r.failed(st, err)
	}
	won, err := r.spend(ctx, l, server, metadata)
	if err != nil {
		return err
	}
	return r.keep(ctx, l, won)
}

// saveFirst saves tokens that are still unsaved: a renewal starts from the newest generation known,
// and a spent refresh token is never taken from the store again.
func (r *renewal) saveFirst(ctx context.Context, st state) (state, error) {
	won := r.unsavedTokens()
	if won == nil || won.key != st.key {
		return st, nil
	}
	saved, landed, err := r.save(ctx, won, st)
	if err != nil {
		return st, fmt.Errorf("the tokens received last cannot be saved yet: %w", err)
	}
	r.settle(won, landed)
	return saved, nil
}

// adopt publishes what the store holds, if that is newer than what requests have and meets the
// demand. An older generation is never gone back to.
func (r *renewal) adopt(st state) bool {
	if st.record == nil {
		return false
	}
	p, known := r.client.publish(st.record, r.resource), r.current.Load()
	if p != nil && known != nil && !p.replaces(known) {
		p = known // has been observed on both clocks since it was received
	}
	if p == nil || p.unusable.hasCome(r.client.machine.Now()) || !r.flight.demand.isMet(p) {
		return false
	}
	if known == nil && r.flight.demand.force {
		return false
	}
	used := known != nil || r.watch.attempt != "" || r.isDead()
	if !r.publish(p) {
		return false
	}
	if used && p != known {
		r.happened(Event{Kind: "adopted", Reason: "another process has put it into the store", Duration: r.lasted(), Generation: p.generation})
	}
	return true
}

// isDead reports whether it was told that a login is required, and nothing better since.
func (s *Session) isDead() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dead
}

// publish hands p to the requests, unless a person has ended its grant since the record was loaded.
func (r *renewal) publish(p *published) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.epoch != r.Session.epoch && p.grant != r.left {
		return false
	}
	r.setLocked(p)
	if r.trouble.isOver(p) {
		r.trouble = nil
	}
	if r.denied.isOver(p) {
		r.denied = nil
	}
	r.flight.result = p
	return true
}

// lasted is how long the flight has been under way.
func (r *renewal) lasted() time.Duration { return r.client.machine.Now().Mono - r.flight.begun }

// forget ends the use of a token whose grant is gone from the store: a person has logged out.
func (r *renewal) forget() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.epoch == r.Session.epoch {
		r.current.Store(nil)
	}
}

// refusal says why no token request can be made for st. An absent record gets a new grant if the
// configuration has one that needs no person.
func (r *renewal) refusal(st *state) error {
	if st.record == nil {
		if r.client.config.Grant == nil {
			r.forget()
			return &loginRequired{cause: causeAbsent}
		}
		issuer, _, _, _ := tokenstore.SplitKey(st.key) // was made by Key
		st.record = &record.Record{Grant: machine.ID(r.client.machine), Client: r.client.knownAt(issuer)}
	}
	if r.client.hasExpired(st.record.Client) {
		return &loginRequired{cause: causeClient}
	}
	if r.client.config.Grant == nil && st.record.RefreshToken == "" {
		return &loginRequired{cause: causeEnded}
	}
	if _, err := r.client.keyOf(st.record.DPoP, nil); err != nil && r.client.needs(st.record.DPoP) {
		return &loginRequired{causeKey, err}
	}
	if err := r.remembered(st.record); err != nil {
		return err
	}
	if _, err := r.target(); err != nil {
		return err
	}
	if err := r.tooWide(st.record); err != nil {
		return err
	}
	return r.marked(st.record)
}

// spend makes the token request, and repeats it as the kind of failure allows.
func (r *renewal) spend(ctx context.Context, l *lease, server *authserver.Client, metadata *authserver.Metadata) (*received, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, spendLimit, fmt.Errorf("the token endpoint has not answered within %v", spendLimit))
	defer cancel()
	server = l.rereading(server)
	pause, replayed := retryFirst, false
	until := r.client.machine.Now().Mono + l.left() // those who wait for the token wait no longer for pauses
	for {
		old := l.known().record
		if r.flight.attempts++; !old.Unanswered.IsZero() {
			r.happened(Event{Kind: "replayed", Reason: "the refresh token is sent again: an answer was lost", Attempt: r.flight.attempts, Duration: r.lasted()})
		}
		stop := l.beat(ctx)
		answer, err := r.ask(ctx, server, metadata, old, l.check)
		stop()
		if err == nil || answer != nil && r.client.config.Grant == nil { // with an error: only the access token is unusable, and the refresh token was spent
			r.client.noticeDate(answer.Date)
			won := &received{record: r.client.receive(old, answer, r.resource, l.number, l.sentAt()), key: l.known().key, resource: r.resource, unusable: cmp.Or(err, r.client.checkBound(answer))}
			r.renewedIDToken(metadata, old, won, answer)
			return won, nil
		}
		if l.isLost() { // not by err: a transport may put an error of its own over that of check
			return nil, r.release(ctx, l, errAgain)
		}
		f, ok := err.(*authserver.Failure)
		if !ok { // an error about what goes into the request may wrap another server's
			return nil, r.release(ctx, l, err)
		}
		r.client.noticeDate(f.Date)
		switch f.Outcome {
		case authserver.NotProcessed, authserver.Unrelated:
			wait := max(r.client.jitter(pause), f.RetryAfter)
			if wait >= min(l.left(), until-r.client.machine.Now().Mono) || sleep(ctx, wait) != nil {
				return nil, r.release(ctx, l, err)
			}
			pause *= 2
		case authserver.MaybeProcessed:
			// Servers with a leeway answer the replay with the successor.
			r.lose(l, f)
			if replayed {
				return nil, r.release(ctx, l, err)
			}
			replayed = true
		case authserver.Unanswered:
			r.lose(l, f)
			return nil, r.release(ctx, l, err)
		case authserver.Misconfigured:
			if isForgotten(old.Client, f) {
				return nil, r.refused(ctx, l, old, f) // and with the client all that it was given
			}
			r.client.metadata.expire()
			return nil, r.release(ctx, l, err)
		case authserver.InvalidGrant, authserver.Doubtful:
			return nil, r.refused(ctx, l, old, f)
		default:
			return nil, r.release(ctx, l, err)
		}
		if err := l.stillFor(ctx, old); err != nil {
			return nil, r.release(ctx, l, err)
		}
		// The next request is a new one: it begins with enough of the lease to last until the first beat.
		if l.extend(ctx); l.isLost() {
			return nil, r.release(ctx, l, errAgain)
		}
		if l.left() <= leaseBeat {
			return nil, r.release(ctx, l, err)
		}
	}
}

// lose notes that a token request may have been processed and that its answer will not come.
func (r *renewal) lose(l *lease, f *authserver.Failure) {
	if r.client.config.Grant != nil {
		return // nothing was spent
	}
	l.loseAnswer()
	r.happened(Event{Kind: "lost answer", Reason: r.flight.reason, Attempt: r.flight.attempts, Duration: r.lasted(), Err: r.client.fail("renew", r.key, f)})
}

// refused handles the server's own word about the tokens of old. It is believed only while the store
// holds them and the lease: otherwise somebody else has replaced them, or is replacing them.
func (r *renewal) refused(ctx context.Context, l *lease, old *record.Record, f *authserver.Failure) error {
	if r.client.config.Grant != nil {
		return r.release(ctx, l, f) // nothing was spent; the configured grant itself is refused
	}
	if err := l.stillFor(ctx, old); err != nil {
		return r.release(ctx, l, err)
	}
	mark := &record.Mark{
		Verdict: record.Dead, Code: f.Code, Description: f.Description, Cause: r.client.cause(l.known().record),
		At: r.client.serverNow(),
	}
	if isForgotten(old.Client, f) {
		mark.Verdict, mark.Cause = record.Presumed, causeClient // a server that is in trouble may say so, too
	}
	var err error = &loginRequired{mark.Cause, f}
	if f.Outcome == authserver.Doubtful {
		mark.Verdict = record.Presumed
		if l.known().record.Mark == nil {
			mark.Verdict, err = record.Doubted, f
		}
	}
	return r.releaseMarked(ctx, l, err, mark)
}

// release ends a renewal that has brought nothing: it gives the lease back and remembers err.
func (r *renewal) release(ctx context.Context, l *lease, err error) error {
	return r.releaseMarked(ctx, l, err, nil)
}

// releaseMarked is release with the server's word about the tokens, for the record.
func (r *renewal) releaseMarked(ctx context.Context, l *lease, err error, mark *record.Mark) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	st := l.known()
	unmarked := l.giveBack(ctx, mark)
	if errors.Is(unmarked, errAgain) && mark != nil {
		return errAgain // not the server's word about what the store holds now
	}
	return r.failed(st, err)
}

func (a *account) currentEpoch() uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.epoch
}

// jitter spreads d over three quarters to five quarters of itself.
func (c *Client) jitter(d time.Duration) time.Duration { return d*3/4 + machine.UpTo(c.machine, d/2) }

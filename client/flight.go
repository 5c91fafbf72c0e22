package client

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/transport"
)

// quietStart is how long a session is used before anything is renewed in the background: a program
// that makes one call and exits must not leave between rotation and save.
const quietStart = time.Second

// demand is what a caller wants of a token beside that it be usable.
type demand struct {
	not      string // the access token that will not do
	rejected bool   // because a resource server rejected it
	force    bool   // ask the server even if the store has another
}

// isMet reports whether p answers the demand.
func (d demand) isMet(p *published) bool { return d.not == "" || p.token.AccessToken != d.not }

// flight is one renewal and those who wait for it. What they get is immutable once done is closed.
type flight struct {
	demand  demand
	reason  string // in words
	begun   time.Duration
	tooSoon error   // not nil: the server is not asked, for this reason; the store may hold another token all the same
	after   *flight // of another Session of the account, or of the grant before, to be waited for: one spends at a time
	done    chan struct{}
	landed  chan struct{} // closed when nothing of it is under way any more; done may be closed before, by a person's act
	result  *published
	err     error // errAgain: a person has acted, and those who wait look again

	attempts   int  // token requests so far; the flight's own until it has landed
	remembered bool // err is that of an earlier flight; likewise
}

// rejections slows down renewals that a resource server asks for by rejecting fresh tokens.
type rejections struct {
	inARow  int32
	refused bool          // the token that the last one brought was rejected at once
	last    time.Duration // when the last renewal for a rejection brought a token, on the monotonic clock
}

// pause is how long a token that answered a rejection has to last before it may be answered again.
func (r rejections) pause() time.Duration {
	if r.inARow == 0 {
		return 0
	}
	return min(time.Second<<min(r.inARow-1, 12), 5*time.Minute)
}

// await returns a token that meets d: the one at hand, or what the renewal brings that is under way
// or started here.
func (s *Session) await(ctx context.Context, d demand) (*oauth2.Token, error) {
	// A flight that started before this demand may end with the very token that will not do; the
	// one after it knows.
	for try := 0; try < 4; try++ {
		p, f, err := s.join(ctx, d)
		if err != nil {
			return nil, err
		}
		if p != nil {
			return &p.token, nil
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, s.client.fail("renew", s.key, ended(ctx))
		}
		if f.err == errAgain {
			try--
			continue
		}
		if f.err != nil && f.tooSoon != nil && !d.rejected {
			continue // it was not about this demand
		}
		if f.err != nil {
			if p := s.current.Load(); p != nil && d.isMet(p) && !p.unusable.hasCome(s.client.machine.Now()) {
				return &p.token, nil // of a login meanwhile
			}
			return nil, f.err
		}
		if d.isMet(f.result) && (try > 0 || !f.result.unusable.hasCome(s.client.machine.Now())) {
			return &f.result.token, nil // one that ended before it could be saved is asked for once more
		}
	}
	return nil, s.client.fail("renew", s.key, fmt.Errorf("the server keeps giving out the rejected token: %w", transport.ErrRejected))
}

// join returns the token at hand if it meets d, else the flight to wait for.
func (s *Session) join(ctx context.Context, d demand) (*published, *flight, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.client.machine.Now()
	if s.client.tasks.isClosed() {
		return nil, nil, ErrClosed
	}
	if s.first == 0 {
		s.first = now.Mono
	}
	p := s.current.Load()
	if p != nil && d.isMet(p) && !p.unusable.hasCome(now) {
		return p, nil, nil
	}
	if unsaved := s.unsavedLocked(); unsaved != nil {
		// The old token is of no use any more; what could not be saved yet serves now.
		if u := s.client.publish(unsaved.record, s.resource); u != nil && u.replaces(p) && d.isMet(u) && !u.unusable.hasCome(now) {
			s.setLocked(u)
			return u, nil, nil
		}
	}
	var tooSoon error
	if d.rejected && s.flight == nil {
		tooSoon = s.tooSoonLocked(p, now.Mono)
	}
	f, err := s.departLocked(ctx, d, d.reason(p), tooSoon)
	return nil, f, err
}

// reason says why a renewal is wanted although the session has p.
func (d demand) reason(p *published) string {
	switch {
	case d.rejected:
		return "the access token was rejected"
	case d.force:
		return "it was asked for"
	case p == nil:
		return "there was no access token"
	}
	return "the access token had ended"
}

// tooSoonLocked refuses to ask the server for the rejection of a fresh token once more, for a pause that grows. A
// token that has lasted is another matter: for twice the pause unless it was refused at once, or for half of its life, which a
// server that counts in whole seconds may end a second early.
func (s *Session) tooSoonLocked(p *published, now time.Duration) error {
	age, pause := now-s.rejected.last, s.rejected.pause()
	lasted := p != nil && !p.unusable.isZero() && now-p.born >= (p.unusable.mono-p.born)/2
	if lasted || age > 2*pause && !s.rejected.refused {
		s.rejected.inARow = 0
		return nil
	}
	if p == nil || age >= pause {
		return nil
	}
	return s.client.fail("renew", s.key, fmt.Errorf("a token %v old was rejected: %w", (now-p.born).Round(time.Millisecond), transport.ErrRejected))
}

// renewAhead starts a renewal in the background, if it is time for one.
func (s *Session) renewAhead(ctx context.Context, p *published, now time.Duration) {
	due := p.ahead.Load()
	if int64(now) < due || !p.ahead.CompareAndSwap(due, math.MaxInt64) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if early := s.first + quietStart; now < early {
		p.ahead.Store(int64(early))
		return
	}
	// A closed client renews nothing; p serves to its end.
	_, _ = s.departLocked(ctx, demand{not: p.token.AccessToken}, "the access token will end soon", nil)
}

// departLocked returns the flight under way, or starts one. It keeps the values of ctx, not its end.
func (s *Session) departLocked(ctx context.Context, d demand, reason string, tooSoon error) (*flight, error) {
	if s.flight != nil {
		return s.flight, nil
	}
	task := s.client.tasks.begin(fmt.Sprintf("a renewal of session %q", s.key))
	if task == nil {
		return nil, ErrClosed
	}
	f := &flight{
		demand: d, reason: reason, tooSoon: tooSoon, begun: s.client.machine.Now().Mono,
		after: s.last, done: make(chan struct{}), landed: make(chan struct{}),
	}
	s.flight, s.last = f, f
	land := func(err error) {
		s.land(f, err)
		s.client.tasks.end(task)
	}
	go func() {
		detached, cancel := s.client.tasks.detach(ctx)
		defer cancel()
		hasReturned := false
		defer func() {
			if !hasReturned {
				go land(errGoexit) // by itself: whoever panics may hold mu, and is to end the program
			}
		}()
		err := s.renew(detached, f)
		hasReturned = true
		land(err)
	}()
	return f, nil
}

// errGoexit says that a renewal came to no end of its own.
var errGoexit = errors.New("the store, AuthServerClient or a function of the Config has ended the goroutine of the renewal (runtime.Goexit)")

// awaitTurn waits until the flights before f have landed. Those that it gives up on stay in f.after: whoever
// comes after f waits for them.
func (f *flight) awaitTurn(ctx context.Context, closing <-chan struct{}) error {
	for f.after != nil {
		select {
		case <-f.after.landed:
			f.after = f.after.after
		case <-closing:
			return ErrClosed // nothing is at stake yet
		case <-ctx.Done():
			return ended(ctx)
		}
	}
	return nil
}

// land ends a flight: f.result is published already.
func (s *Session) land(f *flight, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.last == f {
		s.last = f.after
	}
	close(f.landed)
	if s.flight != f {
		return // nobody waits for it any more
	}
	f.err = err
	now := s.client.machine.Now().Mono
	if err != nil {
		f.err = s.client.fail("renew", s.key, err)
		f.result = nil
		if p := s.current.Load(); p != nil {
			p.ahead.Store(int64(s.nextTryLocked(now)))
		}
	}
	s.flight = nil
	close(f.done)
	s.reportLocked(f, now)
}

// partLocked has those who wait for the flight look again, because a person has acted. What it has under way comes to its
// end, before the next flight's turn.
func (s *Session) partLocked() {
	if f := s.flight; f != nil {
		s.flight, f.err = nil, errAgain
		close(f.done)
	}
}

// reportLocked tells how a flight that brought no token has ended.
func (s *Session) reportLocked(f *flight, now time.Duration) {
	if f.err == nil || f.err == f.tooSoon || errors.Is(f.err, ErrClosed) {
		return
	}
	e := Event{Kind: "failed", Reason: f.reason, Attempt: f.attempts, Duration: now - f.begun, Err: f.err}
	told := f.remembered
	if errors.Is(f.err, ErrLoginRequired) {
		e.Kind, told, s.dead = "login required", s.dead, true
	}
	if !told {
		s.happened(e)
	}
}

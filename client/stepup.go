package client

import (
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/transport"
)

// StepUp is what a resource server wants before it serves a request: more scopes (RFC 6750 §3.1), a better or fresher login
// (RFC 9470), claims (Entra ID). It is given to Config.StepUp, and fits a flow:
//
//	session.Login(ctx, client.Browser{Scopes: need.Scopes, Params: need.Params})
//
// It is the resource server's wish, in its words: a program that knows what it may ask people for checks them.
type StepUp struct {
	// Challenge is what the resource server has said; its Code says what is insufficient.
	Challenge transport.Challenge

	// Scopes are to be asked for, so that nothing is lost: those of the Config, those that are granted, and those that the
	// challenge names.
	Scopes []string

	// Params are the parameters acr_values, max_age and claims of an authorization request, as far as the challenge gives
	// them. Empty: it gives none.
	Params url.Values
}

const (
	stepUpLimit     = 10 * time.Minute // for one call of Config.StepUp: a person has to do something
	stepUpPause     = time.Minute      // after one, before another for the same need
	stepUpPauseMost = time.Hour        // that pause at most, after some that were in vain
	stepUpsMost     = 8                // needs that are remembered, and so met within a pause
)

// steps is what an account knows of its step-ups. Its fields are guarded by the account's mu.
type steps struct {
	now   *step          // the one under way; nil: none is
	tried map[need]tried // by need
}

// need is the sum of what a step-up is to bring: of fixed length, however long the challenge is.
type need [sha256.Size]byte

// step is one call of Config.StepUp and those who wait for it. better is immutable once done is closed.
type step struct {
	need   need
	done   chan struct{}
	better bool // another token than before is to be had
}

// tried is how a step-up has ended.
type tried struct {
	until  time.Duration // not again before this, on the monotonic clock
	better bool
	futile bool // of the very token that it has brought the same was asked again
	inARow int  // how many have come to nothing, this one included if it has
}

// inStepUp is the key under which the context of a call of Config.StepUp has the account that it is for.
type inStepUp struct{}

var _ transport.StepUpper = (*Session)(nil)

// StepUp has Config.StepUp do what asked demands, and returns another token than t then; nil where there is none: without a
// Config.StepUp, where it has failed or was called for the same a while ago, and in what it itself requests with its context.
// HTTP clients of the session call it by themselves: see transport.StepUpper. An error is that of ctx.
func (s *Session) StepUp(ctx context.Context, t *oauth2.Token, asked transport.Challenge) (*oauth2.Token, error) {
	if s.client.config.StepUp == nil || ctx.Value(inStepUp{}) == s.account {
		return nil, nil
	}
	if t == nil {
		t = new(oauth2.Token)
	}
	wanted, ok := s.needOf(asked)
	for ok {
		f := s.joinStep(ctx, wanted, t)
		if f == nil {
			break
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, s.fail("step up", ended(ctx))
		}
		if f.need != s.nameOf(wanted) {
			continue // it was another's turn
		}
		if !f.better {
			break
		}
		fresh, err := s.await(ctx, demand{not: t.AccessToken})
		if err != nil && ctx.Err() == nil {
			break
		}
		return fresh, err
	}
	return nil, nil
}

// needOf reads a challenge; false: nobody can be asked for that.
func (s *Session) needOf(asked transport.Challenge) (StepUp, bool) {
	if _, narrow := split(s.resource); narrow != nil && asked.Code() == "insufficient_scope" {
		return StepUp{}, false // whoever has narrowed it wants no more
	}
	claims, err := asked.Claims()
	if err != nil {
		return StepUp{}, false
	}
	params := url.Values{}
	if contexts := asked.ACRValues(); contexts != nil {
		params.Set("acr_values", strings.Join(contexts, " "))
	}
	if age, ok := asked.MaxAge(); ok {
		params.Set("max_age", strconv.Itoa(int(age/time.Second)))
	}
	if claims != nil {
		params.Set("claims", string(claims))
	}
	return StepUp{Challenge: asked, Params: params}, true
}

// nameOf is what two needs have in common for which one step-up will do.
func (s *Session) nameOf(u StepUp) need {
	scopes := slices.Sorted(slices.Values(u.Challenge.Scopes()))
	parts := []string{s.resource, u.Challenge.Code(), strings.Join(slices.Compact(scopes), " "), u.Params.Encode()}
	return sha256.Sum256([]byte(strings.Join(parts, "\n")))
}

// joinStep returns the step-up to wait for, of whatever need; nil: there will be none.
func (s *Session) joinStep(ctx context.Context, wanted StepUp, t *oauth2.Token) *step {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.steps == nil {
		s.steps = &steps{tried: make(map[need]tried)}
	}
	if s.steps.now != nil {
		return s.steps.now
	}
	f := &step{need: s.nameOf(wanted), done: make(chan struct{})}
	begun := s.client.machine.Now().Mono
	last, known := s.steps.tried[f.need]
	quiet := known && begun < last.until || !known && !s.steps.hasRoom(begun)
	if quiet && last.better {
		if current := s.current.Load(); current == nil || current.token.AccessToken != t.AccessToken {
			f.better = true
			close(f.done)
			return f
		}
		last.futile = true
		s.steps.tried[f.need] = last
	}
	task := s.client.tasks.beginAside(fmt.Sprintf("a step-up of session %q", s.key))
	if task == nil {
		return nil // the Client is closed
	}
	s.steps.now = f
	go func() {
		defer s.client.tasks.end(task)
		var better bool
		defer func() { s.landStep(f, better) }() // also when Config.StepUp ends the goroutine, as tests do that fail
		better, err := s.hasSteppedUp(ctx, &wanted, t)
		if better || quiet || err != nil {
			return
		}
		err = s.callStepUp(ctx, wanted)
		s.rememberStep(f, begun, err)
		better = err == nil
	}()
	return f
}

// hasRoom reports whether another need can be remembered: a server that thinks of new ones all the time does not trouble a
// person all the time.
func (s *steps) hasRoom(now time.Duration) bool {
	if len(s.tried) >= stepUpsMost {
		maps.DeleteFunc(s.tried, func(_ need, t tried) bool { return t.until <= now })
	}
	return len(s.tried) < stepUpsMost
}

// hasSteppedUp reports whether the store holds what is wanted already: somebody has logged in since t was given out, in this
// process or in another one. It adds to wanted what was granted.
func (s *Session) hasSteppedUp(ctx context.Context, wanted *StepUp, t *oauth2.Token) (bool, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	st, err := s.load(ctx)
	if err != nil {
		return false, err
	}
	if st.record == nil {
		return false, &loginRequired{cause: causeAbsent}
	}
	current := s.current.Load()
	if current == nil || current.grant != st.record.Grant {
		return true, nil // another login than that of t, as far as is known
	}
	scopes := wanted.Challenge.Scopes()
	wanted.Scopes = union(s.client.config.Scopes, st.record.Scopes, scopes)
	isMissing := func(scope string) bool { return !slices.Contains(st.record.Scopes, scope) }
	isOld := current.token.AccessToken != t.AccessToken
	return isOld && len(scopes) > 0 && len(wanted.Params) == 0 && !slices.ContainsFunc(scopes, isMissing), nil
}

// callStepUp calls Config.StepUp.
func (s *Session) callStepUp(ctx context.Context, wanted StepUp) error {
	ctx, cancel := s.client.whileOpen(context.WithValue(context.WithoutCancel(ctx), inStepUp{}, s.account))
	defer cancel()
	ctx, cancel = context.WithTimeoutCause(ctx, stepUpLimit, fmt.Errorf("Config.StepUp has not returned within %v", stepUpLimit))
	defer cancel()
	return s.client.config.StepUp(ctx, s, wanted)
}

// rememberStep remembers how a call of Config.StepUp has ended, so that nobody is troubled again for the same at once, and
// tells it.
func (s *Session) rememberStep(f *step, begun time.Duration, err error) {
	now := s.client.machine.Now().Mono
	s.happened(Event{Kind: "step-up", Reason: "a resource server wants more than the grant gives", Duration: now - begun, Err: s.fail("step up", err)})
	s.mu.Lock()
	defer s.mu.Unlock()
	inARow := 1
	if last := s.steps.tried[f.need]; last.inARow > 0 && (last.futile || !last.better) && begun < last.until+stepUpPauseMost {
		inARow += last.inARow
	}
	s.steps.tried[f.need] = tried{until: now + min(stepUpPause<<min(inARow-1, 10), stepUpPauseMost), better: err == nil, inARow: inARow}
}

// landStep ends a step-up.
func (s *Session) landStep(f *step, better bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.better, s.steps.now = better, nil
	close(f.done)
}

// forgetStepsLocked has a person asked again for what was asked for before a login or a logout, unless that was part of a
// step-up.
func (a *account) forgetStepsLocked() {
	if a.steps != nil && a.steps.now == nil {
		a.steps = nil
	}
}

// union is all of lists, each text once.
func union(lists ...[]string) []string {
	var all []string
	for _, list := range lists {
		for _, text := range list {
			if !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
	}
	return all
}

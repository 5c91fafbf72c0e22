package client

import (
	"context"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/record"
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
	now   *step            // the one under way; nil: none is
	tried map[string]tried // by need
}

// step is one call of Config.StepUp and those who wait for it. better is immutable once done is closed.
type step struct {
	need   string
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
	need, ok := s.needOf(asked)
	for ok {
		f := s.joinStep(ctx, need, t)
		if f == nil {
			break
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, s.client.fail("step up", s.key, ended(ctx))
		}
		if f.need != s.nameOf(need) {
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
func (s *Session) nameOf(need StepUp) string {
	scopes := slices.Sorted(slices.Values(need.Challenge.Scopes()))
	return strings.Join([]string{s.resource, need.Challenge.Code(), strings.Join(slices.Compact(scopes), " "), need.Params.Encode()}, "\n")
}

// joinStep returns the step-up to wait for, of whatever need; nil: there will be none.
func (s *Session) joinStep(ctx context.Context, need StepUp, t *oauth2.Token) *step {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.steps == nil {
		s.steps = &steps{tried: make(map[string]tried)}
	}
	if s.steps.now != nil {
		return s.steps.now
	}
	f := &step{need: s.nameOf(need), done: make(chan struct{})}
	begun := s.client.machine.Now().Mono
	if last, known := s.steps.tried[f.need]; known && begun < last.until {
		if current := s.current.Load(); last.better && (current == nil || current.token.AccessToken != t.AccessToken) {
			f.better = true
			close(f.done)
			return f
		}
		last.futile = true
		s.steps.tried[f.need] = last
		return nil
	}
	if !s.steps.hasRoom(begun) {
		return nil
	}
	task := s.client.tasks.begin(fmt.Sprintf("a step-up of session %q", s.key))
	if task == nil {
		return nil // the Client is closed
	}
	s.steps.now = f
	go func() {
		defer s.client.tasks.end(task)
		called, err := s.step(ctx, need, t)
		s.landStep(f, begun, called, err)
	}()
	return f
}

// hasRoom reports whether another need can be remembered: a server that thinks of new ones all the time does not trouble a
// person all the time.
func (s *steps) hasRoom(now time.Duration) bool {
	if len(s.tried) >= stepUpsMost {
		maps.DeleteFunc(s.tried, func(_ string, t tried) bool { return t.until <= now })
	}
	return len(s.tried) < stepUpsMost
}

// step calls Config.StepUp, unless the store holds what is needed already: somebody has logged in since t was given out.
func (s *Session) step(ctx context.Context, need StepUp, t *oauth2.Token) (called bool, err error) {
	ctx, cancel := s.client.whileOpen(context.WithoutCancel(ctx))
	defer cancel()
	ctx, cancel = context.WithTimeoutCause(ctx, stepUpLimit, fmt.Errorf("Config.StepUp has not returned within %v", stepUpLimit))
	defer cancel()
	st, err := s.load(ctx)
	if err != nil {
		return false, err
	}
	if st.record == nil {
		return false, &loginRequired{cause: causeAbsent}
	}
	if s.hasSteppedUp(st.record, need, t) {
		return false, nil
	}
	need.Scopes = union(s.client.config.Scopes, st.record.Scopes, need.Challenge.Scopes())
	return true, s.client.config.StepUp(context.WithValue(ctx, inStepUp{}, s.account), s, need)
}

// hasSteppedUp reports whether r, of the store, answers a need that has come of t.
func (s *Session) hasSteppedUp(r *record.Record, need StepUp, t *oauth2.Token) bool {
	current := s.current.Load()
	if current == nil || current.grant != r.Grant {
		return true // another login than that of t, as far as is known
	}
	scopes := need.Challenge.Scopes()
	isMissing := func(scope string) bool { return !slices.Contains(r.Scopes, scope) }
	return current.token.AccessToken != t.AccessToken && len(scopes) > 0 && len(need.Params) == 0 && !slices.ContainsFunc(scopes, isMissing)
}

// landStep ends a step-up and remembers how, so that nobody is troubled again for the same at once.
func (s *Session) landStep(f *step, begun time.Duration, called bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.better = err == nil
	if s.steps.now = nil; called {
		inARow := 1
		if last := s.steps.tried[f.need]; last.inARow > 0 && (last.futile || !last.better) && begun < last.until+stepUpPauseMost {
			inARow += last.inARow
		}
		now := s.client.machine.Now().Mono
		s.steps.tried[f.need] = tried{until: now + min(stepUpPause<<min(inARow-1, 10), stepUpPauseMost), better: f.better, inARow: inARow}
		e := Event{Kind: "step-up", Reason: "a resource server wants more than the grant gives", Duration: now - begun}
		if err != nil {
			e.Err = s.client.fail("step up", s.key, err)
		}
		s.happened(e)
	}
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

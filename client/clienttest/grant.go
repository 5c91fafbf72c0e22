package clienttest

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"
)

// family is one grant: all tokens that go back to one login. The Server's mutex guards it and its tokens.
type family struct {
	client    *registration
	subject   string
	scopes    []string
	resources []string // none: any
	key       string   // the thumbprint of the one that all tokens are bound to; empty: none
	dead      bool
}

type refreshToken struct {
	value      string
	name       string // RT1 …
	family     *family
	spent      time.Time // when it was first used, if it rotates; zero: not yet
	used       bool      // it, or an access token that came with it, was used
	successors []*refreshToken
}

type accessToken struct {
	value     string
	name      string // AT1 …
	family    *family
	with      *refreshToken // that came along; nil: none
	scopes    []string
	resources []string
	key       string // that it is bound to; empty: none
	expires   time.Time
	revoked   bool
}

func (s *Server) newRefreshLocked(f *family) *refreshToken {
	s.numbers.refresh++
	rt := &refreshToken{value: "rt." + rand.Text(), name: fmt.Sprintf("RT%d", s.numbers.refresh), family: f}
	s.refresh[rt.value] = rt
	return rt
}

func (s *Server) newAccessLocked(f *family, with *refreshToken, scopes, resources []string) *accessToken {
	s.numbers.access++
	at := &accessToken{
		value: "at." + rand.Text(), name: fmt.Sprintf("AT%d", s.numbers.access), family: f, with: with,
		scopes: scopes, resources: resources, key: f.key, expires: time.Now().Add(s.Policy.lifetime()),
	}
	s.access[at.value] = at
	return at
}

func (at *accessToken) live() bool {
	return !at.revoked && !at.family.dead && time.Now().Before(at.expires)
}

// forgivenLocked reports whether the leeway covers one more use of a spent refresh token.
func (s *Server) forgivenLocked(rt *refreshToken) bool {
	p := &s.Policy
	usedUp := func(successor *refreshToken) bool {
		return p.LeewayUntilUsed && successor.used || p.LeewaySame && !successor.spent.IsZero()
	}
	switch {
	case p.Leeway == 0 && !p.LeewayUntilUsed:
		return false
	case p.Leeway > 0 && time.Since(rt.spent) >= p.Leeway:
		return false
	}
	return !slices.ContainsFunc(rt.successors, usedUp)
}

// successorLocked spends a refresh token and returns the one to answer with.
func (s *Server) successorLocked(rt *refreshToken) *refreshToken {
	rt.used = true
	if !s.Policy.rotates() {
		return rt
	}
	if rt.spent.IsZero() {
		rt.spent = time.Now()
	} else if s.Policy.LeewaySame && len(rt.successors) > 0 {
		return rt.successors[0]
	}
	next := s.newRefreshLocked(rt.family)
	rt.successors = append(rt.successors, next)
	return next
}

// retireLocked ends the access tokens that came with a refresh token that is used, those for the same
// resources; another resource's goes on beside the successor.
func (s *Server) retireLocked(rt, successor *refreshToken, resources []string) {
	if s.Policy.KeepAccessToken {
		return
	}
	for _, at := range s.access {
		switch {
		case at.with != rt:
		case slices.Equal(at.resources, resources):
			at.revoked = true
		default:
			at.with = successor
		}
	}
}

// Login makes a grant of the client of Config to Policy.Subject without a browser, and returns its tokens, for
// instance for a Session's Adopt.
func (s *Server) Login(scopes ...string) *oauth2.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &family{client: s.clients[appID], subject: s.Policy.subject(), scopes: slices.Clone(scopes)}
	rt := s.newRefreshLocked(f)
	at := s.newAccessLocked(f, rt, f.scopes, nil)
	token := &oauth2.Token{
		AccessToken: at.value, TokenType: "Bearer", RefreshToken: rt.value,
		Expiry: at.expires, ExpiresIn: int64(s.Policy.lifetime() / time.Second),
	}
	return token.WithExtra(map[string]any{"scope": strings.Join(scopes, " ")})
}

// Grants returns how many grants are alive: those with a refresh token that still works.
func (s *Server) Grants() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	alive := map[*family]bool{}
	for _, rt := range s.refresh {
		if !rt.family.dead {
			alive[rt.family] = true
		}
	}
	return len(alive)
}

// RevokeAccessToken ends one access token before its time, or with "" all there are. Grants live on.
func (s *Server) RevokeAccessToken(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for value, at := range s.access {
		if token == "" || token == value {
			at.revoked = true
		}
	}
}

// RevokeGrant ends the grant that a token of either kind, spent or expired or not, belongs to.
func (s *Server) RevokeGrant(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.familyLocked(token); f != nil {
		f.dead = true
	}
}

// KillAll ends every grant and every token.
func (s *Server) KillAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rt := range s.refresh {
		rt.family.dead = true
	}
	for _, at := range s.access {
		at.family.dead = true
	}
}

func (s *Server) familyLocked(token string) *family {
	if rt := s.refresh[token]; rt != nil {
		return rt.family
	}
	if at := s.access[token]; at != nil {
		return at.family
	}
	return nil
}

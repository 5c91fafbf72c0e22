package client

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/machine"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

// saveLogin makes a grant of what a flow has brought and saves it.
func (s *Session) saveLogin(ctx context.Context, got *loggedIn) error {
	s.client.noticeDate(got.answer.Date)
	fresh := s.client.receive(&record.Record{Grant: machine.ID(s.client.machine), Scopes: got.scopes, Client: got.client}, got.answer, got.resource, 0, got.sent)
	if err := s.client.checkBound(got.answer); err != nil {
		s.drop(ctx, fresh)
		return err
	}
	fresh.DPoP = boundBy(got.binding, got.answer)
	claims, err := s.client.checkLogin(ctx, fresh, got)
	if err != nil {
		s.drop(ctx, fresh)
		return err
	}
	fresh.Subject = claims.Subject
	return s.saveGrant(ctx, fresh, got.replace)
}

// drop takes back what a login has brought and cannot be used, but not beside a grant that is stored: a server's
// revocation may reach further than one token.
func (s *Session) drop(ctx context.Context, fresh *record.Record) {
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	if st, err := s.load(within); err == nil && st.record == nil {
		s.client.revokeDropped(ctx, fresh)
	}
	s.client.unregister(within, fresh.Client)
}

// Adopt makes a grant of a token that was obtained elsewhere: t's refresh token, and its access token
// while that is usable. The same token twice changes nothing, however often it was renewed
// meanwhile, whoever has logged in since and whichever of the last few tokens was adopted since, so that a program may adopt
// the token of its configuration at every start.
// After a Logout it is adopted anew: delete your copy once Adopt has returned nil. t itself must not be used to refresh
// any more.
//
// A token without a refresh token serves until it ends, and then a login is required. One that Session.Token gave out while
// the refresh token stays with that session is refused: use that session; see Session.Start for the keys of accounts.
// With a Config.Grant, which needs nobody, the error is a *ConfigError.
func (s *Session) Adopt(ctx context.Context, t *oauth2.Token) error {
	if s.client.tasks.isClosed() {
		return ErrClosed
	}
	if t == nil || t.AccessToken == "" && t.RefreshToken == "" {
		return s.client.fail("adopt", s.key, errors.New("the token holds neither an access token nor a refresh token"))
	}
	if err := s.forPerson(); err != nil {
		return s.client.fail("adopt", s.key, err)
	}
	if lent, _ := t.Extra(renewable).(bool); lent && t.RefreshToken == "" {
		return s.client.fail("adopt", s.key, errLent)
	}
	who, err := s.client.adoptedClient(ctx)
	var binding *record.Binding
	if err == nil {
		binding, err = s.client.adoptedBinding(t)
	}
	if err == nil {
		fresh := s.client.adopted(t)
		fresh.Client, fresh.DPoP = who, binding
		if fresh.IDToken != "" && !s.hasAdopted(ctx, fresh) {
			s.checkAdopted(ctx, fresh)
		}
		err = s.saveGrant(ctx, fresh, true)
	}
	if err != nil {
		return s.client.fail("adopt", s.key, err)
	}
	return nil
}

// errLent says that a token is a session's, which goes on renewing it.
var errLent = errors.New("a Session gave this token out, and keeps the refresh token; use that Session rather than its token")

// adopted makes a record of t.
func (c *Client) adopted(t *oauth2.Token) *record.Record {
	identity := t.RefreshToken
	if identity == "" {
		identity = t.AccessToken
	}
	sum := sha256.Sum256([]byte(identity))
	r := &record.Record{
		Grant: machine.ID(c.machine), RefreshToken: c.profile.renewer(t), Machine: machine.Name(c.machine),
		Adopted: hex.EncodeToString(sum[:]),
	}
	if t.AccessToken != "" {
		access := &record.Access{Token: t.AccessToken, Type: t.Type(), Issued: c.serverNow()}
		if !t.Expiry.IsZero() {
			access.Expiry = c.serverTime(t.Expiry)
		}
		r.Access = map[string]*record.Access{c.config.Resource: access}
	}
	scopes, extra := said(t)
	if access := r.Access[c.config.Resource]; access != nil && c.config.Resource != "" {
		access.Scopes, access.Extra = scopes, extra
	} else {
		r.Scopes, r.Extra = scopes, extra
	}
	if id, ok := t.Extra("id_token").(string); ok {
		r.IDToken = id
		if claims, err := parseIDToken(id); err == nil {
			r.Subject = claims.Subject
		}
	}
	return r
}

// said is what t tells of its scopes and of the life of its refresh token, which is counted from now: that is not too early.
func said(t *oauth2.Token) (scopes []string, extra map[string]json.RawMessage) {
	if words, ok := t.Extra("scope").(string); ok {
		scopes = strings.Fields(words)
	}
	for _, name := range record.RefreshLives() {
		value := t.Extra(name)
		if raw, err := json.Marshal(value); err == nil && value != nil && value != "" {
			if extra == nil {
				extra = make(map[string]json.RawMessage)
			}
			extra[name] = raw
		}
	}
	return scopes, extra
}

// saveGrant puts a new grant into the place of whatever is stored: the person's act wins. A write of
// unknown outcome is looked up and not repeated, so that a logout in between is not undone. What a login
// has brought and cannot be saved is revoked; an adopted token is not: the caller still has it. Every grant keeps in mind
// which tokens were adopted before: those are history, and a program may adopt one at its next start as at every one.
func (s *Session) saveGrant(ctx context.Context, fresh *record.Record, replace bool) error {
	fingerprint := fresh.Adopted
	adopting := fingerprint != ""
	drop := func() {
		if !adopting {
			s.client.revokeDropped(ctx, fresh)
			s.client.unregister(ctx, fresh.Client)
		}
	}
	task := s.client.tasks.begin(fmt.Sprintf("a login of session %q", s.key))
	if task == nil {
		drop()
		return ErrClosed
	}
	defer s.client.tasks.end(task)
	for {
		st, err := s.load(ctx)
		if err != nil {
			drop()
			return err
		}
		if who := fresh.Client; who != nil && st.key != tokenstore.Key(who.Issuer, s.client.id, s.key) {
			drop()
			return errMoved
		}
		if old := st.record; old != nil {
			if old.HasAdopted(fingerprint) {
				return nil
			}
			if !replace && old.Subject != "" && fresh.Subject != "" && old.Subject != fresh.Subject {
				s.client.unregister(ctx, fresh.Client)
				return ErrOtherSubject
			}
			fresh.Leases = old.Leases + 1
			fresh.Adopted = old.AdoptedWith(fingerprint)
		} else {
			fresh.Leases = 1
			fresh.Adopted = fingerprint // somebody may have logged out since the last try
		}
		fresh.Generation = fresh.Leases
		for _, a := range fresh.Access {
			a.Generation = fresh.Generation
		}
		_, err = s.swap(ctx, st, fresh)
		if errors.Is(err, tokenstore.ErrConflict) {
			continue
		}
		if err != nil && !s.hasLanded(ctx, st.key, fresh) {
			drop()
			return err
		}
		s.personActed(st.key, fresh.Grant, fresh)
		if st.record != nil && st.record.Grant != fresh.Grant {
			s.client.unregister(ctx, st.record.Client)
		}
		reason := "a person has logged in"
		if adopting {
			reason = "a token was adopted"
		}
		s.happened(Event{Kind: "login", Reason: reason, Generation: fresh.Generation})
		return nil
	}
}

// hasLanded reports whether the store holds the grant that a failed write was to put there.
func (a *account) hasLanded(ctx context.Context, key string, fresh *record.Record) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	st, err := a.read(ctx, key)
	return err == nil && st.record != nil && st.record.Grant == fresh.Grant
}

// personActed replaces what the account knows of the grant under key: a person has logged in or out (fresh is nil), or a token
// was adopted. What it knows already of the grant that this act has left stays: a renewal may have gone on from
// there.
func (a *account) personActed(key, left string, fresh *record.Record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.epoch++
	a.left, a.trouble = left, nil
	a.forgetStepsLocked()
	if u := a.unsaved[key]; u != nil && u.record.Grant != left {
		delete(a.unsaved, key)
		a.happened(Event{Kind: "saved", Reason: "a person's act has outdone them", Resource: u.resource, Generation: u.record.Generation})
	}
	if a.first == 0 {
		a.first = a.client.machine.Now().Mono
	}
	for s := range a.sessionsLocked {
		s.rejected, s.denied = rejections{}, nil
		if current := s.current.Load(); current != nil && current.grant == left {
			continue
		}
		var p *published
		if fresh != nil {
			s.dead = false
			p = a.client.publish(fresh, s.resource)
		}
		s.setLocked(p)
		s.partLocked()
	}
}

// setLocked gives p to the requests from now on; none, once the Client is closed.
func (s *Session) setLocked(p *published) {
	if s.client.tasks.isClosed() {
		p = nil
	}
	s.current.Store(p)
	if p != nil {
		s.dead = false
	}
}

package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/transport"
)

const (
	exchangeGrant = "urn:ietf:params:oauth:grant-type:token-exchange"
	tokenTypes    = "urn:ietf:params:oauth:token-type:" // RFC 8693 §3
)

// TokenExchange is the token exchange grant (RFC 8693): a token that somebody has is exchanged for one of another kind
// or for another place. With an Actor the server is asked to let it act for the subject (delegation), without
// one to act as the subject (impersonation); which it is, the server decides.
//
// Every exchange takes the subject's token as it is then, so that a session renews for as long as the subject's
// own session does. Where the server refuses it, a fresh one is asked for, once. The tokens that go in stay good.
// Ask for few targets and scopes at a time: a token is good for every combination of them (§2.1.1).
//
// What comes out is the access token of [Session.Token], whatever it is; the server's issued_token_type is in
// its Extra. One that cannot be used as an access token has the TokenType "N_A", and the session's HTTP clients refuse to
// send it.
//
// It is kept under the session's key until it has to be renewed; tokens for other targets, types, Params or Config.Scopes lie
// apart. One session key therefore has to mean one subject, and one actor: if another person logs in to the subject's
// session, the token that was exchanged for the one before stays in use. Log this session out then, or give each
// person a key of their own.
//
// Token types are those of RFC 8693 §3 in short: "access_token", "refresh_token", "id_token", "saml1", "saml2",
// "jwt". Any other is written as a whole URI.
type TokenExchange struct {
	// Subject returns the source of the token that the session called by this key exchanges, always of the same
	// subject for one key: another Client's Session, or a TokenFunc. Of a Session, "id_token" takes the id token, and
	// there has to be one; "refresh_token" cannot be had, for a Session gives none out. It must be quick, and safe for
	// concurrent use. Required.
	Subject func(session string) transport.Source

	// SubjectType says what the subject's token is. Required.
	SubjectType string

	// Actor is, likewise, the source of the token of the party that is to act for the subject. Nil: nobody is.
	Actor func(session string) transport.Source

	// ActorType says what the actor's token is. Required with Actor, and empty without.
	ActorType string

	// RequestedType says what is wanted; another issued_token_type is then an error. Empty: the server decides.
	RequestedType string

	// Audiences are the logical names of the services where the token is to be used. Resources are their addresses,
	// absolute URIs without fragment.
	Audiences, Resources []string

	// Params are further parameters of the token request.
	Params url.Values
}

// TokenFunc is a transport.Source of tokens that come from elsewhere, such as from a file that somebody else renews. For a
// TokenExchange, the AccessToken may hold a token of any type. It must be safe for concurrent use.
type TokenFunc func(ctx context.Context) (*oauth2.Token, error)

// Token implements transport.Source.
func (f TokenFunc) Token(ctx context.Context) (*oauth2.Token, error) { return f(ctx) }

// Renew implements transport.Source: it asks for the token once more.
func (f TokenFunc) Renew(ctx context.Context, _ *oauth2.Token) (*oauth2.Token, error) { return f(ctx) }

// parties are the tokens that go into an exchange; there may be no actor.
type parties struct{ subject, actor *party }

// party is one of them: what its source gave, and what of that goes in.
type party struct {
	token *oauth2.Token
	text  string
}

// gather asks for the tokens that the exchange of the session key needs.
func (g TokenExchange) gather(ctx context.Context, key string) (p parties, err error) {
	if p.subject, err = partyOf(ctx, "subject", g.Subject(key), g.SubjectType, nil); err == nil && g.Actor != nil {
		p.actor, err = partyOf(ctx, "actor", g.Actor(key), g.ActorType, nil)
	}
	return p, err
}

// renew replaces the tokens that the server has refused; false: there are no others.
func (g TokenExchange) renew(ctx context.Context, key string, refused parties) (p parties, changed bool) {
	p = refused
	if fresh, err := partyOf(ctx, "subject", g.Subject(key), g.SubjectType, refused.subject); err == nil {
		p.subject, changed = fresh, fresh.text != refused.subject.text
	}
	if g.Actor != nil {
		if fresh, err := partyOf(ctx, "actor", g.Actor(key), g.ActorType, refused.actor); err == nil {
			p.actor, changed = fresh, changed || fresh.text != refused.actor.text
		}
	}
	return p, changed
}

func partyOf(ctx context.Context, name string, source transport.Source, kind string, refused *party) (*party, error) {
	var t *oauth2.Token
	var err error
	switch {
	case source == nil:
		return nil, fmt.Errorf("the exchange has no source for the token of its %s", name)
	case refused == nil:
		t, err = source.Token(ctx)
	default:
		t, err = source.Renew(ctx, refused.token)
	}
	if err == nil && t == nil {
		err = errors.New("there is none")
	}
	var part string
	if err == nil {
		_, foreign := source.(TokenFunc)
		part, err = text(t, kind, foreign)
	}
	if err != nil {
		return nil, fmt.Errorf("the token of the exchange's %s cannot be had: %w", name, err)
	}
	return &party{t, part}, nil
}

// text is the part of t that is a token of that kind. An id token or a refresh token is never taken to be what stands in
// the access token's place, unless that came from elsewhere, or was issued as one by an exchange.
func text(t *oauth2.Token, kind string, foreign bool) (string, error) {
	kind = typeURI(kind)
	part, advice := "", ""
	switch issued, _ := t.Extra("issued_token_type").(string); kind {
	case tokenTypes + "id_token":
		part, _ = t.Extra("id_token").(string)
		foreign, advice = foreign || issued == kind, `there is no id token; log in with the scope "openid", or set the type to "access_token"`
	case tokenTypes + "refresh_token":
		part = t.RefreshToken
		foreign, advice = foreign || issued == kind, `there is no refresh token, a Session gives none out; set the type to "access_token", or give a TokenFunc`
	default:
		foreign, advice = true, "it is empty"
	}
	if part == "" && foreign {
		part = t.AccessToken
	}
	if part == "" {
		return "", errors.New(advice)
	}
	return part, nil
}

// typeURI is the whole identifier of a token type.
func typeURI(kind string) string {
	if kind == "" || strings.Contains(kind, ":") {
		return kind
	}
	return tokenTypes + kind
}

func (g TokenExchange) form(_ context.Context, a asking) (url.Values, error) {
	form := withParams(g.Params, exchangeGrant)
	form.Set("subject_token", a.parties.subject.text)
	form.Set("subject_token_type", typeURI(g.SubjectType))
	if a.parties.actor != nil {
		form.Set("actor_token", a.parties.actor.text)
		form.Set("actor_token_type", typeURI(g.ActorType))
	}
	if g.RequestedType != "" {
		form.Set("requested_token_type", typeURI(g.RequestedType))
	}
	if len(g.Audiences) > 0 {
		form["audience"] = slices.Clone(g.Audiences)
	}
	if len(g.Resources) > 0 {
		form["resource"] = slices.Clone(g.Resources)
	}
	return form, nil
}

// check holds an answer against what was asked (RFC 8693 §2.2.1).
func (g TokenExchange) check(a *authserver.Answer) error {
	var issued string
	_ = json.Unmarshal(a.Extra["issued_token_type"], &issued)
	switch {
	case issued == "":
		return &authserver.Failure{Outcome: authserver.Misconfigured, Err: errors.New("the answer has no issued_token_type (RFC 8693 §2.2.1); the endpoint does not speak token exchange")}
	case g.RequestedType != "" && issued != typeURI(g.RequestedType):
		return &authserver.Failure{Outcome: authserver.Misconfigured, Err: errors.New("the server has issued a token of another type than RequestedType; leave that empty to take what it gives")}
	}
	return nil
}

// isAboutParties reports whether a refusal may be about the tokens that went in: RFC 8693 §2.2.2 says
// invalid_request, servers say invalid_grant and invalid_token too.
func isAboutParties(err error) bool {
	f, ok := errors.AsType[*authserver.Failure](err)
	return ok && slices.Contains([]string{"invalid_request", "invalid_grant", "invalid_token"}, f.Code)
}

func (g TokenExchange) validate(*Config) error {
	var errs []error
	bad := func(field, reason string) { errs = append(errs, &ConfigError{"TokenExchange." + field, reason}) }
	if g.Subject == nil {
		bad("Subject", "is nil; set where the token comes from that is exchanged")
	}
	if g.SubjectType == "" {
		bad("SubjectType", `is empty; set it to "access_token" where Subject is a Session (RFC 8693 §2.1)`)
	}
	if (g.Actor == nil) != (g.ActorType == "") {
		bad("ActorType", "must be set if Actor is, and only then (RFC 8693 §2.1)")
	}
	for _, resource := range g.Resources {
		if u, err := url.Parse(resource); err != nil || !u.IsAbs() || strings.Contains(resource, "#") {
			bad("Resources", "has an element that is not an absolute URI without fragment (RFC 8707 §2)")
		}
	}
	return errors.Join(append(errs, reserved("TokenExchange.Params", g.Params, append(ofGrants, "subject_token",
		"subject_token_type", "actor_token", "actor_token_type", "requested_token_type", "audience", "resource")...))...)
}

func (g TokenExchange) copied() Grant {
	g.Params, g.Audiences, g.Resources = cloned(g.Params), slices.Clone(g.Audiences), slices.Clone(g.Resources)
	return g
}

func (g TokenExchange) shape(*Config) url.Values {
	shape := withParams(g.Params, exchangeGrant)
	shape["audience"], shape["resource"] = g.Audiences, g.Resources
	shape.Set("subject_token_type", typeURI(g.SubjectType))
	shape.Set("actor_token_type", typeURI(g.ActorType))
	shape.Set("requested_token_type", typeURI(g.RequestedType))
	return shape
}

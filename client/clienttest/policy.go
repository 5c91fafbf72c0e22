package clienttest

import (
	"cmp"
	"time"
)

// Policy says how a Server differs from the strictest one, which the zero Policy describes.
type Policy struct {
	// Subject is who logs in from now on; empty: alice.
	Subject string

	// Scopes are those that exist; nil: every one. Another one is refused with invalid_scope.
	Scopes []string

	// Deny makes the person refuse at the authorization endpoint.
	Deny bool

	// Lifetime of access tokens, of which the answer tells the whole seconds; 0: an hour.
	Lifetime time.Duration

	// Interval between the polls of a device; 0: 5 s, and the answer does not mention it.
	Interval time.Duration

	// NoRotation keeps a refresh token good for ever: each refresh brings it again.
	NoRotation bool

	// NoRefreshToken leaves the refresh token out of the answer to a refresh: the client keeps the one it
	// has. It implies NoRotation.
	NoRefreshToken bool

	// Leeway is how long, from its first use, a spent refresh token is answered once more rather than taken
	// for stolen; 0: not at all, or without an end if LeewayUntilUsed.
	Leeway time.Duration

	// LeewayUntilUsed ends the leeway when a successor, or the access token that came with one, is used.
	LeewayUntilUsed bool

	// LeewaySame answers a spent refresh token within the leeway with the same successor again, until that
	// is spent itself. Otherwise the grant forks: there is another successor, and both live.
	LeewaySame bool

	// KeepFamily refuses a spent refresh token without killing its grant.
	KeepFamily bool

	// KeepAccessToken lets an access token live on when the refresh token that it came with is used.
	KeepAccessToken bool

	// RevokeAlone makes the revocation of an access token kill nothing else.
	RevokeAlone bool

	// DeadStatus and DeadBody are the answer to a refresh token that is good no more; a DeadStatus of 0: 400
	// with the error invalid_grant. Dex says 400 {"error":"invalid_request"}, glewlwyd 400 and nothing.
	DeadStatus int
	DeadBody   string

	// DPoP binds all tokens to the key whose proof comes with the token request (RFC 9449), and refuses requests
	// without a good one, here and at APIs.
	DPoP bool

	// Nonce is what the proofs of token requests have to carry (RFC 9449 section 8); it comes with every answer.
	// Empty: none.
	Nonce string

	// Registration opens /register to clients that register themselves (RFC 7591), and Management lets them read and delete
	// their registrations (RFC 7592). InitialAccessToken is what they have to show; empty: nothing. Registered holds members of
	// the answer to add or replace, as Answer does.
	Registration       bool
	Management         bool
	InitialAccessToken string
	Registered         map[string]any

	// Answer holds members of successful token answers to add or replace; a nil value removes one. It changes
	// the words only: with expires_in 0 the token still lives as long as Lifetime says.
	Answer map[string]any

	// Claims does the same to the claims of id tokens, Metadata to the metadata documents.
	Claims   map[string]any
	Metadata map[string]any
}

func (p *Policy) subject() string         { return cmp.Or(p.Subject, "alice") }
func (p *Policy) lifetime() time.Duration { return cmp.Or(p.Lifetime, time.Hour) }
func (p *Policy) interval() time.Duration { return cmp.Or(p.Interval, 5*time.Second) }

// rotates reports whether a refresh brings another refresh token.
func (p *Policy) rotates() bool { return !p.NoRotation && !p.NoRefreshToken }

// override applies Answer, Claims or Metadata to members.
func override(members, with map[string]any) {
	for name, value := range with {
		if value == nil {
			delete(members, name)
		} else {
			members[name] = value
		}
	}
}

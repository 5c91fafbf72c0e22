package client

import (
	"github.com/evergrant/evergrant/internal/machine"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

// Why a login is required, as in Error.Cause.
const (
	causeAbsent  = "absent"
	causeEnded   = "ended"
	causeRevoked = "revoked"
	causeExpired = "expired"
	causeLost    = "lost answer"
	causeCopied  = "copied"
	causeKey     = "other key"
	causeClient  = "client gone"
)

var causes = map[string]string{
	causeAbsent:  "there is no grant in the store",
	causeEnded:   "the access token has ended and there is no refresh token",
	causeRevoked: "the server has ended the grant, or somebody else has used its refresh token",
	causeExpired: "the refresh token has outlived its life",
	causeLost:    "the refresh token was spent by a renewal whose answer was lost or died with its process",
	causeCopied:  "the tokens were last renewed on another machine; a grant that was copied serves one of the two",
	causeKey:     "the tokens are bound to a key (DPoP) that is not at hand",
	causeClient:  "the client that the grant was given to is gone: the server has forgotten its registration, its secret has expired, or Config.ClientID is another",
}

// loginRequired wraps ErrLoginRequired with the cause and, where the server said something, with that.
type loginRequired struct {
	cause string
	err   error // nil: the server was not asked
}

func (l *loginRequired) Error() string {
	text := ErrLoginRequired.Error()
	if why, ok := causes[l.cause]; ok {
		text += ": " + why
	}
	if l.err != nil {
		text += ": " + l.err.Error()
	}
	return text
}

// Unwrap returns ErrLoginRequired and the server's word.
func (l *loginRequired) Unwrap() []error {
	if l.err == nil {
		return []error{ErrLoginRequired}
	}
	return []error{ErrLoginRequired, l.err}
}

// cause says why the server may have refused the refresh token of r, as far as the record tells.
func (c *Client) cause(r *record.Record) string {
	end := r.RefreshExpiry()
	switch {
	case !end.IsZero() && !c.serverNow().Before(end):
		return causeExpired
	case !r.Unanswered.IsZero():
		return causeLost
	case c.isLocal() && r.Machine != "":
		if here := machine.Name(c.machine); here != "" && here != r.Machine {
			return causeCopied
		}
	}
	return causeRevoked
}

// isLocal reports whether the store belongs to one machine.
func (c *Client) isLocal() bool {
	_, ok := c.store.(tokenstore.Liveness)
	return ok
}

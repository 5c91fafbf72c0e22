package client

import (
	"encoding/json"
	"time"

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
	causeEnded:   "the access token has ended and the server gave no refresh token",
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
	end := refreshExpiry(r)
	switch {
	case !end.IsZero() && !c.serverTime(c.machine.Now().Wall).Before(end):
		return causeExpired
	case !r.Unanswered.IsZero():
		return causeLost
	case c.isLocal() && r.Machine != "" && r.Machine != machine.Name(c.machine):
		return causeCopied
	}
	return causeRevoked
}

// refreshExpiry is when the refresh token of r ends; zero when the server did not say. There is no standard
// for it: Keycloak says refresh_expires_in, GitHub and Microsoft refresh_token_expires_in.
func refreshExpiry(r *record.Record) time.Time {
	newest := new(record.Access)
	for _, access := range r.Access {
		if access.Issued.After(newest.Issued) {
			newest = access
		}
	}
	for _, name := range []string{"refresh_expires_in", "refresh_token_expires_in"} {
		said, seconds := newest.Extra[name], int64(0)
		if said == nil {
			said = r.Extra[name]
		}
		if json.Unmarshal(said, &seconds) == nil && seconds > 0 && seconds < int64(100*365*24*time.Hour/time.Second) {
			return newest.Issued.Add(time.Duration(seconds) * time.Second)
		}
	}
	return time.Time{}
}

// isLocal reports whether the store belongs to one machine.
func (c *Client) isLocal() bool {
	_, ok := c.store.(tokenstore.Liveness)
	return ok
}

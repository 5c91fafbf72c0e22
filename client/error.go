package client

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

var (
	// ErrLoginRequired says that a person must log in (again): there is no grant, or the server's
	// own word is that it is gone. It is not for ever: a login anywhere over the same store ends it.
	ErrLoginRequired = errors.New("login required")

	// ErrClosed says that the Client was closed.
	ErrClosed = errors.New("client: closed")

	// ErrOtherSubject says that somebody else logged in than the person whose grant is stored. Set
	// Replace in the flow if that is meant, or use another session key.
	ErrOtherSubject = errors.New("another subject logged in; set Replace if that is meant, or use another session key")

	// ErrNotRevoked says that Logout has deleted the grant, but that the server has not confirmed its revocation (RFC 7009):
	// the session is logged out, and the tokens may live on at the server until they end by themselves. It wraps
	// errors.ErrUnsupported too where the server cannot revoke.
	ErrNotRevoked = errors.New("deleted, but not revoked")
)

// Error is what went wrong between Evergrant, an authorization server and a store. It names what
// RFC 6749 §5.2 names, wraps what caused it, and holds neither a secret nor an answer's body:
// values that were sent are cut out of the server's words. Use errors.Is with ErrLoginRequired,
// ErrClosed, ErrOtherSubject, context.Canceled or a store's errors to branch.
type Error struct {
	// Op is what was being done: "adopt", "claims", "close", "discover", "end session", "introspect", "list", "login",
	// "logout", "prove", "renew", "save", "status", "step up", "userinfo", "wait".
	Op string
	// Issuer is the issuer, or the token endpoint where no issuer is known.
	Issuer string
	// Session is the key of the session; empty where none is concerned.
	Session string
	// Cause says why a login is required, where Err wraps ErrLoginRequired; otherwise it is empty.
	//
	//	absent       there is no grant in the store
	//	ended        the access token has ended, and there never was a refresh token
	//	revoked      the server has ended the grant, or the refresh token was used by somebody else
	//	expired      the refresh token has outlived what the server said of its life
	//	lost answer  the refresh token was spent by a renewal whose answer was lost, or died with its process
	//	copied       the tokens were last renewed on another machine: the store was probably copied (known where there is a machine id, as on Linux; elsewhere it is revoked)
	//	other key    the tokens are bound to another key than Config.DPoP.Key, or to one that is damaged
	//	client gone  the server has forgotten the client that was registered for the grant, or Config.ClientID is another
	Cause string
	// Code, Description and URI are error, error_description and error_uri as the server sent them.
	Code, Description, URI string
	// StatusCode is that of the server's answer; 0 when there was none.
	StatusCode int
	// RetryAfter is how long the server asked to wait; 0 when it did not.
	RetryAfter time.Duration
	// Err is the cause.
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("client: " + e.Op)
	if e.Session != "" {
		fmt.Fprintf(&b, " %q", e.Session)
	}
	fmt.Fprintf(&b, " at %s", e.Issuer)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// fail is err as that of an operation on the session; nil for nil.
func (a *account) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	return a.client.fail(op, a.key, err)
}

package transport

import (
	"context"
	"errors"

	"golang.org/x/oauth2"
)

// Source gives a Transport its tokens. The tokens are shared and immutable: neither side changes one.
// A Source is safe for concurrent use.
type Source interface {
	// Token returns a token that is usable now. The same token is the same pointer, so that a
	// Transport can keep what it made of it.
	Token(ctx context.Context) (*oauth2.Token, error)

	// Renew returns a usable token other than rejected. If rejected was replaced already, by
	// anyone, it returns the replacement without asking the server. A nil rejected: renew now.
	Renew(ctx context.Context, rejected *oauth2.Token) (*oauth2.Token, error)
}

// ErrRejected is wrapped by an error of Source.Renew to say that no other token is to be had at present,
// because the resource server rejects even fresh ones: the caller of the request then sees that
// server's answer instead of an error.
var ErrRejected = errors.New("the resource server rejects fresh tokens")

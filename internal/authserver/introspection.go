package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"time"

	"github.com/evergrant/evergrant/internal/secret"
)

// Introspection is what a server says of a token right now (RFC 7662 §2.2).
type Introspection struct {
	// Active: the token is good. If it is not, the server does not say why.
	Active bool
	// Issued, NotBefore and Expiry are zero where the server did not say.
	Issued, NotBefore, Expiry time.Time
	// Members are all that the server has said, as sent.
	Members map[string]json.RawMessage
}

// Introspect asks about a token, for tests and tools: a client has no need to look into its tokens. typeHint is as for
// Revoke. Nothing is kept, so that each answer is the server's newest. Any error is a *Failure; one with the Status 401 is about
// the client's own credentials (§2.3). An answer that does not say whether the token is active is one, too.
func (c *Client) Introspect(ctx context.Context, endpoint string, token secret.String, typeHint string) (*Introspection, error) {
	r, err := c.postToken(ctx, endpoint, token, typeHint)
	if err != nil {
		return nil, err
	}
	if !r.succeeded() || r.refuses() {
		return nil, r.failure()
	}
	if r.err != nil {
		return nil, r.garbled(r.err)
	}
	answer := &Introspection{
		Issued: instant(r.members["iat"]), NotBefore: instant(r.members["nbf"]), Expiry: instant(r.members["exp"]), Members: r.members,
	}
	switch string(r.members["active"]) {
	case "true":
		answer.Active = true
	case "false":
	default:
		return nil, r.garbled(errors.New("it does not say by true or false whether the token is active"))
	}
	return answer, nil
}

// instant reads a NumericDate (RFC 7519 §2); zero for anything else.
func instant(raw json.RawMessage) time.Time {
	var seconds float64
	if len(raw) == 0 || json.Unmarshal(raw, &seconds) != nil || math.Abs(seconds) > 1e12 {
		return time.Time{}
	}
	return time.UnixMilli(int64(seconds * 1000)).UTC()
}

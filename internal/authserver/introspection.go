package authserver

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/evergrant/evergrant/internal/secret"
)

// Introspect asks whether an access token is good right now (RFC 7662), for tests and tools: a client has no need to look into
// its tokens. If it is not, the server does not say why. said is all that the server says, as sent; nothing is kept, so that each
// answer is the server's newest. Any error is a *Failure; one with the Status 401 is about the client's own credentials (§2.3).
// An answer that does not say whether the token is active is one, too.
func (c *Client) Introspect(ctx context.Context, endpoint string, token secret.String) (active bool, said map[string]json.RawMessage, err error) {
	r, err := c.postToken(ctx, endpoint, token, "access_token")
	if err != nil {
		return false, nil, err
	}
	if !r.succeeded() || r.refuses() {
		return false, nil, r.failure()
	}
	if r.err != nil {
		return false, nil, r.garbled(r.err)
	}
	switch string(r.members["active"]) {
	case "true":
		return true, r.members, nil
	case "false":
		return false, r.members, nil
	}
	return false, nil, r.garbled(errors.New("it does not say by true or false whether the token is active"))
}

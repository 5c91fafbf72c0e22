package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/internal/secret"
)

// Introspect asks the server what it makes of the session's access token right now (RFC 7662), for tests and tools: a
// program has no need to, for it finds out by using the token. It is asked in the client's name, and has to be one that
// may; the token is that of Token, renewed if it has ended. An active token's claims (scope, client_id, sub, exp and
// what else the server tells) are decoded into into, as json.Unmarshal does; nil: they are not wanted.
//
// That the token is not active is a result and not an error: the server does not say why (§2.2), and into is left alone.
// Nothing is kept and nothing follows from it. The error wraps errors.ErrUnsupported where the server's metadata names no
// introspection_endpoint; a refusal of the client is an *Error with its StatusCode; the others are those of Token.
func (s *Session) Introspect(ctx context.Context, into any) (active bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, flightLimit)
	defer cancel()
	active, err = s.introspect(ctx, into)
	return active, s.fail("introspect", err)
}

func (s *Session) introspect(ctx context.Context, into any) (active bool, err error) {
	// The token in memory may be of a server that guards the resource no more: it is not shown to the one that does.
	if err := s.client.findIssuer(ctx); err != nil {
		return false, err
	}
	t, err := s.Token(ctx)
	if err != nil {
		return false, err
	}
	st, err := s.load(ctx)
	if err != nil {
		return false, err
	}
	var who *record.Client
	if st.record != nil {
		who = st.record.Client
	}
	server, m, err := s.client.authServer(ctx, who)
	if err != nil {
		return false, err
	}
	if m.IntrospectionEndpoint == "" {
		return false, fmt.Errorf("%w: %w", m.Lacks("introspection_endpoint"), errors.ErrUnsupported)
	}
	server = s.client.at(server, m, m.IntrospectionAuthMethods, m.IntrospectionAuthAlgorithms)
	active, said, err := server.Introspect(ctx, m.IntrospectionEndpoint, secret.New(t.AccessToken))
	if err != nil || !active || into == nil {
		return active, err
	}
	claims, err := json.Marshal(said)
	if err == nil {
		claims, err = exactly(claims)
	}
	if err == nil {
		err = json.Unmarshal(claims, into)
	}
	if err != nil {
		return false, fmt.Errorf("what the server says of the token does not fit into a %T: %w", into, err)
	}
	return true, nil
}

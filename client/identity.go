package client

import (
	"fmt"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/internal/secret"
)

// errMoved says that a credential is of another authorization server than the one that is asked now. It is not sent.
var errMoved = fmt.Errorf("%w: it is of another authorization server", errAgain)

// serverAs is this client at the server of m, as who: the client that the grant in question was given to. Nil: that of
// the Config. Nobody else's credentials are sent there (RFC 6749 §2.2).
func (c *Client) serverAs(m *authserver.Metadata, who *record.Client) (*authserver.Client, error) {
	switch {
	case who == nil:
	case who.Issuer != m.Issuer:
		return nil, errMoved
	case who.Registered:
		return &authserver.Client{HTTP: c.http, ID: who.ID, Secret: secret.New(who.Secret), Method: authserver.Method(who.Method)}, nil
	case who.ID != c.config.ClientID:
		return nil, &loginRequired{cause: causeClient}
	}
	return c.server(m, m.TokenEndpointAuthMethods, m.TokenEndpointAuthAlgorithms)
}

// clientID is the id of the client that a grant was given to.
func (c *Client) clientID(who *record.Client) string {
	if who != nil {
		return who.ID
	}
	return c.config.ClientID
}

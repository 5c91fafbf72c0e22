package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/internal/secret"
	"github.com/evergrant/evergrant/tokenstore"
)

// errMoved says that a credential is of another authorization server than the one that is asked now. It is not sent.
var errMoved = fmt.Errorf("%w: it is of another authorization server", errAgain)

// serverAs is this client at the server of m, as who: the client that the grant in question was given to. Nil: that of
// the Config. Nobody else's credentials are sent there (RFC 6749 §2.2).
func (c *Client) serverAs(m *authserver.Metadata, who *record.Client) (*authserver.Client, error) {
	switch {
	case who == nil && c.protected != nil:
		return nil, &loginRequired{cause: causeAbsent} // of whichever server guards the resource now
	case who == nil:
	case who.Issuer != m.Issuer:
		return nil, errMoved
	case who.Registered:
		return &authserver.Client{
			HTTP: c.http, ID: who.ID, Secret: secret.New(who.Secret), Method: authserver.Method(who.Method), Dialect: c.profile.dialect,
		}, nil
	case who.ID != c.config.ClientID:
		return nil, &loginRequired{cause: causeClient} // of Config.ClientID as it was before
	}
	return c.server(m, m.TokenEndpointAuthMethods, m.TokenEndpointAuthAlgorithms)
}

// identify says as which client the grant of a login is asked for at the server of m, in MCP's order (nil: the client of the
// Config), and is that client: one that was registered beforehand, one that a document describes, one that is registered now.
// A registration belongs to one grant, and is made for each: whether an older one is still known, nobody learns before the
// person is shown an error instead of a login page.
func (c *Client) identify(ctx context.Context, m *authserver.Metadata, grantType, redirectURL string) (*authserver.Client, *record.Client, error) {
	var who *record.Client
	switch {
	case c.protected == nil:
	case c.config.ClientID != "" && (!c.config.isDocument() || m.ClientIDDocuments):
		who = &record.Client{Issuer: m.Issuer, ID: c.config.ClientID}
	case m.RegistrationEndpoint != "":
		var err error
		if who, err = c.register(ctx, m, grantType, redirectURL); err != nil {
			return nil, nil, err
		}
	default:
		if err := m.Unusable("registration_endpoint"); err != nil {
			return nil, nil, err
		}
		return nil, nil, &ConfigError{"Config.ClientID", fmt.Sprintf("has to be set, and Config.Issuer: the authorization server of the resource, %q, lets programs register neither by themselves nor by a document; have whoever runs it register this one", m.Issuer)}
	}
	server, err := c.serverAs(m, who)
	return server, who, err
}

// adoptedClient is the client that a token was given to which was obtained elsewhere; nil: that of the Config.
func (c *Client) adoptedClient(ctx context.Context) (*record.Client, error) {
	if err := c.findIssuer(ctx); c.protected == nil || err != nil {
		return nil, err
	}
	if c.config.ClientID == "" {
		return nil, &ConfigError{"Config.ClientID", "is empty; set the client that the token was given to, and Config.Issuer"}
	}
	return c.knownAt(c.issuer()), nil
}

// knownAt is the client of the Config at an issuer.
func (c *Client) knownAt(issuer string) *record.Client {
	if c.protected == nil {
		return nil
	}
	return &record.Client{Issuer: issuer, ID: c.config.ClientID}
}

// checkClient refuses a record that the Client did not put where it is.
func (a *account) checkClient(st state) error {
	if st.record == nil || a.client.protected == nil && st.record.Client == nil {
		return nil
	}
	if who := st.record.Client; who == nil || tokenstore.Key(who.Issuer, a.client.id, a.key) != st.key {
		return errors.New("the stored grant is not of the issuer under which it lies; delete it from the store and log in again")
	}
	return nil
}

// isForgotten reports whether f says that the server does not know who any more, whom Evergrant had registered there: in other
// words, that it may not do what it was registered for. glewlwyd, Doorkeeper and many MCP servers use these for strangers.
func isForgotten(who *record.Client, f *authserver.Failure) bool {
	return who != nil && who.Registered && (f.Code == "invalid_client" || f.Code == "unauthorized_client")
}

// hasExpired reports whether who's secret is no good any more (RFC 7591 §3.2.1). Some servers tell the end of a secret to clients
// that have none to show.
func (c *Client) hasExpired(who *record.Client) bool {
	return who != nil && who.Method != string(authserver.MethodNone) && !who.Expiry.IsZero() && !c.serverNow().Before(who.Expiry)
}

// clientID is the id of the client that a grant was given to.
func (c *Client) clientID(who *record.Client) string {
	if who != nil {
		return who.ID
	}
	return c.config.ClientID
}

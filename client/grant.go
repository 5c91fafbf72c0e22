package client

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"

	"github.com/evergrant/evergrant/internal/authserver"
)

// Grant is a grant that needs no person. A session of a Config with a Grant renews by running it
// again; a refresh token is not used. The grants of this package are the only ones.
type Grant interface {
	// form returns the parameters of one token request; scope, resource and client authentication are
	// added by the caller.
	form(context.Context, asking) (url.Values, error)
	validate(*Config) error
	// copied returns the grant with what it points to copied.
	copied() Grant
	// shape is what every token request of this grant has in common, beside what all grants of the Config have: what
	// decides what its tokens are good for.
	shape(*Config) url.Values
}

// asking is what a grant is told of the token request that it is to make.
type asking struct {
	client   *Client
	metadata *authserver.Metadata
	parties  parties // of a TokenExchange
}

// ClientCredentials is the client credentials grant (RFC 6749 §4.4). The client has to authenticate. Tokens for other
// Params or Config.Scopes lie apart in a store.
type ClientCredentials struct {
	// Params are further parameters of the token request, such as "audience" or "resource".
	Params url.Values
}

func (g ClientCredentials) form(context.Context, asking) (url.Values, error) {
	return withParams(g.Params, "client_credentials"), nil
}

func (g ClientCredentials) validate(c *Config) error {
	var public error
	if c.isPublic() {
		public = &ConfigError{"Config.ClientSecret", "is empty, as are ClientKey, ClientAssertion and ClientCertificate; the client credentials grant is for confidential clients (RFC 6749 §4.4)"}
	}
	return errors.Join(public, reserved("ClientCredentials.Params", g.Params, ofGrants...))
}

func (g ClientCredentials) copied() Grant { return ClientCredentials{cloned(g.Params)} }

func (g ClientCredentials) shape(*Config) url.Values {
	return withParams(g.Params, "client_credentials")
}

// ExtensionGrant is a grant of a server's own, or of an RFC that has no type here (RFC 6749 §4.5), such as
// "urn:ietf:params:oauth:grant-type:saml2-bearer". Tokens of other Types or for other Config.Scopes lie apart in a store.
// What Params returns keeps nothing apart, because it may differ with every try: Clients that share a store and ask by
// it for different things, such as another account, need a session key for each.
type ExtensionGrant struct {
	// Type is the grant_type. Required.
	Type string

	// Params returns the grant's own parameters for one token request. It is called within a renewal, for every
	// try; ctx ends with the renewal. Nil: there are none.
	Params func(ctx context.Context) (url.Values, error)
}

func (g ExtensionGrant) form(ctx context.Context, _ asking) (url.Values, error) {
	if g.Params == nil {
		return withParams(nil, g.Type), nil
	}
	params, err := g.Params(ctx)
	if err != nil {
		return nil, fmt.Errorf("the parameters of the grant cannot be had: %w", err)
	}
	if err := reserved("ExtensionGrant.Params", params, ofGrants...); err != nil {
		return nil, err
	}
	return withParams(params, g.Type), nil
}

func (g ExtensionGrant) validate(*Config) error {
	if g.Type == "" {
		return &ConfigError{"ExtensionGrant.Type", "is empty; set the grant_type"}
	}
	return nil
}

func (g ExtensionGrant) copied() Grant { return g }

func (g ExtensionGrant) shape(*Config) url.Values { return withParams(nil, g.Type) }

// withParams is a form with a grant_type and a copy of params.
func withParams(params url.Values, grantType string) url.Values {
	form := cloned(params)
	form.Set("grant_type", grantType)
	return form
}

// cloned is a deep copy that can be written to.
func cloned(params url.Values) url.Values {
	clone := make(url.Values, len(params)+4)
	for name, values := range params {
		clone[name] = slices.Clone(values)
	}
	return clone
}

// ofGrants are the parameters that are set from the Config for every grant.
var ofGrants = []string{"grant_type", "scope", "client_id", "client_secret", "client_assertion", "client_assertion_type"}

// reserved refuses parameters that Evergrant sets itself: none may be sent twice (RFC 6749 §3.1).
func reserved(field string, params url.Values, names ...string) error {
	for _, name := range names {
		if !params.Has(name) {
			continue
		}
		why := "which is set from the Config"
		switch name {
		case "state":
			why = "which is made anew for each login; keep data of your own beside the Pending"
		case "nonce", "code_challenge", "code_challenge_method":
			why = "which is made anew for each login"
		case "request", "request_uri":
			why = "which is not offered (RFC 9101)"
		}
		return &ConfigError{field, "sets " + name + ", " + why}
	}
	return nil
}

// storeID stands in the client id's place in store keys. What a grant brings for one subject, target or scope must not be
// taken for what it brings for another, nor for what a person has logged in for: with a Grant, a sum of all that shapes its
// tokens follows the id.
func (c *Config) storeID() string {
	id := cmp.Or(c.Resource, c.ClientID)
	if c.Grant == nil {
		return id
	}
	shape := c.Grant.shape(c)
	if g, ok := c.Grant.(JWTBearer); ok && id == "" {
		id = g.Issuer
	}
	scopes := slices.Sorted(slices.Values(c.Scopes))
	shape["scope"] = slices.Compact(scopes)
	shape.Set("client_id", c.ClientID)
	sum := sha256.Sum256([]byte(shape.Encode()))
	return id + "/" + hex.EncodeToString(sum[:8])
}

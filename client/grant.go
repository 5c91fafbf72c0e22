package client

import (
	"net/url"
	"slices"
)

// Grant is a grant that needs no person. A session of a Config with a Grant renews by running it
// again. The grants of this package are the only ones.
type Grant interface {
	// form returns the parameters of the token request; scope and client authentication are
	// added by the caller.
	form() url.Values
	validate(*Config) error
}

// ClientCredentials is the client credentials grant (RFC 6749 §4.4).
type ClientCredentials struct {
	// Params are further parameters of the token request, such as "audience" or "resource".
	Params url.Values
}

func (g ClientCredentials) form() url.Values {
	form := url.Values{"grant_type": {"client_credentials"}}
	for name, values := range g.Params {
		form[name] = slices.Clone(values)
	}
	return form
}

func (g ClientCredentials) validate(c *Config) error {
	if c.ClientSecret == "" {
		return &ConfigError{"Config.ClientSecret", "is empty; the client credentials grant is for confidential clients (RFC 6749 §4.4)"}
	}
	return reserved("ClientCredentials.Params", g.Params,
		"grant_type", "scope", "client_id", "client_secret", "client_assertion", "client_assertion_type")
}

// reserved refuses parameters that Evergrant sets itself: none may be sent twice (RFC 6749 §3.1).
func reserved(field string, params url.Values, names ...string) error {
	for _, name := range names {
		if params.Has(name) {
			return &ConfigError{field, "sets " + name + ", which is set from the Config"}
		}
	}
	return nil
}

package client

import (
	"cmp"
	"fmt"
	"slices"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/words"
)

// validateAuthentication reports what cannot be right in the fields by which the client authenticates.
func (c *Config) validateAuthentication(bad func(field, reason string)) {
	if c.ClientSecret != "" && c.ClientKey != nil {
		bad("ClientKey", "and ClientSecret are both set; a client authenticates by one of them (RFC 7521 §4.2)")
	}
	if c.ClientAssertion != nil && (c.ClientSecret != "" || c.ClientKey != nil) {
		bad("ClientAssertion", "is set beside ClientSecret or ClientKey; a client authenticates by one of them (RFC 7521 §4.2)")
	}
	if t := c.ClientCertificate; t != nil && (len(t.Certificate) == 0 || t.PrivateKey == nil) {
		bad("ClientCertificate", "lacks its certificate or its private key; use tls.LoadX509KeyPair or tls.X509KeyPair")
	}
	method := authserver.Method(c.AuthMethod)
	lacks := func(field string) { bad(field, "is not set, and AuthMethod "+c.AuthMethod+" needs it") }
	switch method {
	case "":
	case authserver.MethodNone:
		if c.ClientSecret != "" || c.ClientKey != nil || c.ClientAssertion != nil {
			bad("AuthMethod", "is none, which sends no credentials; leave ClientSecret, ClientKey and ClientAssertion unset")
		}
	case authserver.MethodBasic, authserver.MethodPost, authserver.MethodSecretJWT:
		if c.ClientSecret == "" {
			lacks("ClientSecret")
		} else if _, err := authserver.HMAC(c.ClientSecret, nil); err != nil && method == authserver.MethodSecretJWT {
			bad("ClientSecret", err.Error())
		}
	case authserver.MethodKeyJWT:
		if c.ClientKey == nil && c.ClientAssertion == nil {
			lacks("ClientKey")
		}
	case authserver.MethodTLS, authserver.MethodSelfSignedTLS:
		if c.ClientCertificate == nil {
			lacks("ClientCertificate")
		}
	default:
		bad("AuthMethod", fmt.Sprintf("is none of %v", authserver.Methods))
	}
}

// isPublic reports whether the client has nothing to authenticate with.
func (c *Config) isPublic() bool {
	return c.AuthMethod == string(authserver.MethodNone) || !c.hasCredentials()
}

// hasCredentials reports whether there is anything that the client could authenticate with.
func (c *Config) hasCredentials() bool {
	return c.ClientSecret != "" || c.ClientKey != nil || c.ClientAssertion != nil || c.ClientCertificate != nil
}

// namesNoClient reports whether the grant is one that a server may give to whoever has what it takes.
func (c *Config) namesNoClient() bool {
	switch c.Grant.(type) {
	case JWTBearer:
		return true
	case TokenExchange:
		return c.ClientSecret == "" && c.ClientKey == nil // which are some client's
	}
	return false
}

// server is this client at an authorization server whose endpoint takes these methods and algorithms.
func (c *Client) server(m *authserver.Metadata, methods, algorithms []string) (*authserver.Client, error) {
	s := &authserver.Client{
		HTTP: c.http, ID: c.config.ClientID, Secret: c.secret, Key: c.key,
		Audience: cmp.Or(m.Issuer, c.config.Issuer, m.TokenEndpoint),
		Dialect:  c.profile.dialect,
	}
	switch vouched := c.protected == nil || c.config.Issuer != ""; {
	case vouched && c.profile.AssertionForURL:
		s.Audience = "" // the URL of each request
	case vouched && c.profile.AssertionForEndpoint:
		s.Audience = m.TokenEndpoint // which a server that nobody vouches for could say to be another's
	}
	var err error
	if s.Method, err = c.method(methods); err != nil {
		return nil, err
	}
	switch s.Method {
	case authserver.MethodNone:
		if _, ok := c.config.Grant.(ClientCredentials); ok {
			return nil, &ConfigError{"Config.AuthMethod", fmt.Sprintf(
				"cannot be chosen: the server's metadata offers %s, and the client credentials grant is for clients that authenticate (RFC 6749 §4.4)",
				words.List(methods))}
		}
	case authserver.MethodKeyJWT:
		if s.Foreign = c.config.ClientAssertion; s.Foreign != nil {
			break
		}
		s.Ahead = c.ahead()
		if s.Algorithm, err = c.key.Algorithm(c.config.ClientKey.Algorithm, algorithms); err != nil {
			return nil, &ConfigError{"Config.ClientKey", "cannot be used here: " + err.Error()}
		}
	case authserver.MethodSecretJWT:
		s.Ahead = c.ahead()
		if s.Algorithm, err = authserver.HMAC(c.secret.Reveal(), algorithms); err != nil {
			return nil, &ConfigError{"Config.ClientSecret", err.Error()}
		}
	}
	return s, nil
}

// method chooses how to authenticate (RFC 7591 §2) by the Config, else by the credentials at hand and what the
// server offers: keys before secrets (RFC 9700 §2.5). Nothing is probed: each probe would show the server a credential,
// or spend a code or a refresh token.
func (c *Client) method(offered []string) (authserver.Method, error) {
	if c.config.AuthMethod != "" {
		return authserver.Method(c.config.AuthMethod), nil
	}
	if c.protected != nil && c.config.isDocument() {
		if c.key != nil {
			return authserver.MethodKeyJWT, nil // as the document says
		}
		return authserver.MethodNone, nil
	}
	hasCertificate := c.config.ClientCertificate != nil
	var able []authserver.Method
	if c.key != nil || c.config.ClientAssertion != nil {
		able = append(able, authserver.MethodKeyJWT)
	}
	if hasCertificate {
		able = append(able, authserver.MethodTLS, authserver.MethodSelfSignedTLS)
	}
	if !c.secret.IsEmpty() {
		switch c.config.Endpoint.AuthStyle {
		case oauth2.AuthStyleInHeader:
			return authserver.MethodBasic, nil
		case oauth2.AuthStyleInParams:
			return authserver.MethodPost, nil
		}
		if method := secretMethod(&c.profile.Provider); method != "" {
			return method, nil
		}
		able = append(able, authserver.MethodBasic, authserver.MethodPost, authserver.MethodSecretJWT)
	}
	switch {
	case len(able) == 0 && c.profile.EmptySecret:
		return authserver.MethodBasic, nil
	case len(able) == 0:
		return authserver.MethodNone, nil
	case len(offered) == 0 && !c.secret.IsEmpty():
		return authserver.MethodBasic, nil // RFC 8414 §2: the default
	case len(offered) == 0:
		return able[0], nil
	}
	for _, method := range able {
		if slices.Contains(offered, string(method)) {
			return method, nil
		}
	}
	if c.key == nil && c.config.ClientAssertion == nil && c.secret.IsEmpty() {
		return authserver.MethodNone, nil // a public client, whose tokens may be bound to its certificate (RFC 8705 §4)
	}
	return "", &ConfigError{"Config.AuthMethod", fmt.Sprintf(
		"cannot be chosen: the server's metadata offers %s, and the credentials of the Config are for %v; set AuthMethod if the server takes one of these all the same",
		words.List(offered), able)}
}

// at is server as another endpoint takes it: the client authenticates as at the token endpoint (RFC 7009 §2.1), unless the
// metadata wants something else there that it can do.
func (c *Client) at(server *authserver.Client, m *authserver.Metadata, methods, algorithms []string) *authserver.Client {
	if len(methods) == 0 || server.ID != c.config.ClientID || slices.Contains(methods, string(server.Method)) {
		return server
	}
	other, err := c.server(m, methods, algorithms)
	if err != nil {
		return server
	}
	return other
}

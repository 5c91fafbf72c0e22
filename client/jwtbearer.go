package client

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"time"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/jws"
)

const (
	jwtBearerGrant   = "urn:ietf:params:oauth:grant-type:jwt-bearer"
	jwtBearerLife    = 5 * time.Minute
	jwtBearerLongest = time.Hour
)

// JWTBearer is the JWT bearer grant (RFC 7523 §2.1): whoever holds the key asks for access in the name of Subject. Every
// token request has a JWT of its own. A refusal, invalid_grant included, is an *Error and asks for no login; the
// next renewal tries with a new JWT.
//
// Tokens for another Issuer, Subject, Audience, Claims or Params lie apart in a store, and so do those for other
// Config.Scopes. Another Key or Lifetime changes nothing of that.
//
// The client authenticates as the Config says. That is optional here: Config.ClientID may be empty, and then
// neither it nor anything else of the client is sent.
type JWTBearer struct {
	// Key signs. Nil: Config.ClientKey.
	Key *Key

	// Issuer is the claim iss: who says so, and whose key the server knows. Empty: Config.ClientID.
	Issuer string

	// Subject is the claim sub: in whose name access is asked for. Empty: Issuer.
	Subject string

	// Audience is the claim aud. Empty: the server's issuer identifier, and where none is known, its token endpoint.
	Audience string

	// Claims are further claims. Some servers want the scope in here: leave Config.Scopes empty then.
	Claims map[string]any

	// Lifetime is how long the JWT is good for, at most an hour. Zero: five minutes.
	Lifetime time.Duration

	// Params are further parameters of the token request.
	Params url.Values

	impersonal bool // without a Subject there is no sub
}

func (g JWTBearer) form(_ context.Context, a asking) (url.Values, error) {
	key, ready := g.Key, a.client.key
	if key == nil {
		key = a.client.config.ClientKey
	} else {
		var err error
		if ready, err = key.prepare("JWTBearer.Key"); err != nil {
			return nil, err
		}
	}
	algorithm, err := ready.Algorithm(key.Algorithm, nil)
	if err != nil {
		return nil, err
	}
	claims, err := g.claims(a)
	if err != nil {
		return nil, err
	}
	signed, err := ready.Sign(jws.Header{Algorithm: algorithm, Type: "JWT"}, claims)
	if err != nil {
		return nil, fmt.Errorf("the JWT of the grant cannot be signed: %w", err)
	}
	form := withParams(g.Params, jwtBearerGrant)
	form.Set("assertion", signed)
	return form, nil
}

// claims are those of one JWT (RFC 7523 §3).
func (g JWTBearer) claims(a asking) (map[string]any, error) {
	issuer, subject := g.names(&a.client.config)
	audience := cmp.Or(g.Audience, a.metadata.Issuer, a.client.config.Issuer, a.metadata.TokenEndpoint)
	now := a.client.serverNow()
	own, err := json.Marshal(authserver.NewClaims(issuer, subject, audience, now, cmp.Or(g.Lifetime, jwtBearerLife)))
	if err != nil {
		return nil, err
	}
	all := maps.Clone(g.Claims)
	err = json.Unmarshal(own, &all)
	return all, err
}

// names are iss and sub.
func (g JWTBearer) names(c *Config) (issuer, subject string) {
	issuer = cmp.Or(g.Issuer, c.ClientID)
	if g.impersonal {
		return issuer, g.Subject
	}
	return issuer, cmp.Or(g.Subject, issuer)
}

func (g JWTBearer) validate(c *Config) error {
	var errs []error
	bad := func(field, reason string) { errs = append(errs, &ConfigError{"JWTBearer." + field, reason}) }
	if g.Key == nil && c.ClientKey == nil {
		bad("Key", "is nil, as is Config.ClientKey; set the key that the server knows")
	} else if g.Key != nil {
		if _, err := g.Key.prepare("JWTBearer.Key"); err != nil {
			errs = append(errs, err)
		}
	}
	if g.Issuer == "" && c.ClientID == "" {
		bad("Issuer", "is empty, as is Config.ClientID; set who the server takes the word of")
	}
	if g.Lifetime < 0 || g.Lifetime > jwtBearerLongest {
		bad("Lifetime", "must be between 0, which is five minutes, and an hour")
	}
	for _, name := range []string{"iss", "sub", "aud", "jti", "iat", "exp"} {
		if _, ok := g.Claims[name]; ok {
			bad("Claims", "sets "+name+", which is set from the other fields")
		}
	}
	if _, err := json.Marshal(g.Claims); err != nil {
		bad("Claims", "cannot be written as JSON")
	}
	return errors.Join(append(errs, reserved("JWTBearer.Params", g.Params, append(ofGrants, "assertion")...))...)
}

func (g JWTBearer) copied() Grant {
	g.Params, g.Claims = cloned(g.Params), maps.Clone(g.Claims)
	if g.Key != nil {
		key := *g.Key
		g.Key = &key
	}
	return g
}

// shape has the lasting claims in the place of the assertion, which is another one every time.
func (g JWTBearer) shape(c *Config) url.Values {
	claims := make(map[string]any, len(g.Claims)+3)
	maps.Copy(claims, g.Claims)
	claims["iss"], claims["sub"] = g.names(c)
	claims["aud"] = g.Audience
	text, _ := json.Marshal(claims) // has been validated
	shape := withParams(g.Params, jwtBearerGrant)
	shape.Set("assertion", string(text))
	return shape
}

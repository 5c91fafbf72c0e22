package client

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/secret"
)

// ofRequests are the parameters of an authorization request that are set from the Config and for the one login. JWTs in
// their place (RFC 9101) are not offered, and no credential ever stands in an address (RFC 6749 §2.3.1).
var ofRequests = []string{
	"response_type", "client_id", "redirect_uri", "scope", "state", "nonce", "code_challenge", "code_challenge_method",
	"dpop_jkt", "request", "request_uri", "client_secret", "client_assertion", "client_assertion_type",
}

// begin makes the authorization request (RFC 6749 §4.1.1), and hands it over to a server that takes it beforehand.
func (s *Session) begin(ctx context.Context, flow AuthCode, redirectURL string) (_ *Pending, err error) {
	asked, err := askedFor("AuthCode.Params", flow.Params, ofRequests...)
	if err != nil {
		return nil, err
	}
	resource, err := s.target()
	if err != nil {
		return nil, err
	}
	metadata, err := s.client.metadata.get(ctx, s.client)
	if err == nil {
		err = s.client.canAsk(metadata)
	}
	if err != nil {
		return nil, err
	}
	scopes, err := wider(s.client.ownScopes(metadata), "AuthCode.Scopes", flow.Scopes)
	if err != nil {
		return nil, err
	}
	server, who, err := s.client.identify(ctx, metadata, "authorization_code", redirectURL)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.client.unregister(ctx, who)
		}
	}()
	binding, err := s.client.newBinding(metadata.DPoPSigningAlgs)
	if err != nil {
		return nil, err
	}
	p := &Pending{
		session: s.storeKey(), issuer: metadata.Issuer, resource: resource, scopes: scopes, redirectURL: redirectURL, replace: flow.Replace,
		state: secret.New(rand.Text()), verifier: secret.New(oauth2.GenerateVerifier()), spent: new(atomic.Bool),
	}
	if err := p.withClient(who); err != nil {
		return nil, err
	}
	if slices.Contains(scopes, "openid") {
		p.nonce = secret.New(rand.Text())
	}
	if binding != nil {
		p.thumbprint, p.key = binding.Thumbprint, secret.New(string(binding.Key))
	}
	p.asked = authentication(asked)
	if s.client.wantsConsent(scopes, flow.Params) {
		asked.Set("prompt", "consent")
	}
	s.request(asked, p)
	s.client.profile.ask(asked, flow.Params, p)
	if metadata.PushEndpoint != "" && (metadata.PushRequired || !s.client.profile.Authorization.NoPAR) {
		return p, s.push(ctx, server, metadata, p, asked)
	}
	p.URL, err = withQuery(metadata.AuthorizationEndpoint, asked)
	return p, err
}

// request adds to what the program asks for the parameters that make p's authorization request.
func (s *Session) request(form url.Values, p *Pending) {
	form.Set("response_type", "code")
	form.Set("client_id", s.client.clientID(p.who()))
	form.Set("redirect_uri", p.redirectURL)
	form.Set("state", p.state.Reveal())
	form.Set("code_challenge", oauth2.S256ChallengeFromVerifier(p.verifier.Reveal()))
	form.Set("code_challenge_method", "S256")
	scopeParam(form, p.scopes)
	if !p.nonce.IsEmpty() {
		form.Set("nonce", p.nonce.Reveal())
	}
	if p.thumbprint != "" {
		form.Set("dpop_jkt", p.thumbprint) // binds the code, too (RFC 9449 §10)
	}
	if resource := s.client.indicated(p.resource); resource != "" && !slices.Contains(form["resource"], resource) {
		form.Add("resource", resource) // RFC 8707 §2.1
	}
}

// wider is scopes with those that a flow asks for beside them; field is the flow's.
func wider(scopes []string, field string, more []string) ([]string, error) {
	for _, scope := range more {
		if reason := wrongScope(scope); reason != "" {
			return nil, &ConfigError{field, reason}
		}
	}
	return union(scopes, more), nil
}

// canAsk reports why nobody can be asked at a server with this metadata. Of one that only its resource vouches for, PKCE is
// known to work by its own word alone.
func (c *Client) canAsk(m *authserver.Metadata) error {
	switch {
	case m.AuthorizationEndpoint == "":
		return &ConfigError{"Config.Endpoint.AuthURL", "is empty, and " + m.Lacks("authorization_endpoint").Error()}
	case m.PushRequired && m.PushEndpoint == "":
		return fmt.Errorf("the server's metadata demands pushed authorization requests (RFC 9126): %w", m.Lacks("pushed_authorization_request_endpoint"))
	case c.protected != nil && len(m.CodeChallengeMethods) == 0:
		return errors.New("the server's metadata does not say that it supports PKCE (code_challenge_methods_supported), without which a login can be stolen; tell whoever runs it")
	case len(m.CodeChallengeMethods) > 0 && !slices.Contains(m.CodeChallengeMethods, "S256"):
		// A code without a challenge that hides the verifier is whoever's that gets hold of the request (RFC 7636 §7.2).
		return errors.New("the server's metadata offers PKCE (RFC 7636) without S256, and a weaker method is never used; tell whoever runs it")
	}
	return nil
}

// wantsConsent reports whether the person has to be asked for consent, without which an OpenID provider gives no refresh
// token (OpenID Connect Core §11), unless the profile knows better. Without an issuer it is not known to be one, and the program's word alone counts.
func (c *Client) wantsConsent(scopes []string, params url.Values) bool {
	if params.Has("prompt") || c.profile.Authorization.RefreshWithoutConsent || !slices.Contains(scopes, "offline_access") {
		return false
	}
	return c.protected != nil || c.config.Issuer != "" && slices.Contains(scopes, "openid")
}

// withQuery is endpoint with parameters added to its own query (RFC 6749 §3.1).
func withQuery(endpoint string, params url.Values) (string, error) {
	address, err := url.Parse(endpoint)
	if err != nil {
		return "", err
	}
	query := address.Query()
	for name, values := range params {
		query[name] = values
	}
	address.RawQuery = query.Encode()
	return address.String(), nil
}

// askedFor is what a program adds to a request, without empty values, which count as left out; an error names what a
// server would refuse. Only "resource" and "audience" may have several values (RFC 6749 §3.1, RFC 8707 §2, RFC 8693 §2.1).
func askedFor(field string, params url.Values, names ...string) (url.Values, error) {
	if err := reserved(field, params, names...); err != nil {
		return nil, err
	}
	asked := make(url.Values, len(params)+12)
	for name, values := range params {
		given := slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })
		if len(given) > 1 && name != "resource" && name != "audience" {
			return nil, &ConfigError{field, "gives " + name + " more than once (RFC 6749 §3.1)"}
		}
		for _, value := range given {
			if reason := wrongParam(name, value); reason != "" {
				return nil, &ConfigError{field, reason}
			}
		}
		if len(given) > 0 {
			asked[name] = given
		}
	}
	return asked, nil
}

// wrongParam says what is wrong with a parameter; "" if nothing is, as far as is known here.
func wrongParam(name, value string) string {
	switch name {
	case "resource":
		return wrongResource(value)
	case "authorization_details":
		return wrongDetails(value)
	case "response_mode":
		if value != "query" && value != "form_post" {
			return "asks for a response_mode that is not received; use query or form_post"
		}
	}
	return ""
}

// wrongResource holds a resource against RFC 8707 §2. It is sent byte for byte.
func wrongResource(resource string) string {
	u, err := url.Parse(resource)
	if err != nil || !u.IsAbs() || strings.Contains(resource, "#") {
		return fmt.Sprintf("names the resource %q, which is not an absolute URI without a fragment (RFC 8707 §2)", withoutUser(resource))
	}
	return ""
}

// wrongDetails holds authorization_details against RFC 9396 §2.
func wrongDetails(details string) string {
	const reason = "holds authorization_details that are not a JSON array of objects with a type each (RFC 9396 §2)"
	var all []struct {
		Type string `json:"type"`
	}
	if json.Unmarshal([]byte(details), &all) != nil || len(all) == 0 {
		return reason
	}
	for _, one := range all {
		if one.Type == "" {
			return reason
		}
	}
	return ""
}

// target is the resource that the session is for, "" if none; an error where it cannot be asked for.
func (s *Session) target() (string, error) {
	resource, _ := split(s.resource)
	if resource == "" {
		return "", nil
	}
	if reason := wrongResource(resource); reason != "" {
		return "", &ConfigError{"Session.Resource", reason}
	}
	if only := s.client.config.Resource; only != "" && resource != only {
		return "", &ConfigError{"Session.Resource", "is another than Config.Resource, and it is not known who guards it; make a Client for it"}
	}
	return resource, nil
}

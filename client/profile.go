package client

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client/provider"
	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/internal/secret"
)

// profile is how the server and its API differ from the RFCs: a provider.Provider with its variables filled in. The zero
// profile differs in nothing. It is immutable. What a profile says about requests for tokens and about their answers is
// done by the dialect; what is here concerns the parameters that a flow is made of.
type profile struct {
	provider.Provider
	dialect authserver.Dialect
	api     api
}

// applyProfile finds the profile of c and fills in the fields that c leaves to it. The error joins one *ConfigError for
// every setting that cannot be right.
func (c *Config) applyProfile() (*profile, error) {
	given := c.Provider
	if given == nil {
		given = provider.For(c.Issuer, c.Endpoint.TokenURL)
	}
	if given == nil {
		given = new(provider.Provider)
	}
	p := &profile{Provider: *given}
	p.Authorization.Params, p.Authorization.Keep = maps.Clone(given.Authorization.Params), slices.Clone(given.Authorization.Keep)
	p.Request.CodeParams, p.Request.RefreshParams = maps.Clone(given.Request.CodeParams), maps.Clone(given.Request.RefreshParams)
	if !c.hasCredentials() {
		p.Authorization.NoPKCE = false // a code without it would be all that it takes
	}
	missing, err := p.fillIn()
	if !p.isOf(c) && (given.Issuer != "" || given.Endpoint.TokenURL != "") || c.Resource != "" {
		p.Endpoint, p.RevocationURL, p.RefreshURL = oauth2.Endpoint{}, "", ""
		if slices.ContainsFunc(given.API.Hosts, func(host string) bool { return strings.Contains(host, "{") }) {
			p.API.Hosts = nil // they may be those of another customer, or of another region
		}
	}
	if c.Issuer == "" && c.Endpoint.TokenURL == "" && c.Resource == "" {
		if c.Issuer = p.Issuer; c.Issuer == "" {
			c.Endpoint.TokenURL = p.Endpoint.TokenURL
		}
		if c.Issuer == "" && c.Endpoint.TokenURL == "" && len(missing) > 0 {
			err = errors.Join(err, &ConfigError{"Config.Provider", fmt.Sprintf("needs a value for %q: use Provider.With", missing[0])})
		}
	}
	c.Provider = nil
	p.dialect = dialectOf(&p.Provider)
	p.api = newAPI(&p.Provider.API, c.ClientID)
	return p, errors.Join(err, p.validate())
}

// isOf reports whether the server that p names is the one that c names, if it names one.
func (p *profile) isOf(c *Config) bool {
	if c.Issuer == "" && c.Endpoint.TokenURL == "" {
		return true
	}
	return c.Issuer != "" && c.Issuer == p.Issuer || c.Issuer == "" && c.Endpoint.TokenURL == p.Endpoint.TokenURL
}

// fillIn puts the values of the variables into addresses. An address that lacks one is emptied; missing names it.
func (p *profile) fillIn() (missing []string, err error) {
	var errs []error
	bad := func(format string, args ...any) {
		errs = append(errs, &ConfigError{"Config.Provider", fmt.Sprintf(format, args...)})
	}
	values := make(map[string]string)
	for _, v := range p.Variables {
		pattern, err := regexp.Compile("^(?:" + v.Pattern + ")$")
		value := cmp.Or(p.Values[v.Name], v.Default)
		switch {
		case v.Pattern == "" || err != nil:
			bad("has no usable pattern for its variable %q", v.Name)
		case value == "":
			missing = append(missing, v.Name)
		case !pattern.MatchString(value):
			bad("has a value for %q that does not fit %s", v.Name, v.Pattern)
		default:
			values[v.Name] = value
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Values)) {
		if !slices.ContainsFunc(p.Variables, func(v provider.Variable) bool { return v.Name == name }) {
			bad("has a value for %q, and no such variable", name)
		}
	}
	var pairs []string
	for name, value := range values {
		pairs = append(pairs, "{"+name+"}", value)
	}
	filler := strings.NewReplacer(pairs...)
	fill := func(address *string) (ok bool) {
		*address = filler.Replace(*address)
		if !strings.Contains(*address, "{") {
			return true
		}
		if !slices.ContainsFunc(missing, func(name string) bool { return strings.Contains(*address, "{"+name+"}") }) && len(errs) == 0 {
			bad("has an address with a variable that it does not have, %q", withoutUser(*address))
		}
		*address = ""
		return false
	}
	for _, address := range []*string{
		&p.Issuer, &p.Endpoint.AuthURL, &p.Endpoint.TokenURL, &p.Endpoint.DeviceAuthURL, &p.RevocationURL, &p.RefreshURL,
	} {
		fill(address)
	}
	p.API.Hosts = slices.Clone(p.API.Hosts)
	for i := range p.API.Hosts {
		if !fill(&p.API.Hosts[i]) {
			p.API.Hosts = nil // to name some of them only would keep tokens from the rest
			break
		}
	}
	return missing, errors.Join(errs...)
}

// validate reports what no request could be made with.
func (p *profile) validate() error {
	var errs []error
	bad := func(setting, reason string) { errs = append(errs, &ConfigError{"Config.Provider." + setting, reason}) }
	for setting, address := range map[string]string{
		"Issuer": p.Issuer, "Endpoint.AuthURL": p.Endpoint.AuthURL, "Endpoint.TokenURL": p.Endpoint.TokenURL,
		"Endpoint.DeviceAuthURL": p.Endpoint.DeviceAuthURL, "RevocationURL": p.RevocationURL, "RefreshURL": p.RefreshURL,
	} {
		if reason := wrongEndpoint(address); address != "" && reason != "" {
			bad(setting, reason)
		}
	}
	switch authserver.Method(p.SecretMethod) {
	case "", authserver.MethodBasic, authserver.MethodPost:
	default:
		bad("SecretMethod", "is neither client_secret_basic nor client_secret_post")
	}
	switch p.Answer.LifetimeUnit {
	case "", provider.Seconds, provider.Milliseconds, provider.UnixTime, provider.ISOTime:
	default:
		bad("Answer.LifetimeUnit", "is none of the units")
	}
	for setting, params := range map[string]map[string]string{
		"Authorization.Params":  p.Authorization.Params,
		"Request.CodeParams":    p.Request.CodeParams,
		"Request.RefreshParams": p.Request.RefreshParams,
	} {
		names := append([]string{"code", "code_verifier", "refresh_token", "grant_type"}, ofRequests...)
		form := make(url.Values)
		addMissing(form, params)
		if _, err := askedFor("Config.Provider."+setting, form, names...); err != nil {
			errs = append(errs, err)
		}
	}
	if reason := p.api.wrong(); reason != "" {
		bad("API", reason)
	}
	return errors.Join(errs...)
}

// dialectOf is what token requests, and the answers to them, are made and read by.
func dialectOf(p *provider.Provider) authserver.Dialect {
	return authserver.Dialect{
		IDParam: p.Authorization.ClientIDParam, RequestSeparator: p.Authorization.ScopeSeparator,
		RawBasic: p.RawBasic, AssertionType: p.AssertionType, JSON: p.Request.JSON, Header: maps.Clone(p.Request.Header),
		RevokeByBearer: p.RevokeByBearer, RefreshGrant: p.Request.RefreshGrant,
		Unwrap: slices.Clone(p.Answer.Unwrap), Members: maps.Clone(p.Answer.Members),
		SuccessPath: p.Answer.Success.Path, SuccessText: p.Answer.Success.Value,
		Errors: maps.Clone(p.Answer.Errors), ScopeSeparator: p.Answer.ScopeSeparator,
		BearerTypes: slices.Clone(p.Answer.BearerTypes), LifetimeUnit: string(p.Answer.LifetimeUnit), DefaultLifetime: p.Answer.DefaultLifetime,
	}
}

// secretMethod is how a client secret is sent; "": the profile does not say.
func secretMethod(p *provider.Provider) authserver.Method {
	switch {
	case p.SecretMethod != "":
		return authserver.Method(p.SecretMethod)
	case p.Endpoint.AuthStyle == oauth2.AuthStyleInHeader:
		return authserver.MethodBasic
	case p.Endpoint.AuthStyle == oauth2.AuthStyleInParams:
		return authserver.MethodPost
	}
	return ""
}

// ask rewrites an authorization request. set is what the program has set itself.
func (p *profile) ask(form, set url.Values, pending *Pending) {
	for name, value := range p.Authorization.Params {
		if !set.Has(name) && !form.Has(name) {
			form.Set(name, value)
		}
	}
	pending.issuer = cmp.Or(pending.issuer, p.Authorization.Iss)
	if name := p.Authorization.ClientIDParam; name != "" {
		form[name] = form["client_id"]
		form.Del("client_id")
	}
	if separator := p.Authorization.ScopeSeparator; separator != "" && form.Has("scope") {
		form.Set("scope", strings.ReplaceAll(form.Get("scope"), " ", separator))
	}
	if p.Authorization.NoPKCE {
		form.Del("code_challenge")
		form.Del("code_challenge_method")
	}
	if p.Authorization.NoNonce {
		form.Del("nonce")
		pending.nonce = secret.String{}
	}
}

// callback is an authorization response with its code where the RFC has it.
func (p *profile) callback(callback url.Values) url.Values {
	name := p.Authorization.CodeParam
	if name == "" || callback.Has("code") {
		return callback
	}
	renamed := maps.Clone(callback)
	if codes := callback[name]; len(codes) > 0 {
		renamed["code"] = codes
		delete(renamed, name)
	}
	return renamed
}

// redeem rewrites a request that redeems a code.
func (p *profile) redeem(form url.Values) {
	addMissing(form, p.Request.CodeParams)
	if p.Authorization.NoPKCE {
		form.Del("code_verifier")
	}
}

// keep puts what was sent along with a code into the answer that the code has brought.
func (p *profile) keep(answer *authserver.Answer, callback url.Values) {
	for _, name := range p.Authorization.Keep {
		if answer.Extra[name] != nil || !callback.Has(name) {
			continue
		}
		if answer.Extra == nil {
			answer.Extra = make(map[string]json.RawMessage)
		}
		answer.Extra[name], _ = json.Marshal(callback.Get(name)) // a string always can
	}
}

// refresh rewrites a request that refreshes.
func (p *profile) refresh(form url.Values) {
	addMissing(form, p.Request.RefreshParams)
	if grant := p.Request.RefreshGrant; grant != "" {
		form.Set("grant_type", grant)
	}
	if name := p.Request.RefreshParam; name != "" {
		form[name] = form["refresh_token"]
		form.Del("refresh_token")
	}
}

// renewer is what an adopted token is renewed by: at some servers, the access token itself.
func (p *profile) renewer(t *oauth2.Token) string {
	if p.Answer.Members["refresh_token"] == "access_token" {
		return cmp.Or(t.RefreshToken, t.AccessToken)
	}
	return t.RefreshToken
}

// refreshEndpoint is where tokens are refreshed.
func (p *profile) refreshEndpoint(m *authserver.Metadata) string {
	return cmp.Or(p.RefreshURL, m.TokenEndpoint)
}

// ahead is how long before its end a token is renewed, at most.
func (p *profile) ahead() time.Duration { return cmp.Or(p.Request.Ahead, aheadMost) }

// revoked is r as this server revokes it: by a token that is its own credential there is nothing to be said of a refresh
// token. The error says that nothing is left to do it with.
func (p *profile) revoked(r *record.Record, now time.Time) (*record.Record, error) {
	if !p.RevokeByBearer {
		return r, nil
	}
	alone := r.Clone()
	alone.RefreshToken = ""
	for _, a := range alone.Access {
		if a.Token != "" && (a.Expiry.IsZero() || now.Before(a.Expiry)) {
			return alone, nil
		}
	}
	return nil, errors.New("the server revokes a grant by an access token that is good still, and there is none")
}

// addMissing adds the parameters that form does not have.
func addMissing(form url.Values, params map[string]string) {
	for name, value := range params {
		if !form.Has(name) {
			form.Set(name, value)
		}
	}
}

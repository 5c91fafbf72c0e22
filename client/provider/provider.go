package provider

import (
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/origin"
)

// Provider is the profile of an authorization server. Treat the ones of this package as constants: change a copy. It holds no
// secret.
type Provider struct {
	// Name is for people. Empty: it has none.
	Name string

	// Issuers are the issuer identifiers by which For finds this profile, exactly. Nil: none.
	Issuers []string

	// TokenHosts are the hosts of token endpoints, or of issuers, by which For finds this profile: "slack.com", or
	// "*.okta.com" for any host whose name ends so. Nil: none.
	TokenHosts []string

	// Variables are the parts of addresses that differ from customer to customer. They stand in braces
	// in Issuer, in the addresses below and in API.Hosts: "https://{shop}.myshopify.com/admin/oauth/authorize". An address
	// whose variable has no value counts as empty. Nil: there are none.
	Variables []Variable

	// Values are those of Variables, by name. Another name, or a value that does not fit the pattern, is a
	// *client.ConfigError. With sets one. Nil: the defaults.
	Values map[string]string

	// Issuer is asked for its metadata (RFC 8414) if the Config names neither an issuer nor a token endpoint. Empty:
	// Endpoint says everything.
	Issuer string

	// Endpoint, RevocationURL and RefreshURL are used if the Config names neither an issuer nor a token
	// endpoint, or the same ones; what the issuer's metadata says goes before them. Endpoint.AuthStyle is how a client secret is
	// sent, where SecretMethod is empty. RefreshURL is where tokens are renewed. Empty: at the token endpoint.
	Endpoint                  oauth2.Endpoint
	RevocationURL, RefreshURL string

	// SecretMethod is how a client secret is sent, "client_secret_basic" or "client_secret_post", whatever metadata says.
	// Config.AuthMethod and Config.Endpoint.AuthStyle go before it. Empty: as client.Config.AuthMethod says.
	SecretMethod string

	// EmptySecret has a client without a secret, a key and a certificate authenticate by client_secret_basic all the same, with
	// an empty secret (RFC 6749 §2.3.1). Config.AuthMethod goes before it. False: it names itself, as public clients do.
	EmptySecret bool

	// RawBasic has client_secret_basic join the client id and the secret as they are. False: form-encoded (RFC 6749 §2.3.1).
	RawBasic bool

	// AssertionForEndpoint makes the client's assertions (RFC 7523 §2.2) for the token endpoint, whichever endpoint they are sent to.
	// False: for the issuer.
	AssertionForEndpoint bool

	// AssertionForURL makes each of them for the very URL that it is sent to. It goes before AssertionForEndpoint. False: for the
	// same audience everywhere.
	AssertionForURL bool

	// AssertionType is the typ in their header, "JWT" at servers that know no other. Empty: client-authentication+jwt, as
	// the update of RFC 7523 has it.
	AssertionType string

	Authorization Authorization // authorization requests, and what the browser brings back
	Request       Request       // token requests
	Answer        Answer        // what comes of them
	API           API           // requests with an access token

	// RevokeByBearer revokes a grant by a POST to the revocation endpoint with the access token in its Authorization
	// header and an empty form. False: RFC 7009.
	RevokeByBearer bool
}

// Variable is a part of an address that a customer fills in.
type Variable struct {
	// Name is what stands in the braces. Required.
	Name string
	// Pattern is a regular expression that the whole value has to fit. It must keep out all that would make
	// the address lead elsewhere: "/", "@", "#", "?". Required.
	Pattern string
	// Default is the value where none is set. Empty: one has to be set.
	Default string
}

// Authorization is how an authorization request and its answer differ (RFC 6749 §4.1.1, §4.1.2).
type Authorization struct {
	// Params are added to the authorization request, unless the program sets or, by an empty value, unsets
	// them. Nil: none.
	Params map[string]string

	// ClientIDParam is the name of client_id, here and in token requests. Empty: client_id.
	ClientIDParam string

	// ScopeSeparator stands between scopes, in all requests. Empty: a space (RFC 6749 §3.3).
	ScopeSeparator string

	// CodeParam is the name of the code in the answer. Empty: code.
	CodeParam string

	// Keep are parameters of the answer that are kept with the grant and in the Extra of its tokens, where the token answer
	// has no member of the name. Nil: none.
	Keep []string

	// Iss is the issuer that answers name (RFC 9207), for a server without metadata: another one ends the login. Empty: the
	// issuer of the metadata; without that nothing can be compared.
	Iss string

	// RefreshWithoutConsent says that the scope offline_access brings a refresh token without the parameter prompt=consent, which
	// is left out then. False: with openid beside it, it is sent, as OpenID Connect Core §11 demands.
	RefreshWithoutConsent bool

	// NoPAR has authorization requests go through the browser although the metadata names an endpoint that they can be pushed to (RFC
	// 9126), for servers where that is closed to the client: what weakens a login, because the person can read and change
	// the request. A server that demands pushed requests (require_pushed_authorization_requests) gets them all the same. False:
	// they are pushed.
	NoPAR bool

	// NoPKCE leaves out the code_challenge (RFC 7636), for servers that refuse it: what weakens a login, because a
	// stolen code can be redeemed then. A client without secret, key or certificate goes with PKCE all the same. False: PKCE with
	// S256.
	NoPKCE bool

	// NoNonce leaves out the nonce (OpenID Connect Core §3.1.2.1), for servers whose id tokens have none: what weakens
	// a login, because an id token of another login passes then. False: with the scope openid there is a nonce.
	NoNonce bool
}

// Request is how token requests differ (RFC 6749 §4.1.3, §6).
type Request struct {
	// JSON sends the parameters as a JSON object. False: as a form.
	JSON bool

	// Header has further fields of token requests, or other values than "Accept: application/json" and Evergrant's
	// own User-Agent. Nil: none.
	Header map[string]string

	// CodeParams and RefreshParams are added to requests that redeem a code and to those that refresh; Config.TokenParams goes
	// before the latter. Nil: none.
	CodeParams, RefreshParams map[string]string

	// RefreshGrant is the grant_type of a refresh, and RefreshParam the name of the parameter that the refresh token
	// goes in. With Answer.Members{"refresh_token": "access_token"} that is the access token, at servers that have
	// no other. Empty: refresh_token.
	RefreshGrant, RefreshParam string

	// Ahead is how long before its end a token is renewed, at most; a quarter of its life if that is less. Zero: five
	// minutes.
	Ahead time.Duration
}

// Answer is how token answers differ (RFC 6749 §5.1, §5.2). JSON, or a form, is told by the answer itself, an "error"
// counts under every status, and a scope may be an array, at all servers.
type Answer struct {
	// Unwrap are paths of objects in the answer. The first that has an access token is taken in the place of the
	// answer; what the answer holds beside it stays. "" is the answer itself. Nil: the answer itself.
	Unwrap []string

	// Members are paths of what the RFCs put into members of these names: "access_token", "refresh_token", "id_token",
	// "token_type", "expires_in", "refresh_token_expires_in", "scope", "error", "error_description". Where there is nothing at the path, the
	// RFC's own member counts. Nil: there are no others.
	Members map[string]string

	// Success is what a good answer says, such as {"ok", "true"}: if it says something else, it is a refusal, and if it says this, it
	// is none. The zero Match: whatever has no error is good.
	Success Match

	// Errors gives the code of RFC 6749 §5.2 that an error code of the server stands for, such as "invalid_grant" for
	// "bad_refresh_token". A code with "@refresh" behind it counts for refreshes only, and goes before one without. The server's own code
	// then stands in the description. Nil: they are the RFC's.
	Errors map[string]string

	// ScopeSeparator stands between scopes beside spaces. Empty: spaces alone.
	ScopeSeparator string

	// BearerTypes are other names of the token type Bearer. Nil: none.
	BearerTypes []string

	// LifetimeUnit is how expires_in is written. Empty: Seconds.
	LifetimeUnit Unit

	// DefaultLifetime is how long an access token is good for where the answer does not say. Zero: until it is rejected.
	DefaultLifetime time.Duration
}

// Unit is how a lifetime, or the end of one, is written.
type Unit string

const (
	Seconds      Unit = "seconds"      // a number of seconds (RFC 6749 §5.1)
	Milliseconds Unit = "milliseconds" // a number of milliseconds
	UnixTime     Unit = "unix time"    // when it ends, in seconds since 1970
	ISOTime      Unit = "ISO time"     // when it ends (RFC 3339)
)

// API is how a provider's API differs from RFC 6750.
type API struct {
	// Hosts are where access tokens may go if Config.Origins is nil, over TLS or on this machine: "api.github.com",
	// "*.googleapis.com" for any host whose name ends so, "api.example.com:8443". Nil: any host that the program itself
	// asks; so do hosts with a variable that has no value, or where the Config names another server than this profile.
	Hosts []string

	// Header is the header field that the access token goes in: "X-Access-Token: {token}". Empty: "Authorization: Bearer
	// {token}", as whoever uses a Session.TokenSource does in any case.
	Header string

	// Fields are further header fields of a request that has none of these names. In their values, "{client_id}" stands for
	// Config.ClientID. They go where a token may go. Nil: none.
	Fields map[string]string

	// Rejected are the answers, other than a 401, that mean that the access token is not good any more. A
	// rule for the status 200 has the first value of every such JSON answer, 64 KiB at most, read before the program gets
	// the answer. Nil: a 401 alone.
	Rejected []Rejection
}

// Rejection is an answer by which an API rejects an access token. All that is set has to fit.
type Rejection struct {
	// Status is that of the answer. Required.
	Status int
	// Path is where in its JSON body the answer has one of Values. Empty: the body is not looked at.
	Path   string
	Values []string
	// Text is a part of its body, for answers that are not JSON. Empty: none is looked for.
	Text string
}

// Match is a value in a JSON document. A path is member names and array indexes with dots between them: "error.code",
// "errors.0.extensions.code". The value is a string as it is, or the JSON text of a number or of true or false.
type Match struct {
	Path  string // where it is
	Value string // what it is
}

// With returns a copy of p with a value for one of its Variables. client.New says what is wrong with it.
func (p *Provider) With(name, value string) *Provider {
	c := *p
	c.Values = maps.Clone(p.Values)
	if c.Values == nil {
		c.Values = make(map[string]string)
	}
	c.Values[name] = value
	return &c
}

// For returns the profile of this package for an issuer or, where there is none for it, for the host of a token
// endpoint; either may be empty. Nil: there is none. Hosts are compared whole, and label by label.
func For(issuer, tokenURL string) *Provider {
	for _, p := range all {
		if issuer != "" && slices.Contains(p.Issuers, issuer) {
			return p
		}
	}
	for _, address := range []string{tokenURL, issuer} {
		u, err := url.Parse(address)
		if err != nil || u.Host == "" || u.Port() != "" && u.Port() != "443" {
			continue
		}
		for _, p := range all {
			if slices.ContainsFunc(p.TokenHosts, func(pattern string) bool { return fits(u.Hostname(), pattern) }) {
				return p
			}
		}
	}
	return nil
}

// fits reports whether host is pattern or, with "*." before it, ends in it after a dot.
func fits(host, pattern string) bool {
	host = origin.Lower(host)
	suffix, any := strings.CutPrefix(pattern, "*")
	if any {
		return len(host) > len(suffix) && strings.HasSuffix(host, suffix)
	}
	return host == pattern
}

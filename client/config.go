package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client/provider"
	"github.com/evergrant/evergrant/internal/origin"
	"github.com/evergrant/evergrant/tokenstore"
)

// Config describes one OAuth client at one authorization server. New copies it.
type Config struct {
	// Issuer is the issuer identifier of the authorization server, exactly as it writes it itself, also where a Resource
	// lists it with a slash more or less. Its
	// endpoints are discovered when they are first needed (RFC 8414, OpenID Connect Discovery).
	// Empty: Endpoint says everything.
	Issuer string

	// Endpoint gives the endpoints instead of, or over, what is discovered: its non-empty fields
	// win. Its AuthStyle chooses how a ClientSecret is sent: oauth2.AuthStyleInHeader is
	// client_secret_basic, AuthStyleInParams client_secret_post. AuthStyleAutoDetect, the zero value,
	// leaves it to AuthMethod.
	Endpoint oauth2.Endpoint

	// Provider says in what the server and its API differ from the RFCs. The other fields win over it. Without Issuer,
	// Endpoint.TokenURL and Resource it also says where the server is. Nil: the profile that provider.For finds for
	// Issuer or Endpoint.TokenURL, if there is one. To have the RFCs hold in any case, set an empty one, &provider.Provider{}.
	// Where a profile names hosts of an API (API.Hosts), tokens go there alone unless Origins says otherwise.
	Provider *provider.Provider

	// RevocationURL is the revocation endpoint (RFC 7009). Empty: the discovered one; where there is
	// none, Logout deletes without revoking.
	RevocationURL string

	// Resource is the address of a protected resource, such as an MCP server, of which nothing else is known: zero
	// configuration (RFC 9728). The Client finds out which authorization server guards it, registers there, and asks for
	// tokens for this resource alone; see the package's section on it. It must be https, without a fragment, and
	// spelt as the resource spells itself. The resource then decides where people log in and which scopes they are asked
	// for. To decide yourself, set Issuer, which the resource has to name too, and Scopes. Empty: Issuer, Endpoint or
	// Provider say where to go.
	Resource string

	// Registration describes this program to servers where a Client with a Resource registers (RFC 7591). Nil: it is described
	// by the name of the program's file alone.
	Registration *Registration

	// LocalNetwork lets Resource, and whatever it leads to, be on this machine, over plain http too, or in a private network,
	// as in development. False: such addresses are refused when they are dialled, whatever name leads there. Link-local
	// addresses always are. Without a Resource it means nothing.
	LocalNetwork bool

	// ClientID is required, except with a JWTBearer grant (RFC 7523 §2.1), with a TokenExchange that leaves it to the server
	// whether the client is known (RFC 8693 §2.1), and with a Resource. With the latter, it may be one
	// that was registered beforehand at the Issuer, which has to be named then, or the https address of a document
	// that describes the program (Client.MetadataDocument), for servers that fetch such. Empty: the Client registers.
	ClientID string

	// ClientSecret is empty for a public client (RFC 6749 §2.1), and for one that has a ClientKey.
	ClientSecret string

	// ClientKey authenticates the client by assertions (private_key_jwt, RFC 7523 §2.2): a fresh one for every
	// request, for the issuer as its only audience unless the Provider says otherwise, with a life of one minute by the
	// server's clock. Nil: none.
	ClientKey *Key

	// ClientAssertion returns an assertion that somebody else has signed for the client (RFC 7521 §4.2, RFC 7523 §2.2), such as the
	// token that a platform gives a workload: a JWT, sent as private_key_jwt has it. It is called for every request to the
	// authorization server, and must be safe for concurrent use and return when ctx ends. Whoever gets the assertion can
	// use it until it expires. It stands in the place of a ClientKey. Nil: none.
	ClientAssertion func(ctx context.Context) (string, error)

	// ClientCertificate is presented to the authorization server and to resource servers that ask for a client
	// certificate (RFC 8705): it authenticates the client (tls_client_auth, self_signed_tls_client_auth), and servers
	// can bind tokens to it. The endpoints are then those of mtls_endpoint_aliases, where the metadata has such. Tokens
	// that were got with another certificate are renewed. Requests to all hosts over a Session's HTTP client present it.
	// Nil: none.
	//
	// It is put into a copy of the *http.Transport of AuthServerClient, and of the one given to Session.Wrap. Any
	// other http.RoundTripper has to present it itself.
	ClientCertificate *tls.Certificate

	// AuthMethod is how the client authenticates, by its registered name (RFC 7591 §2, RFC 8705 §2.1.1): "none",
	// "client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "tls_client_auth" or
	// "self_signed_tls_client_auth". It goes before Endpoint.AuthStyle. Empty: the first of private_key_jwt, the two by
	// certificate and the three by secret for which the Config has what it takes and which the server's metadata offers;
	// without metadata client_secret_basic or what the Config is for. Nothing is ever probed.
	AuthMethod string

	// Scopes are asked for at login and by a Grant. Empty: the server's default.
	Scopes []string

	// RedirectURL is where the authorization server sends the browser back (RFC 6749 §3.1.2). Empty:
	// http://127.0.0.1:0/callback, where port 0 stands for an ephemeral port (RFC 8252 §7.3), as no port does for Browser. A web
	// backend sets its own https URL. A private-use scheme is a domain of the program's, backwards:
	// com.example.app:/callback (RFC 8252 §7.1).
	RedirectURL string

	// Grant is a grant that needs no person, such as ClientCredentials: a session renews by running
	// it again. Nil: a person logs in.
	Grant Grant

	// DPoP has tokens bound to a key (RFC 9449). Nil: Bearer tokens.
	DPoP *DPoP

	// TokenParams are further parameters of the requests that refresh a token (RFC 6749 §6). Nil: none.
	TokenParams url.Values

	// Store is where grants live. Nil: in memory, so that they end with the process.
	Store tokenstore.Store

	// Origins lists where access tokens may go, as "https://api.example.com" (scheme, host, port).
	// Nil: the origin of Resource; without that, any origin that the program itself asks over TLS or on the loopback
	// interface. Never one that a redirect leads to. Plain http beyond loopback must be listed by name.
	Origins []string

	// AuthServerClient speaks to the authorization server. It is copied; the copy follows no
	// redirect. Nil: one with safe defaults. Give one for a proxy or an own CA.
	AuthServerClient *http.Client

	// StepUp is called when a resource server answers that a request needs more than the grant gives: more scopes (403
	// insufficient_scope), a better or fresher login (RFC 9470), claims (Entra ID). It has the person log in again for need
	// with s, or has somebody else do so, and returns once that is done; the request is then sent once more. Where it
	// returns an error, the server's answer stands; the event "step-up" tells of it.
	//
	// It is called once for all requests of an account that need the same, and for one need of an account at a time. For
	// the same need it is called again after a minute at the soonest, or after up to an hour if it came to nothing. Its
	// context keeps the values of a request's context, but does not end with the request: it ends after 10 minutes, or when
	// the Client is closed, and StepUp must then return. Each request waits until its own context ends.
	// Requests of s that are made with StepUp's context do not call it. Requests that may have to wait for
	// a person need time-outs that are long enough. A session that was narrowed by Scoped does not ask for scopes.
	//
	// Nil: nothing is done, and callers get the server's answer. transport.Challenges says what it asks for.
	StepUp func(ctx context.Context, s *Session, need StepUp) error

	// OnEvent is told what happens to grants, one event after the other, from a goroutine of its own that
	// lives while there is something to tell. It may take its time and use Sessions. It must not call Close or Wait, which
	// wait for it; nothing else does. A panic of it is dropped. Nil: nobody is told. LogEvents makes one of a
	// slog.Logger.
	OnEvent func(Event)
}

// ConfigError says which field of a Config cannot be right, and what would be.
type ConfigError struct {
	Field  string // such as "Config.ClientID"
	Reason string // what is wrong, and what would be right
}

// Error implements error.
func (e *ConfigError) Error() string { return "client: " + e.Field + " " + e.Reason }

// validate reports every field that cannot be right.
func (c *Config) validate() error {
	var errs []error
	bad := func(field, reason string) { errs = append(errs, &ConfigError{"Config." + field, reason}) }
	if c.ClientID == "" && c.Resource == "" && !c.namesNoClient() {
		bad("ClientID", "is empty; set the client id that the authorization server gave to this program")
	}
	if c.Issuer == "" && c.Endpoint.TokenURL == "" && c.Resource == "" {
		bad("Issuer", "is empty, and none of Endpoint.TokenURL, Resource and Provider says where to go; set one of them")
	}
	if c.Resource != "" {
		c.validateResource(bad)
	}
	for field, address := range map[string]string{
		"Issuer":                 c.Issuer,
		"Endpoint.AuthURL":       c.Endpoint.AuthURL,
		"Endpoint.TokenURL":      c.Endpoint.TokenURL,
		"Endpoint.DeviceAuthURL": c.Endpoint.DeviceAuthURL,
		"RevocationURL":          c.RevocationURL,
	} {
		if reason := wrongEndpoint(address); address != "" && reason != "" {
			bad(field, reason)
		}
	}
	if strings.ContainsAny(c.Issuer, "?#") {
		bad("Issuer", "has a query or a fragment (RFC 8414 §2)")
	}
	if c.Endpoint.AuthStyle < oauth2.AuthStyleAutoDetect || c.Endpoint.AuthStyle > oauth2.AuthStyleInHeader {
		bad("Endpoint.AuthStyle", "is not one of oauth2's")
	}
	if reason := wrongRedirect(c.RedirectURL); c.RedirectURL != "" && reason != "" {
		bad("RedirectURL", reason)
	}
	for _, scope := range c.Scopes {
		if reason := wrongScope(scope); reason != "" {
			bad("Scopes", reason)
		}
	}
	for _, listed := range c.Origins {
		if _, ok := origin.Parse(listed); !ok {
			bad("Origins", "has an element that is not an origin; write https://api.example.com")
		}
	}
	c.validateAuthentication(bad)
	if c.ClientKey != nil {
		if _, err := c.ClientKey.prepare("Config.ClientKey"); err != nil {
			errs = append(errs, err)
		}
	}
	if _, err := askedFor("Config.TokenParams", c.TokenParams, "grant_type", "refresh_token", "scope", "resource",
		"client_id", "client_secret", "client_assertion", "client_assertion_type"); err != nil {
		errs = append(errs, err)
	}
	if c.DPoP != nil && c.DPoP.Key != nil {
		if _, err := c.DPoP.Key.prepare("Config.DPoP.Key"); err != nil {
			errs = append(errs, err)
		}
	}
	if c.Grant != nil && len(c.TokenParams) > 0 {
		bad("TokenParams", "is for requests that refresh a token, and with a Grant there are none; use the Params of the Grant")
	}
	if c.Grant != nil && c.StepUp != nil {
		bad("StepUp", "is for what a person grants, and with a Grant nobody is asked; leave one of the two out")
	}
	if c.Grant != nil {
		if err := c.Grant.validate(c); err != nil {
			errs = append(errs, err)
		}
	}
	slices.SortFunc(errs, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(errs...)
}

// wrongScope says what is wrong with a scope; "" when nothing is.
func wrongScope(scope string) string {
	if scope == "" || strings.ContainsAny(scope, " \"\\\t\r\n") {
		return fmt.Sprintf("holds %q; give one scope an element (RFC 6749 §3.3)", scope)
	}
	return ""
}

// wrongEndpoint says what is wrong with the address of an endpoint; "" when nothing is.
func wrongEndpoint(address string) string {
	u, err := url.Parse(address)
	to, ok := origin.Of(u)
	switch {
	case err != nil || u.Host == "":
		return "is not an absolute URL; write it with its scheme, as in https://accounts.example.com"
	case u.User != nil:
		return "holds credentials; use ClientID and ClientSecret"
	case u.Fragment != "":
		return "has a fragment (RFC 6749 §3.1)"
	case !ok || !to.IsPrivate():
		return "must be https; plain http is accepted for loopback addresses only"
	}
	return ""
}

// wrongRedirect says what is wrong with a redirect URL; "" when nothing is. A private-use scheme is accepted, the
// program hands the callback over by Finish; a scheme without a dot is nobody's own, any program could have it too. A
// urn (urn:ietf:wg:oauth:2.0:oob of some servers) leads nowhere, so that nobody can catch what goes there.
func wrongRedirect(address string) string {
	u, err := url.Parse(address)
	to, _ := origin.Of(u)
	switch {
	case err != nil || u.Scheme == "":
		return "is not an absolute URL (RFC 6749 §3.1.2); write it with its scheme, as in https://app.example.com/callback"
	case strings.Contains(address, "#"):
		return "has a fragment (RFC 6749 §3.1.2)"
	case u.Scheme == "http" && !to.IsLoopback():
		return "must be https; plain http is accepted for loopback addresses only"
	case (u.Scheme == "http" || u.Scheme == "https") && u.Host == "":
		return "names no host"
	case !slices.Contains([]string{"http", "https", "urn"}, u.Scheme) && !strings.Contains(u.Scheme, "."):
		return "has a scheme that is not a domain of yours backwards, as com.example.app:/callback has (RFC 8252 §7.1)"
	}
	return ""
}

// Format implements fmt.Formatter: a Config shows its client secret under no verb.
func (c Config) Format(f fmt.State, _ rune) {
	if c.Resource != "" {
		fmt.Fprintf(f, "client.Config(resource %q, issuer %q, client id %q)", withoutUser(c.Resource), withoutUser(c.Issuer), c.ClientID)
		return
	}
	fmt.Fprintf(f, "client.Config(issuer %q, token endpoint %q, client id %q)", withoutUser(c.Issuer), withoutUser(c.Endpoint.TokenURL), c.ClientID)
}

// withoutUser is address without the credentials that some write into it, which New refuses.
func withoutUser(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.User != nil {
		return "[redacted]"
	}
	return address
}

// LogValue implements slog.LogValuer.
func (c Config) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(c)) }

// MarshalJSON implements json.Marshaler: it writes the description that Format shows.
func (c Config) MarshalJSON() ([]byte, error) { return json.Marshal(fmt.Sprint(c)) }

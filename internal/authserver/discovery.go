package authserver

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Metadata is the part of an authorization server's metadata that is used (RFC 8414 §2). What the
// server does not say is empty.
type Metadata struct {
	Issuer                      string   `json:"issuer"`
	AuthorizationEndpoint       string   `json:"authorization_endpoint"`
	TokenEndpoint               string   `json:"token_endpoint"`
	DeviceAuthorizationEndpoint string   `json:"device_authorization_endpoint"`
	RevocationEndpoint          string   `json:"revocation_endpoint"`
	TokenEndpointAuthMethods    []string `json:"token_endpoint_auth_methods_supported"`
	TokenEndpointAuthAlgorithms []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationAuthMethods       []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAuthAlgorithms    []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	IntrospectionEndpoint       string   `json:"introspection_endpoint"`
	IntrospectionAuthMethods    []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectionAuthAlgorithms []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	CodeChallengeMethods        []string `json:"code_challenge_methods_supported"`
	DPoPSigningAlgs             []string `json:"dpop_signing_alg_values_supported"`
	AuthorizationResponseIss    bool     `json:"authorization_response_iss_parameter_supported"`
	PushEndpoint                string   `json:"pushed_authorization_request_endpoint"`
	PushRequired                bool     `json:"require_pushed_authorization_requests"`
	RegistrationEndpoint        string   `json:"registration_endpoint"`
	ClientIDDocuments           bool     `json:"client_id_metadata_document_supported"`
	Scopes                      []string `json:"scopes_supported"`

	OpenID

	// MTLS are the endpoints to be used with a client certificate (RFC 8705 §5).
	MTLS Aliases `json:"mtls_endpoint_aliases"`

	// Life is how long the document holds, by its Cache-Control and within bounds.
	Life time.Duration `json:"-"`

	// OfOpenID says that the document is the one of OpenID Connect Discovery.
	OfOpenID bool `json:"-"`
}

// Bounds of Metadata.Life: a server that forbids caching is not asked before every request, and one that allows a
// year of it is found again when its endpoints have moved.
const (
	defaultLife  = time.Hour
	shortestLife = 5 * time.Minute
	longestLife  = 24 * time.Hour
)

// Aliases are the addresses of endpoints where they take a client certificate (RFC 8705 §5); empty: as elsewhere.
type Aliases struct {
	TokenEndpoint               string `json:"token_endpoint"`
	DeviceAuthorizationEndpoint string `json:"device_authorization_endpoint"`
	RevocationEndpoint          string `json:"revocation_endpoint"`
	IntrospectionEndpoint       string `json:"introspection_endpoint"`
	PushEndpoint                string `json:"pushed_authorization_request_endpoint"`
	UserInfoEndpoint            string `json:"userinfo_endpoint"`
}

// WithAliases is m with its mtls_endpoint_aliases in place of the endpoints.
func (m *Metadata) WithAliases() *Metadata {
	moved := *m
	moved.TokenEndpoint = cmp.Or(m.MTLS.TokenEndpoint, m.TokenEndpoint)
	moved.DeviceAuthorizationEndpoint = cmp.Or(m.MTLS.DeviceAuthorizationEndpoint, m.DeviceAuthorizationEndpoint)
	moved.RevocationEndpoint = cmp.Or(m.MTLS.RevocationEndpoint, m.RevocationEndpoint)
	moved.IntrospectionEndpoint = cmp.Or(m.MTLS.IntrospectionEndpoint, m.IntrospectionEndpoint)
	moved.PushEndpoint = cmp.Or(m.MTLS.PushEndpoint, m.PushEndpoint)
	moved.UserInfoEndpoint = cmp.Or(m.MTLS.UserInfoEndpoint, m.UserInfoEndpoint)
	return &moved
}

// DiscoveryError says that an issuer has no usable metadata, and what was tried.
type DiscoveryError struct {
	Issuer string // empty: it is not fit to be asked
	Tried  []Attempt
}

// Attempt is one address that was asked in vain.
type Attempt struct {
	Address string
	Err     error // a *Failure, unless the document itself is at fault
}

// Error implements error.
func (e *DiscoveryError) Error() string {
	text := "the issuer's metadata cannot be had; check Config.Issuer, or set Config.Endpoint"
	for _, a := range e.Tried {
		text += fmt.Sprintf("; %s: %v", a.Address, a.Err)
	}
	return text
}

// Unwrap returns what went wrong at each address.
func (e *DiscoveryError) Unwrap() []error {
	var all []error
	for _, a := range e.Tried {
		all = append(all, a.Err)
	}
	return all
}

// IsAbsent reports whether the issuer itself says that it has no metadata: nothing is at any of the addresses. A
// server that cannot be reached, or is in trouble, does not say so.
func (e *DiscoveryError) IsAbsent() bool {
	for _, a := range e.Tried {
		f, _ := errors.AsType[*Failure](a.Err)
		if f == nil || f.Status != http.StatusNotFound && f.Status != http.StatusGone && f.Status != http.StatusMethodNotAllowed {
			return false
		}
	}
	return e.Issuer != ""
}

// Discover fetches the metadata of issuer: from the address of RFC 8414, then from those of OpenID
// Connect Discovery (RFC 8414 §5). A document counts only if its issuer is this one and its endpoints
// are https; where the issuer is http on this machine, they may be so too. The error is a
// *DiscoveryError.
func Discover(ctx context.Context, hc *http.Client, issuer string) (*Metadata, error) {
	return discover(ctx, hc, issuer, false)
}

func discover(ctx context.Context, hc *http.Client, issuer string, openID bool) (*Metadata, error) {
	u, err := parseIssuer(issuer)
	if err != nil {
		return nil, err
	}
	failed := &DiscoveryError{Issuer: issuer}
	for i, address := range wellKnown(u) {
		if openID && i == 0 {
			continue // RFC 8414's
		}
		m, err := fetch(ctx, hc, address, u.Scheme == "http")
		if err == nil {
			err = m.check(issuer, u)
		}
		if err == nil {
			m.OfOpenID = i > 0
			return m, nil
		}
		failed.Tried = append(failed.Tried, Attempt{address, err})
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// parseIssuer holds an issuer against RFC 8414 §2. Its errors quote no credentials.
func parseIssuer(issuer string) (*url.URL, error) {
	err := checkEndpoint(issuer, true)
	if err == nil && strings.Contains(issuer, "?") {
		err = errors.New("it has a query")
	}
	if err != nil {
		return nil, &DiscoveryError{Tried: []Attempt{{"the issuer as given", err}}}
	}
	return url.Parse(issuer)
}

// wellKnown lists the addresses to ask: RFC 8414 §3 inserts its part before the path, which some do
// with OpenID's too; OpenID Connect Discovery §4 appends it.
func wellKnown(issuer *url.URL) []string {
	origin, path := issuer.Scheme+"://"+issuer.Host, strings.TrimSuffix(issuer.EscapedPath(), "/")
	addresses := []string{origin + "/.well-known/oauth-authorization-server" + path}
	if path != "" {
		addresses = append(addresses, origin+"/.well-known/openid-configuration"+path)
	}
	return append(addresses, origin+path+"/.well-known/openid-configuration")
}

// fetch gets one document. The issuer inside it decides whether it counts. Errors quote nothing of it.
func fetch(ctx context.Context, hc *http.Client, address string, loopback bool) (*Metadata, error) {
	body, header, err := get(ctx, hc, address, loopback)
	if err != nil {
		return nil, err
	}
	m := new(Metadata)
	if json.Unmarshal(body, m) != nil {
		return nil, errors.New("the document is not a JSON object of the right form")
	}
	m.Life = life(header)
	return m, nil
}

// life reads Cache-Control (RFC 9111 §5.2.2).
func life(h http.Header) time.Duration {
	said := defaultLife
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			return shortestLife
		case "max-age":
			if seconds, err := strconv.Atoi(strings.Trim(value, `"`)); err == nil {
				said = time.Duration(min(max(seconds, 0), int(longestLife/time.Second))) * time.Second
			}
		}
	}
	return min(max(said, shortestLife), longestLife)
}

// check holds a document against the issuer it was asked for: by code points, without any normalization (RFC 8414
// §3.3, §4). Another spelling is another issuer, also for the iss of id tokens and of authorization responses.
func (m *Metadata) check(issuer string, u *url.URL) error {
	if m.Issuer != issuer {
		return fmt.Errorf("the document is of another issuer, %q; Config.Issuer has to be spelt exactly as the server spells itself", scrubber{}.words(m.Issuer))
	}
	if m.TokenEndpoint == "" {
		return errors.New("the document names no token_endpoint")
	}
	for _, e := range []struct{ name, address string }{
		{"authorization_endpoint", m.AuthorizationEndpoint},
		{"token_endpoint", m.TokenEndpoint},
		{"device_authorization_endpoint", m.DeviceAuthorizationEndpoint},
		{"revocation_endpoint", m.RevocationEndpoint},
		{"introspection_endpoint", m.IntrospectionEndpoint},
		{"pushed_authorization_request_endpoint", m.PushEndpoint},
		{"registration_endpoint", m.RegistrationEndpoint},
		{"jwks_uri", m.KeysURI},
		{"userinfo_endpoint", m.UserInfoEndpoint},
		{"end_session_endpoint", m.EndSessionEndpoint},
		{"token_endpoint alias for mutual TLS", m.MTLS.TokenEndpoint},
		{"device_authorization_endpoint alias for mutual TLS", m.MTLS.DeviceAuthorizationEndpoint},
		{"revocation_endpoint alias for mutual TLS", m.MTLS.RevocationEndpoint},
		{"introspection_endpoint alias for mutual TLS", m.MTLS.IntrospectionEndpoint},
		{"pushed_authorization_request_endpoint alias for mutual TLS", m.MTLS.PushEndpoint},
		{"userinfo_endpoint alias for mutual TLS", m.MTLS.UserInfoEndpoint},
	} {
		if e.address == "" {
			continue
		}
		if err := checkEndpoint(e.address, u.Scheme == "http"); err != nil {
			return fmt.Errorf("the document's %s is %w", e.name, err)
		}
	}
	return nil
}

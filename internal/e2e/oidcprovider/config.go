package oidcprovider

import "time"

// Config says what provider to start. The zero Config is a provider that never rotates refresh tokens, gives access
// tokens ten minutes and issues refresh tokens for offline_access with consent only.
type Config struct {
	// Rotate replaces the refresh token at every refresh; presenting a replaced one again revokes the whole grant.
	Rotate bool
	// AccessTokenLife is how long access tokens live, in whole seconds. Zero: ten minutes.
	AccessTokenLife time.Duration
	// AlwaysRefreshToken issues refresh tokens without offline_access, too.
	AlwaysRefreshToken bool
	// Resources are the resource servers (RFC 8707) that tokens can be asked for. Each knows the scopes api:read and
	// api:write.
	Resources []string
	// DetailTypes are the types of authorization details (RFC 9396) that can be asked for. Empty: none are looked at.
	DetailTypes []string
	// Registration opens dynamic client registration (RFC 7591).
	Registration bool
	// Issuer is what the provider calls itself, if clients reach it at another address than its own, such as a proxy's.
	// Empty: its own address.
	Issuer string
	// RedirectURIs are registered for all clients beside Callback.
	RedirectURIs []string
	// DPoPBound lets no client have tokens that are not bound to a key (dpop_bound_access_tokens, RFC 9449, section 5.2).
	DPoPBound bool
	// DPoPNonces wants a nonce in every proof, here and at userinfo. Nonces are good for some minutes.
	DPoPNonces bool
	// TLS has the provider speak https under a certificate of an authority of its own (Provider.CA), and take client
	// certificates (RFC 8705) at other addresses, which its metadata names as mtls_endpoint_aliases.
	TLS bool
	// OwnKeys has it sign with keys of its own, new at every start, of every type that id tokens are signed with.
	OwnKeys bool
	// Clients are registered beside those that every provider knows, by the names of RFC 7591.
	Clients []map[string]any
	// Features go to oidc-provider as they stand, by its names: {"dPoP": {"enabled": false}}. DPoP and pushed
	// authorization requests are open without them.
	Features map[string]any
}

// The clients that every provider knows. Redirects to Callback may use any port and either loopback address.
const (
	Native      = "native" // public: code, refresh, device
	WebBasic    = "web"    // Secret by client_secret_basic: code, refresh
	WebPost     = "post"   // Secret by client_secret_post: code, refresh
	Daemon      = "daemon" // Secret by client_secret_basic: client credentials
	Callback    = "http://127.0.0.1/callback"
	deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"
)

// Secret is the secret of all confidential clients. Its characters must be form-encoded before they go into a Basic
// header (RFC 6749, section 2.3.1).
const Secret = "s+cr%e&t=:/~?"

type client struct {
	ID              string   `json:"client_id"`
	Secret          string   `json:"client_secret,omitempty"`
	ApplicationType string   `json:"application_type"`
	Method          string   `json:"token_endpoint_auth_method"`
	Grants          []string `json:"grant_types"`
	ResponseTypes   []string `json:"response_types"`
	RedirectURIs    []string `json:"redirect_uris"`
}

func (c Config) clients() []client {
	// "native" lets the port of a loopback redirect vary (RFC 8252, section 7.3).
	redirects := append([]string{Callback, "http://[::1]/callback", "http://localhost/callback"}, c.RedirectURIs...)
	code := []string{"code"}
	return []client{
		{Native, "", "native", "none", []string{"authorization_code", "refresh_token", deviceGrant}, code, redirects},
		{WebBasic, Secret, "native", "client_secret_basic", []string{"authorization_code", "refresh_token"}, code, redirects},
		{WebPost, Secret, "native", "client_secret_post", []string{"authorization_code", "refresh_token"}, code, redirects},
		{Daemon, Secret, "native", "client_secret_basic", []string{"client_credentials"}, []string{}, []string{}},
	}
}

// input is what server.mjs reads.
func (c Config) input(a *authority) any {
	life := c.AccessTokenLife
	if life == 0 {
		life = 10 * time.Minute
	}
	features := c.Features
	if features == nil {
		features = map[string]any{}
	}
	var registered []any
	for _, known := range c.clients() {
		registered = append(registered, known)
	}
	for _, further := range c.Clients {
		registered = append(registered, further)
	}
	return map[string]any{
		"rotate":             c.Rotate,
		"accessTokenSeconds": int(life / time.Second),
		"alwaysRefreshToken": c.AlwaysRefreshToken,
		"resources":          append([]string{}, c.Resources...),
		"detailTypes":        append([]string{}, c.DetailTypes...),
		"registration":       c.Registration,
		"issuer":             c.Issuer,
		"dpopBound":          c.DPoPBound,
		"dpopNonces":         c.DPoPNonces,
		"ownKeys":            c.OwnKeys,
		"features":           features,
		"clients":            registered,
		"tls":                a.pem(),
	}
}

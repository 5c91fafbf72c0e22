package client

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/origin"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/internal/secret"
)

// Registration describes the program to authorization servers that a Client with a Config.Resource registers at
// (RFC 7591 §2). What else a server has to know follows from the Config and from the flow.
type Registration struct {
	// Name is shown to the person who logs in (client_name). Empty: the name of the program's file.
	Name string

	// URI is a page about the program for that person (client_uri). Empty: none.
	URI string

	// SoftwareID is the same for every copy and version of the program (software_id). Empty: none.
	SoftwareID string

	// AccessToken is what the server gave out beforehand to those who may register (RFC 7591 §3). It is a secret,
	// and Config.Issuer says of which server. Empty: none.
	AccessToken string
}

// Format implements fmt.Formatter: a Registration shows no token under any verb.
func (r Registration) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "client.Registration(%q)", r.Name) }

// LogValue implements slog.LogValuer.
func (r Registration) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(r)) }

// MarshalJSON implements json.Marshaler: it writes the description that Format shows.
func (r Registration) MarshalJSON() ([]byte, error) { return json.Marshal(fmt.Sprint(r)) }

// validateResource reports what cannot be right in a Config with a Resource.
func (c *Config) validateResource(bad func(field, reason string)) {
	reason := wrongEndpoint(c.Resource)
	u, err := url.Parse(c.Resource)
	at, _ := origin.Of(u)
	switch {
	case reason != "":
		bad("Resource", reason)
	case err == nil && at.IsLoopback() && !c.LocalNetwork:
		bad("Resource", "is on this machine; set LocalNetwork if that is meant")
	}
	for field, address := range map[string]string{
		"Endpoint.AuthURL": c.Endpoint.AuthURL, "Endpoint.TokenURL": c.Endpoint.TokenURL,
		"Endpoint.DeviceAuthURL": c.Endpoint.DeviceAuthURL, "RevocationURL": c.RevocationURL,
	} {
		if address != "" {
			bad(field, "is set beside Resource, which says itself where to go; for tokens for a resource of a known server use Session.Resource")
		}
	}
	c.validateIdentity(bad)
}

// validateIdentity reports credentials that nobody in particular would get.
func (c *Config) validateIdentity(bad func(field, reason string)) {
	registers := c.ClientID == "" || c.isDocument()
	switch {
	case registers && c.Grant != nil:
		bad("ClientID", "is empty or a document's address; a Grant needs a client that was registered for it")
	case registers && c.ClientSecret != "":
		bad("ClientSecret", "belongs to no client; set the ClientID that it goes with, or leave both to the registration")
	case c.ClientID == "" && c.ClientKey != nil:
		bad("ClientKey", "belongs to no client; set the ClientID that it goes with")
	case registers && c.ClientAssertion != nil:
		bad("ClientAssertion", "belongs to no client that was registered; set the ClientID that it goes with, and the Issuer")
	case !registers && c.Issuer == "":
		bad("Issuer", "is empty; name the server that ClientID was registered at, so that no other is shown it")
	}
	if err := authserver.CheckClientIDDocument(c.ClientID); c.isDocument() && err != nil {
		bad("ClientID", "cannot be the address of a document that describes a client: it "+err.Error())
	}
	if c.Registration != nil && c.Registration.AccessToken != "" && c.Issuer == "" {
		bad("Issuer", "is empty; name the server that Registration.AccessToken is for, so that no other is shown it")
	}
}

// program is what a server has to know of this client, which is sent back to redirectURL, if that is not empty, and uses
// grantType.
func (c *Client) program(grantType, redirectURL string) *authserver.Program {
	p := &authserver.Program{Name: programName(), GrantTypes: []string{grantType, "refresh_token"}, Extra: map[string]any{}}
	if r := c.config.Registration; r != nil {
		p.Name, p.URI = cmp.Or(r.Name, p.Name), r.URI
		if r.SoftwareID != "" {
			p.Extra["software_id"] = r.SoftwareID
		}
	}
	if redirectURL != "" {
		p.RedirectURIs = []string{redirectURL}
	}
	if c.proofs.wanted {
		p.Extra["dpop_bound_access_tokens"] = true // RFC 9449 §5.2
	}
	if c.config.ClientCertificate != nil {
		p.Extra["tls_client_certificate_bound_access_tokens"] = true // RFC 8705 §3.4
	}
	return p
}

// programName is how the operating system calls this program.
func programName() string {
	path, err := os.Executable()
	if err != nil {
		return "a Go program"
	}
	return strings.TrimSuffix(filepath.Base(path), ".exe")
}

// register registers the client that a login's grant is to be given to (RFC 7591). It is public where the server lets it be.
func (c *Client) register(ctx context.Context, m *authserver.Metadata, grantType, redirectURL string) (*record.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, spendLimit)
	defer cancel()
	p := c.program(grantType, redirectURL)
	offered := m.TokenEndpointAuthMethods
	if len(offered) == 0 {
		offered = []string{string(authserver.MethodBasic)} // RFC 8414 §2: the default
	}
	for _, method := range []authserver.Method{authserver.MethodNone, authserver.MethodBasic, authserver.MethodPost} {
		if slices.Contains(offered, string(method)) {
			p.Method = method
			break
		}
	}
	made, err := authserver.Register(ctx, c.http, m.RegistrationEndpoint, p, c.initial)
	if err != nil {
		return nil, fmt.Errorf("the client cannot be registered: %w", err)
	}
	return &record.Client{
		Issuer: m.Issuer, ID: made.ID, Registered: true, Secret: made.Secret.Reveal(), Expiry: made.SecretExpires,
		Method: string(made.Method), Token: made.Token.Reveal(), URI: made.URI,
	}, nil
}

// unregister gives the registration of a grant that is over, or never came, back to the server (RFC 7592 §2.3), if there is one and the
// server takes it. Nobody waits for it, and what comes of it changes nothing.
func (c *Client) unregister(ctx context.Context, who *record.Client) {
	if who == nil || who.URI == "" {
		return
	}
	task := c.tasks.follow("a registration that is given back")
	if task == nil {
		return
	}
	go func() {
		defer c.tasks.end(task)
		ctx, cancel := c.tasks.detach(ctx)
		defer cancel()
		ctx, cancel = context.WithTimeout(ctx, revokeTimeout)
		defer cancel()
		r := &authserver.Registration{ID: who.ID, Token: secret.New(who.Token), URI: who.URI}
		_ = r.Delete(ctx, c.http)
	}()
}

// MetadataDocument is the document that describes the program to authorization servers which fetch it from Config.ClientID
// (OAuth Client ID Metadata Document): serve it there, under 200 and as application/json. It names Config.RedirectURL,
// what Registration says, and the public part of Config.ClientKey, if there is one: change it when these change.
func (c *Client) MetadataDocument() ([]byte, error) {
	p := c.program("authorization_code", anyPort(cmp.Or(c.config.RedirectURL, "http://127.0.0.1/callback")))
	if c.key != nil {
		public, err := c.key.Public()
		if err != nil {
			return nil, &ConfigError{"Config.ClientKey", "cannot be shown to servers: " + err.Error()}
		}
		p.Method, p.Extra["jwks"] = authserver.MethodKeyJWT, map[string]any{"keys": []json.RawMessage{public}}
	}
	document, err := p.Document(c.config.ClientID)
	if err != nil {
		return nil, &ConfigError{"Config.ClientID", "is of no document: " + err.Error()}
	}
	return document, nil
}

// anyPort is redirectURL without its port 0, which stands for an ephemeral one: servers take any port of a loopback address
// then (RFC 8252 §7.3).
func anyPort(redirectURL string) string {
	u, err := url.Parse(redirectURL)
	if err != nil || u.Port() != "0" {
		return redirectURL
	}
	u.Host = strings.TrimSuffix(u.Host, ":0")
	return u.String()
}

// isDocument reports whether ClientID is the address of a document that describes the client.
func (c *Config) isDocument() bool { return strings.HasPrefix(c.ClientID, "https://") }

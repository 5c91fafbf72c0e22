package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/evergrant/evergrant/internal/origin"
	"github.com/evergrant/evergrant/internal/secret"
)

// Program is what a client registers of itself (RFC 7591 §2).
type Program struct {
	Name string // client_name; required: people are shown it
	URI  string // client_uri; empty: none

	// RedirectURIs are https, or http to this machine, or of a private-use scheme, with their paths: all of a native
	// program, or all of a web server.
	RedirectURIs []string
	// Method is how the client will authenticate. Empty: MethodNone, as a program on a person's machine can keep no
	// secret (RFC 8252 §8.4).
	Method Method
	// GrantTypes are those that the client will use. Empty: authorization_code and refresh_token.
	GrantTypes []string

	// Extra are further members: software_id, logo_uri, contacts, client_name#fr … (§2.2).
	Extra map[string]any
}

// Registration is a client as the server has registered it (RFC 7591 §3.2.1), which need not be what was asked for: as
// much of it as the client needs.
type Registration struct {
	ID            string
	Secret        secret.String
	SecretExpires time.Time // zero: never, or there is no secret
	Method        Method
	RedirectURIs  []string // nil: those that were asked for

	// Token and URI are for deleting the registration (RFC 7592). Both are empty where the server gives none, or an
	// address that a token should not be sent to.
	Token secret.String
	URI   string
}

// Register registers a client at a registration endpoint (RFC 7591). token is an initial access token; empty: none. What
// the server has changed is in the answer; if the client could not work so, that is an error, and the registration is
// given back. Any error is a *Failure.
func Register(ctx context.Context, hc *http.Client, endpoint string, p *Program, token secret.String) (*Registration, error) {
	members, err := p.members()
	if err != nil {
		return nil, &Failure{Outcome: Misconfigured, Err: fmt.Errorf("nothing was sent; the client cannot be registered: %w", err)}
	}
	body, err := json.Marshal(members)
	if err != nil {
		return nil, &Failure{Outcome: Misconfigured, Err: errors.New("nothing was sent; the client cannot be registered: its metadata cannot be written as JSON")}
	}
	r, err := manage(ctx, hc, http.MethodPost, endpoint, token, string(body))
	if err != nil {
		return nil, err
	}
	made, err := r.registration(endpoint)
	if err != nil {
		return nil, err
	}
	if err := made.serves(p); err != nil {
		_ = made.Delete(ctx, hc) // the reason is more worth telling
		return nil, &Failure{Outcome: Misconfigured, Status: r.status, Err: fmt.Errorf("the server has registered something else: %w", err)}
	}
	return made, nil
}

// Delete gives the registration back, and with it every token that the client has (RFC 7592 §2.3). Any error is a *Failure.
func (r *Registration) Delete(ctx context.Context, hc *http.Client) error {
	if r.URI == "" || r.Token.IsEmpty() {
		return &Failure{Outcome: Misconfigured, Err: errors.New("nothing was sent; the server lets nobody manage the registration")}
	}
	_, err := manage(ctx, hc, http.MethodDelete, r.URI, r.Token, "")
	return err
}

// members checks p and writes it as client metadata. What the server would fill in (RFC 7591 §2) is always said.
func (p *Program) members() (map[string]any, error) {
	kind, err := applicationType(p.RedirectURIs)
	if err != nil {
		return nil, err
	}
	grants := p.GrantTypes
	if len(grants) == 0 {
		grants = []string{"authorization_code", "refresh_token"}
	}
	responses := []string{}
	switch {
	case p.Name == "":
		return nil, errors.New("it has no name to show to people")
	case slices.Equal(grants, []string{"refresh_token"}):
		return nil, errors.New("there is no grant that a refresh token could come from (RFC 7591 §2.1)")
	case slices.Contains(grants, "authorization_code"):
		if len(p.RedirectURIs) == 0 {
			return nil, errors.New("authorization_code needs a redirect URI")
		}
		responses = append(responses, "code")
	}
	members := map[string]any{
		"client_name": p.Name, "application_type": kind, "token_endpoint_auth_method": p.method(),
		"grant_types": grants, "response_types": responses,
	}
	if p.URI != "" {
		members["client_uri"] = p.URI
	}
	if len(p.RedirectURIs) > 0 {
		members["redirect_uris"] = p.RedirectURIs
	}
	for name := range p.Extra {
		if slices.Contains(reserved, name) || members[name] != nil {
			return nil, fmt.Errorf("%s cannot be chosen in this way", scrubber{}.words(name))
		}
	}
	maps.Copy(members, p.Extra)
	if members["jwks"] != nil && members["jwks_uri"] != nil {
		return nil, errors.New("it has both jwks and jwks_uri (RFC 7591 §2)")
	}
	return members, nil
}

func (p *Program) method() Method {
	if p.Method == "" {
		return MethodNone
	}
	return p.Method
}

// reserved are the members that follow from the rest of a Program, and those that only a server gives.
var reserved = []string{
	"token_endpoint_auth_method", "redirect_uris", "grant_types", "response_types", "scope",
	"client_id", "client_secret", "client_id_issued_at", "client_secret_expires_at", "registration_access_token", "registration_client_uri",
}

// applicationType tells a native program from a web server by where the browser comes back to, and refuses what neither
// can be sent back to safely (RFC 7591 §5, OpenID Connect Registration §2). Without a redirect it is native: a device.
func applicationType(redirects []string) (string, error) {
	kinds := map[string]bool{}
	for _, address := range redirects {
		u, err := url.Parse(address)
		to, _ := origin.Of(u)
		switch {
		case err != nil || u.Fragment != "" || strings.HasSuffix(address, "#"):
			return "", errors.New("a redirect URI is no absolute URL without a fragment")
		case u.Scheme == "https" && u.Host != "" && !to.IsLoopback():
			kinds["web"] = true
		case u.Scheme == "http" && to.IsLoopback(), strings.Contains(u.Scheme, "."):
			kinds["native"] = true
		default:
			return "", errors.New("a redirect URI is neither https elsewhere, nor http to this machine, nor of a scheme that is a domain backwards")
		}
	}
	switch {
	case len(kinds) > 1:
		return "", errors.New("the redirect URIs are those of a native program and of a web server: register two clients")
	case kinds["web"]:
		return "web", nil
	}
	return "native", nil
}

// registration reads an answer with a client (RFC 7591 §3.2.1), from an endpoint. Where it leaves out how the client
// authenticates, it is as §2 has it, but that a client without a secret cannot be meant to show one.
func (r *reply) registration(endpoint string) (*Registration, error) {
	if r.err != nil {
		return nil, r.garbled(r.err)
	}
	var made Registration
	var secretText, token string
	if err := decode(r.members, map[string]any{
		"client_id": &made.ID, "client_secret": &secretText, "token_endpoint_auth_method": &made.Method,
		"redirect_uris": &made.RedirectURIs, "registration_access_token": &token, "registration_client_uri": &made.URI,
	}); err != nil {
		return nil, r.garbled(err)
	}
	if made.ID == "" || !canShow(made.ID) {
		return nil, r.garbled(errors.New("it has no client_id, or none that can be sent on"))
	}
	made.Secret, made.Token = secret.New(secretText), secret.New(token)
	if expires := instant(r.members["client_secret_expires_at"]); expires.Unix() > 0 {
		made.SecretExpires = expires
	}
	if checkEndpoint(made.URI, strings.HasPrefix(endpoint, "http:")) != nil || token == "" {
		made.URI, made.Token = "", secret.String{}
	}
	switch {
	case made.Method != "":
	case secretText == "":
		made.Method = MethodNone
	default:
		made.Method = MethodBasic
	}
	return &made, nil
}

// serves says why a client that has asked for p cannot work with r.
func (r *Registration) serves(p *Program) error {
	for _, address := range p.RedirectURIs {
		if r.RedirectURIs != nil && !slices.Contains(r.RedirectURIs, address) {
			return fmt.Errorf("its redirect_uris are not %s", scrubber{}.words(address))
		}
	}
	switch r.Method {
	case MethodNone, MethodBasic, MethodPost, p.method():
		if r.needsSecret() && r.Secret.IsEmpty() {
			return fmt.Errorf("its token_endpoint_auth_method is %s, without a client_secret", r.Method)
		}
	default: // an assertion under the secret, too: who has not asked for it makes none
		theirs := r.Method
		if !slices.Contains(Methods, theirs) {
			theirs = "unknown" // where a server has mixed up its members, it is a secret that it gives out right now
		}
		return fmt.Errorf("its token_endpoint_auth_method is %s, not %s", theirs, p.method())
	}
	return nil
}

func (r *Registration) needsSecret() bool {
	return r.Method == MethodBasic || r.Method == MethodPost || r.Method == MethodSecretJWT
}

// manage makes a request about a registration; body is empty but for a POST. The error is a *Failure: the server does not
// say yes.
func manage(ctx context.Context, hc *http.Client, method, address string, token secret.String, body string) (*reply, error) {
	if limit := hc.Timeout; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	if err := checkEndpoint(address, true); err != nil {
		return nil, &Failure{Outcome: Misconfigured, Err: fmt.Errorf("nothing was sent; check the registration endpoint's address: %w", err)}
	}
	hide := newScrubber(nil, token.Reveal())
	g := new(gate)
	req, err := newManaged(ctx, method, address, body, g)
	if err != nil {
		return nil, &Failure{Outcome: Misconfigured, Err: hide.error(err)}
	}
	if !token.IsEmpty() {
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
	}
	resp, err := hc.Transport.RoundTrip(req) // see Client.send
	written := g.seal()
	if err != nil {
		return nil, noAnswer(written, isTimeout(ctx, err), hide.error(err))
	}
	defer resp.Body.Close()
	r := readReply(ctx, resp, hide)
	if !r.succeeded() || r.refuses() {
		return nil, r.registrationFailure()
	}
	return r, nil
}

// newManaged makes the request. One without a body changes nothing when it is sent twice.
func newManaged(ctx context.Context, method, address, body string, g *gate) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, method, address, nil)
	if err != nil {
		return nil, err
	}
	if body != "" {
		req.Body, req.ContentLength = g.body(body), int64(len(body))
		req.GetBody = func() (io.ReadCloser, error) { return g.body(body), nil }
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", userAgent)
	return req, nil
}

// refusedRegistration are the codes that refuse what is to be registered (RFC 7591 §3.2.2), and what to do then.
var refusedRegistration = map[string]string{
	"invalid_redirect_uri":          "the server does not take the redirect URI: set another RedirectURL, or register the client by hand and set ClientID",
	"invalid_client_metadata":       "the server does not take what the client says of itself: change it, or register the client by hand and set ClientID",
	"invalid_software_statement":    "the server does not take the software statement",
	"unapproved_software_statement": "the server does not know who made the software statement",
}

// registrationFailure is failure, with what the codes and statuses of RFC 7591 §3 mean here.
func (r *reply) registrationFailure() *Failure {
	f := r.failure()
	advice, refused := refusedRegistration[r.text("error")]
	if !refused && (r.status == http.StatusUnauthorized || r.status == http.StatusForbidden) {
		advice, refused = "the server lets only those register and manage clients who have a token for it: get an initial access token from whoever runs it, or register the client by hand and set ClientID", true
	}
	if refused && f.Err == nil {
		f.Outcome, f.Err = Misconfigured, errors.New(advice)
	}
	return f
}

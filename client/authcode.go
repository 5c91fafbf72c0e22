package client

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/secret"
)

// AuthCode says how a person is asked in the authorization code flow (RFC 6749 §4.1), which always
// uses PKCE with S256 (RFC 7636). The zero AuthCode asks for the Config's scopes.
type AuthCode struct {
	// Params are further parameters of the authorization request, such as "prompt", "login_hint" or
	// "access_type".
	Params url.Values
	// Replace lets another subject than the stored one log in.
	Replace bool
}

// Pending is a login that was begun by Start: send the person's browser to URL. It marshals to text
// (encoding.TextMarshaler), so that one process can begin a login and another finish it. The text
// holds the secrets of this login: keep it in the browser's own web session, on the server or sealed
// in a cookie, where no other browser can get at it. That is what binds a callback to the browser
// that asked. A Pending is good for one Finish. It is not written as JSON, where logs would show it.
type Pending struct {
	// URL is the authorization request. It is not secret.
	URL string

	session     string // the store key of the session that began it
	state       secret.String
	verifier    secret.String
	nonce       secret.String
	redirectURL string
	replace     bool
	thumbprint  string        // of the key that the tokens are to be bound to; empty: none
	key         secret.String // the private one; empty: the program has it
}

// ErrPending says that a callback does not belong to the login it was brought to: another state, another
// session, another issuer. Nothing was sent. Begin the login anew.
var ErrPending = errors.New("the callback does not belong to this login; begin it anew")

// Start begins a login in a web backend: Config.RedirectURL is where the browser comes back to, and
// whose handler calls Finish. It saves nothing; a store that cannot be read or written is an error here, before
// the person is sent away.
func (s *Session) Start(ctx context.Context, flow AuthCode) (*Pending, error) {
	if s.client.tasks.isClosed() {
		return nil, ErrClosed
	}
	if s.client.config.RedirectURL == "" {
		return nil, s.client.fail("login", s.key, &ConfigError{"Config.RedirectURL", "is empty; Start needs the URL that the browser comes back to"})
	}
	err := s.probe(ctx)
	var p *Pending
	if err == nil {
		p, err = s.begin(ctx, flow, s.client.config.RedirectURL)
	}
	if err != nil {
		return nil, s.client.fail("login", s.key, err)
	}
	return p, nil
}

// Finish ends the login p with the query (or the posted form) that the browser has brought back: it
// checks that the two belong together, redeems the code and saves the grant. It returns once the
// grant is durable, or with an *Error that holds the server's refusal, ErrPending or ErrOtherSubject.
func (s *Session) Finish(ctx context.Context, p *Pending, callback url.Values) error {
	if s.client.tasks.isClosed() {
		return ErrClosed
	}
	got, err := s.redeem(ctx, p, callback)
	if err == nil {
		err = s.saveLogin(ctx, got)
	}
	if err != nil {
		return s.client.fail("login", s.key, err)
	}
	return nil
}

// begin makes the authorization request (RFC 6749 §4.1.1).
func (s *Session) begin(ctx context.Context, flow AuthCode, redirectURL string) (*Pending, error) {
	if err := reserved("AuthCode.Params", flow.Params, "response_type", "client_id", "redirect_uri", "scope",
		"state", "nonce", "code_challenge", "code_challenge_method", "dpop_jkt"); err != nil {
		return nil, err
	}
	_, metadata, err := s.client.authServer(ctx)
	if err != nil {
		return nil, err
	}
	if metadata.AuthorizationEndpoint == "" {
		return nil, &ConfigError{"Config.Endpoint.AuthURL", "is empty, and the server's metadata names no authorization endpoint"}
	}
	address, err := url.Parse(metadata.AuthorizationEndpoint)
	if err != nil {
		return nil, err
	}
	p := &Pending{
		session: s.storeKey(), redirectURL: redirectURL, replace: flow.Replace,
		state: secret.New(rand.Text()), verifier: secret.New(oauth2.GenerateVerifier()),
	}
	binding, err := s.client.newBinding(metadata.DPoPSigningAlgs)
	if err != nil {
		return nil, err
	}
	query := address.Query()
	for name, values := range flow.Params {
		query[name] = slices.Clone(values)
	}
	query.Set("response_type", "code")
	query.Set("client_id", s.client.config.ClientID)
	query.Set("redirect_uri", redirectURL)
	query.Set("state", p.state.Reveal())
	query.Set("code_challenge", oauth2.S256ChallengeFromVerifier(p.verifier.Reveal()))
	query.Set("code_challenge_method", "S256")
	scopeParam(query, s.client.config.Scopes)
	if slices.Contains(s.client.config.Scopes, "openid") {
		p.nonce = secret.New(rand.Text())
		query.Set("nonce", p.nonce.Reveal())
	}
	if binding != nil {
		p.thumbprint, p.key = binding.Thumbprint, secret.New(string(binding.Key))
		query.Set("dpop_jkt", binding.Thumbprint) // binds the code, too (RFC 9449 §10)
	}
	address.RawQuery = query.Encode()
	p.URL = address.String()
	return p, nil
}

// answers reports whether callback carries p's state: whether it is about this login at all.
func (p *Pending) answers(callback url.Values) bool {
	state := callback["state"]
	return len(state) == 1 && !p.state.IsEmpty() && subtle.ConstantTimeCompare([]byte(state[0]), []byte(p.state.Reveal())) == 1
}

// redeem checks the authorization response (RFC 6749 §4.1.2, RFC 9207) and exchanges its code, once and
// within spendLimit: whatever happens, a code is not sent again.
func (s *Session) redeem(ctx context.Context, p *Pending, callback url.Values) (*loggedIn, error) {
	if p == nil || p.session != s.storeKey() {
		return nil, fmt.Errorf("%w: it was begun by another session, client or issuer", ErrPending)
	}
	if !p.answers(callback) {
		return nil, fmt.Errorf("%w: its state differs", ErrPending)
	}
	ctx, cancel := context.WithTimeout(ctx, spendLimit)
	defer cancel()
	server, metadata, err := s.client.authServer(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.checkResponse(p, metadata, callback); err != nil {
		return nil, err
	}
	binding, err := s.client.pendingBinding(p, metadata.DPoPSigningAlgs)
	if err == nil {
		server, err = s.client.proving(server, metadata, binding)
	}
	if err != nil {
		return nil, err
	}
	sent := s.client.machine.Now().Wall
	answer, err := server.Token(ctx, metadata.TokenEndpoint, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {callback.Get("code")},
		"redirect_uri":  {p.redirectURL},
		"code_verifier": {p.verifier.Reveal()},
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("the authorization code was not redeemed; begin the login anew: %w", err)
	}
	return &loggedIn{
		answer: answer, sent: sent, scopes: s.client.config.Scopes, nonce: p.nonce.Reveal(), replace: p.replace, binding: binding,
	}, nil
}

// checkResponse checks an authorization response whose state is right.
func (s *Session) checkResponse(p *Pending, metadata *authserver.Metadata, callback url.Values) error {
	for _, name := range []string{"code", "error", "iss"} {
		if len(callback[name]) > 1 {
			return fmt.Errorf("%w: it has %s twice (RFC 6749 §3.1)", ErrPending, name)
		}
	}
	issuer := callback.Get("iss")
	switch {
	case issuer == "" && metadata.AuthorizationResponseIss:
		return fmt.Errorf("%w: it lacks iss, which this server promises (RFC 9207)", ErrPending)
	case issuer != "" && s.client.config.Issuer != "" && issuer != metadata.Issuer && issuer != s.client.config.Issuer:
		return fmt.Errorf("%w: another issuer has sent it (RFC 9207)", ErrPending)
	case callback.Has("error"):
		return &Error{
			Op: "login", Issuer: s.client.issuer(), Session: s.key,
			Code: p.words(callback, "error"), Description: p.words(callback, "error_description"),
			URI: p.words(callback, "error_uri"), Err: refusalText(p, callback),
		}
	case callback.Get("code") == "":
		return fmt.Errorf("%w: it has neither a code nor an error", ErrPending)
	}
	return nil
}

// refusalText is the server's refusal of a login in words.
func refusalText(p *Pending, callback url.Values) error {
	text := "the server has refused: " + p.words(callback, "error")
	if description := p.words(callback, "error_description"); description != "" {
		text += " (" + description + ")"
	}
	return errors.New(text)
}

// words is a parameter of an authorization response as an error may show it: without what is secret in
// this login, which the response may repeat.
func (p *Pending) words(callback url.Values, name string) string {
	text := callback.Get(name)
	for _, secret := range []string{callback.Get("code"), p.state.Reveal(), p.nonce.Reveal(), p.verifier.Reveal()} {
		if secret != "" {
			text = strings.NewReplacer(secret, "[redacted]", url.QueryEscape(secret), "[redacted]").Replace(text)
		}
	}
	return printable(text)
}

// printable makes what a browser has brought fit for an error: visible ASCII as RFC 6749 §4.1.2.1
// allows, and not much of it.
func printable(s string) string {
	const most = 200
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return -1
		}
		return r
	}, s)
	return s[:min(len(s), most)]
}

// pendingText is the text form of a Pending.
type pendingText struct {
	URL, Session, State, Verifier, Nonce, RedirectURL string
	Replace                                           bool
	Thumbprint, Key                                   string `json:",omitempty"` // of DPoP
}

// MarshalText implements encoding.TextMarshaler. The text is secret.
func (p Pending) MarshalText() ([]byte, error) {
	data, err := json.Marshal(pendingText{
		p.URL, p.session, p.state.Reveal(), p.verifier.Reveal(), p.nonce.Reveal(), p.redirectURL, p.replace, p.thumbprint, p.key.Reveal(),
	})
	if err != nil {
		return nil, err
	}
	return base64.RawURLEncoding.AppendEncode(nil, data), nil
}

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *Pending) UnmarshalText(text []byte) error {
	data, err := base64.RawURLEncoding.DecodeString(string(text))
	var t pendingText
	if err == nil {
		err = json.Unmarshal(data, &t)
	}
	if err != nil || t.State == "" || t.Verifier == "" {
		return fmt.Errorf("%w: the text is not a Pending's", ErrPending)
	}
	*p = Pending{
		t.URL, t.Session, secret.New(t.State), secret.New(t.Verifier), secret.New(t.Nonce), t.RedirectURL, t.Replace, t.Thumbprint, secret.New(t.Key),
	}
	return nil
}

// MarshalJSON fails: use MarshalText, for the browser's own web session only.
func (p Pending) MarshalJSON() ([]byte, error) {
	return nil, errors.New("client: a Pending is secret and is not written as JSON; use MarshalText")
}

// Format implements fmt.Formatter: a Pending shows its secrets under no verb.
func (p Pending) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "client.Pending(session %q)", p.session)
}

// LogValue implements slog.LogValuer.
func (p Pending) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(p)) }

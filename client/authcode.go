package client

import (
	"context"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/internal/secret"
	"github.com/evergrant/evergrant/internal/words"
)

// AuthCode says how a person is asked in the authorization code flow (RFC 6749 §4.1), which always
// uses PKCE with S256 (RFC 7636). The zero AuthCode asks for the Config's scopes.
type AuthCode struct {
	// Scopes are asked for beside those of the Config. Nil: those alone.
	Scopes []string

	// Params are further parameters of the authorization request, such as "login_hint", "max_age", "claims",
	// "authorization_details" (RFC 9396) or "resource" (RFC 8707), which may have several values, as "audience" may.
	//
	// With the scopes openid and offline_access "prompt" is "consent", as OpenID Connect Core §11 demands for a refresh
	// token, unless it is set here or the Provider needs none; empty: it is left out. With "none", a server that would have to ask the person
	// ends the login with ErrInteractionRequired. "response_mode" may be "query" or "form_post".
	// What "acr_values", "max_age" and "claims" ask of the authentication is looked for in the id token: see
	// ErrAuthentication.
	//
	// "state" is refused: it is made anew for each login. What the program wants back after the login, such as the page
	// that the person came from, it keeps beside the Pending.
	Params url.Values
	// Replace lets another subject than the stored one log in.
	Replace bool
}

// Pending is a login that was begun by Start: send the person's browser to URL. It marshals to text
// (encoding.TextMarshaler; the same in package encoding/gob), so that one process can begin a login and another finish it. The text
// holds the secrets of this login: keep it in the browser's own web session, on the server or sealed
// in a cookie, where no other browser can get at it. That is what binds a callback to the browser
// that asked. A Pending is good for one Finish: drop its text then, unless that says that the code was not sent: the same
// Pending can be finished again, with the same callback. It is not written as JSON, where logs would show it.
//
// With response_mode form_post the browser comes back by a POST of another site, without cookies that are
// SameSite=Lax or Strict: the one that the Pending is found by must be SameSite=None, Secure and HttpOnly.
type Pending struct {
	// URL is the authorization request. It is not secret. Where the server takes pushed requests (RFC 9126), it can be
	// opened once, and within a minute or so: send the browser there at once.
	URL string

	session     string        // the store key of the session that began it
	issuer      string        // that the request went to; empty: it is not known
	client      secret.String // that the grant is asked for, as in a record; empty: that of the Config
	resource    string        // that tokens are asked for first (RFC 8707); empty: none in particular
	scopes      []string
	state       secret.String
	verifier    secret.String
	nonce       secret.String
	redirectURL string
	replace     bool
	asked       string        // what the id token has to answer to, form-encoded; see authentication
	thumbprint  string        // of the key that the tokens are to be bound to; empty: none
	key         secret.String // the private one; empty: the program has it

	// again pushes the request once more, for a URL that has ended or was opened already; nil: URL stays good.
	again func(context.Context) (url string, life time.Duration, err error)
	life  time.Duration // of URL, where there is again

	spent *atomic.Bool // its code was sent
}

// ErrPending says that a callback does not belong to the login it was brought to: another state, another
// session, another issuer. Nothing was sent. Begin the login anew.
var ErrPending = errors.New("the callback does not belong to this login; begin it anew")

// ErrInteractionRequired says that a login with the parameter "prompt" set to "none" cannot do without the person
// (OpenID Connect Core §3.1.2.6); the Code of the *Error says for what. Begin it anew without that parameter.
var ErrInteractionRequired = errors.New("the server would have to ask the person; log in without prompt=none")

// Start begins a login in a web backend: Config.RedirectURL is where the browser comes back to, and
// whose handler calls Finish. It saves nothing; a store that cannot be read or written is an error here, before
// the person is sent away. So is a Config.Grant, which needs nobody, a *ConfigError.
//
// Where people sign in with the provider, nobody knows who they are before Finish, and a session key is needed before. Give
// each account a random key, and keep that beside the iss and sub that Claims says after Finish, in the program's
// own table of people; the browser's web session says which of them it is. Whoever is signed in logs in anew under the key
// of the account: the new grant takes the place of the old one, and another subject is refused. Who comes from a browser
// that knows nobody gets a new random key; when Claims says that iss and sub are in the table, put the new key into their row,
// and all browsers of this person use the newest grant. Do not Logout the former account then, unless the server's
// revocation is known to end that one grant alone: several end everything that the person has given to this client.
func (s *Session) Start(ctx context.Context, flow AuthCode) (*Pending, error) {
	if s.client.tasks.isClosed() {
		return nil, ErrClosed
	}
	if s.client.config.RedirectURL == "" {
		return nil, s.fail("login", &ConfigError{"Config.RedirectURL", "is empty; Start needs the URL that the browser comes back to"})
	}
	err := s.forPerson()
	if err == nil {
		err = s.probe(ctx)
	}
	var p *Pending
	if err == nil {
		p, err = s.begin(ctx, flow, s.client.config.RedirectURL)
	}
	if err != nil {
		return nil, s.fail("login", err)
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
	return s.fail("login", err)
}

// who is the client that the grant is asked for; nil: that of the Config.
func (p *Pending) who() *record.Client {
	var who *record.Client
	_ = json.Unmarshal([]byte(p.client.Reveal()), &who) // was written by withClient, if at all
	return who
}

// withClient has p ask for a grant to who; nil: to the client of the Config.
func (p *Pending) withClient(who *record.Client) error {
	if who == nil {
		return nil
	}
	text, err := json.Marshal(who)
	p.client = secret.New(string(text))
	return err
}

// answers reports whether callback carries p's state: whether it is about this login at all.
func (p *Pending) answers(callback url.Values) bool {
	state := callback["state"]
	return len(state) == 1 && !p.state.IsEmpty() && subtle.ConstantTimeCompare([]byte(state[0]), []byte(p.state.Reveal())) == 1
}

// redeem checks the authorization response (RFC 6749 §4.1.2, RFC 9207) and exchanges its code, once and
// within spendLimit: whatever happens, a code that was sent is not sent again. One that was not may still be.
func (s *Session) redeem(ctx context.Context, p *Pending, callback url.Values) (*loggedIn, error) {
	ctx, cancel := context.WithTimeout(ctx, spendLimit)
	defer cancel()
	if err := s.client.findIssuer(ctx); err != nil {
		return nil, err
	}
	if p == nil || p.session != s.storeKey() {
		return nil, fmt.Errorf("%w: it was begun by another session, client or issuer", ErrPending)
	}
	callback = s.client.profile.callback(callback)
	if !p.answers(callback) {
		return nil, fmt.Errorf("%w: its state differs", ErrPending)
	}
	server, metadata, err := s.client.authServer(ctx, p.who())
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
	if p.spent.Swap(true) {
		return nil, fmt.Errorf("%w: it was finished already, and a code is sent once (RFC 6749 §4.1.2)", ErrPending)
	}
	form := url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {callback.Get("code")},
		"redirect_uri":  {p.redirectURL},
		"code_verifier": {p.verifier.Reveal()},
	}
	if p.resource != "" {
		form.Set("resource", s.client.indicated(p.resource)) // RFC 8707 §2.2
	}
	s.client.profile.redeem(form)
	answer, sent, err := s.exchange(ctx, server, metadata.TokenEndpoint, form)
	if isUnsent(err) {
		p.spent.Store(false)
		return nil, fmt.Errorf("the authorization code was not sent; the login can be finished again while the code is good: %w", err)
	}
	if err != nil {
		s.client.unregister(ctx, p.who()) // nothing else can come of it
		return nil, fmt.Errorf("the authorization code was not redeemed; begin the login anew: %w", err)
	}
	s.client.profile.keep(answer, callback)
	return &loggedIn{
		answer: answer, sent: sent, scopes: p.scopes, client: p.who(), resource: p.resource,
		nonce: p.nonce.Reveal(), asked: p.asked, replace: p.replace, binding: binding,
	}, nil
}

// exchange sends a code; sent is when. While nothing leaves this machine it tries again: the person has done their part.
func (s *Session) exchange(ctx context.Context, server *authserver.Client, endpoint string, form url.Values) (answer *authserver.Answer, sent time.Time, err error) {
	for pause := retryFirst; ; pause *= 2 {
		sent = s.client.machine.Now().Wall
		answer, err = server.Token(ctx, endpoint, form, nil)
		if !isUnsent(err) || sleep(ctx, s.client.jitter(pause)) != nil {
			return answer, sent, err
		}
	}
}

// isUnsent reports whether a token request has failed before anything of it was sent.
func isUnsent(err error) bool {
	f, ok := errors.AsType[*authserver.Failure](err)
	return ok && f.Outcome == authserver.NotProcessed && f.Status == 0
}

// checkResponse checks an authorization response whose state is right. An iss that was not promised is compared as
// well. Where no Config.Issuer says what it should be, nothing can be held against it. An error is shown only once it is
// known to be from this server.
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
	case issuer != "" && p.issuer != "" && issuer != p.issuer:
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

// interactions are the errors by which a server says that it would have to ask the person (OpenID Connect Core §3.1.2.6).
var interactions = []string{"interaction_required", "login_required", "account_selection_required", "consent_required"}

// refusalText is the server's refusal of a login in words.
func refusalText(p *Pending, callback url.Values) error {
	text := "the server has refused: " + p.words(callback, "error")
	if slices.Contains(interactions, callback.Get("error")) {
		return fmt.Errorf("%w: %s", ErrInteractionRequired, text)
	}
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
	return words.Printable(text)
}

// pendingText is the text form of a Pending.
type pendingText struct {
	URL, Session, State, Verifier, Nonce, RedirectURL string
	Replace                                           bool
	Thumbprint, Key                                   string          `json:",omitempty"` // of DPoP
	Issuer, Resource, Asked                           string          `json:",omitempty"`
	Client                                            json.RawMessage `json:",omitempty"`
	Scopes                                            []string        `json:",omitempty"`
}

// MarshalText implements encoding.TextMarshaler. The text is secret.
func (p Pending) MarshalText() ([]byte, error) {
	data, err := json.Marshal(pendingText{
		URL: p.URL, Session: p.session, State: p.state.Reveal(), Verifier: p.verifier.Reveal(), Nonce: p.nonce.Reveal(),
		RedirectURL: p.redirectURL, Replace: p.replace, Thumbprint: p.thumbprint, Key: p.key.Reveal(),
		Issuer: p.issuer, Client: json.RawMessage(p.client.Reveal()), Resource: p.resource, Asked: p.asked, Scopes: p.scopes,
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
		URL: t.URL, session: t.Session, state: secret.New(t.State), verifier: secret.New(t.Verifier), nonce: secret.New(t.Nonce),
		redirectURL: t.RedirectURL, replace: t.Replace, thumbprint: t.Thumbprint, key: secret.New(t.Key),
		spent: new(atomic.Bool), issuer: t.Issuer, client: secret.New(string(t.Client)), resource: t.Resource, asked: t.Asked, scopes: t.Scopes,
	}
	return nil
}

// GobEncode implements gob.GobEncoder, for web sessions that are kept so: it is MarshalText, and as secret.
func (p Pending) GobEncode() ([]byte, error) { return p.MarshalText() }

// GobDecode implements gob.GobDecoder.
func (p *Pending) GobDecode(text []byte) error { return p.UnmarshalText(text) }

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

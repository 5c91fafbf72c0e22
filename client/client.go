package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"weak"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client/provider"
	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/jws"
	"github.com/evergrant/evergrant/internal/machine"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/internal/secret"
	"github.com/evergrant/evergrant/tokenstore"
)

// Client is one OAuth client at one authorization server, for any number of sessions. It is safe for
// concurrent use. Make one per program and Close it at the end.
type Client struct {
	config  Config // without the secret
	profile *profile
	secret  secret.String
	key     *jws.Key          // of Config.ClientKey; nil: none
	id      string            // in the client id's place in store keys
	http    *http.Client      // to the authorization server
	base    http.RoundTripper // to resource servers, where the program gives none; nil: http.DefaultTransport
	store   tokenstore.Store
	machine machine.Machine
	owner   string // names this Client in leases

	thumbprint string // of Config.ClientCertificate; "": none

	protected *protected    // of Config.Resource; nil: none
	initial   secret.String // of Config.Registration
	metadata  metadataCache
	keys      keyCache // that the issuer signs with
	proofs    proofs
	skew      atomic.Int64                // nanoseconds that the server's clock is ahead of ours
	lastExtra atomic.Pointer[sharedExtra] // that the newest tokens had
	tasks     tasks
	events    events
	unnotify  func() // has the store tell this Client nothing more

	mu       sync.Mutex
	accounts map[string]weak.Pointer[account] // guarded by mu
	dropped  func(key string)                 // forget, made once for all accounts
}

// New makes a Client. It validates config and copies it; it does no I/O. Its error joins one
// *ConfigError for every field that cannot be right. If the Provider cannot be right, the error is about that alone.
func New(config Config) (*Client, error) {
	if config.Grant != nil {
		config.Grant = config.Grant.copied()
	}
	config.Resource = canonical(config.Resource)
	known, err := config.applyProfile()
	if err == nil { // else what it would have filled in is missing
		err = config.validate()
	}
	if err != nil {
		return nil, err
	}
	c := &Client{
		profile:  known,
		config:   config,
		secret:   secret.New(config.ClientSecret),
		http:     authserver.NewHTTPClient(config.AuthServerClient),
		store:    config.Store,
		machine:  machine.Of(config.Store),
		accounts: make(map[string]weak.Pointer[account]),
	}
	c.dropped = c.forget
	c.owner = machine.ID(c.machine)
	c.id = config.storeID()
	if config.ClientKey != nil {
		c.key, _ = config.ClientKey.prepare("") // has been validated
		c.config.ClientKey = &Key{ID: config.ClientKey.ID, Algorithm: config.ClientKey.Algorithm}
	}
	if config.ClientCertificate != nil {
		certificate := *config.ClientCertificate
		c.config.ClientCertificate = &certificate
		c.http.Transport = present(c.http.Transport, &certificate)
		c.base = present(nil, &certificate)
		c.thumbprint = thumbprint(&certificate)
	}
	c.config.ClientSecret = ""
	c.config.Scopes = slices.Clone(config.Scopes)
	c.config.Origins = slices.Clone(config.Origins)
	c.config.AuthServerClient = nil
	c.config.TokenParams = cloned(config.TokenParams)
	if c.store == nil {
		c.store = tokenstore.NewMemory()
	}
	if config.Resource != "" {
		if err := c.prepareResource(config); err != nil {
			return nil, err
		}
	}
	c.prepareDPoP(config.DPoP)
	c.config.DPoP = nil
	c.metadata.flight, c.metadata.openID.flight, c.keys.flight = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	c.tasks.start()
	c.unnotify = func() {}
	if store, ok := c.store.(tokenstore.Notifier); ok && c.config.OnEvent != nil {
		c.unnotify = store.Notify(c.noticed)
	}
	return c, nil
}

// FromOAuth2 makes a Client of what a user of golang.org/x/oauth2 has already. It is short for
//
//	client.New(client.Config{
//		Endpoint:     config.Endpoint,
//		ClientID:     config.ClientID,
//		ClientSecret: config.ClientSecret,
//		Scopes:       config.Scopes,
//		RedirectURL:  config.RedirectURL,
//		Store:        store,
//	})
//
// which a program writes itself to set another field too, such as OnEvent, Origins, AuthServerClient or StepUp. One thing
// differs: an AuthStyle of AuthStyleAutoDetect becomes what the profile of the token endpoint's host says (package provider),
// or else AuthStyleInParams (client_secret_post), which most servers take. Nothing is probed.
//
// Grants lie in the store under the token endpoint (tokenstore.Key). A Config with an Issuer looks under the issuer and does
// not find them: everybody would have to log in again. To name the issuer later, move the grants first, by tokenstore.Copy;
// the example "Issuer" shows how.
func FromOAuth2(config *oauth2.Config, store tokenstore.Store) (*Client, error) {
	if config == nil {
		return nil, &ConfigError{"oauth2.Config", "is nil"}
	}
	endpoint := config.Endpoint
	known := provider.For("", endpoint.TokenURL)
	if endpoint.AuthStyle == oauth2.AuthStyleAutoDetect && (known == nil || secretMethod(known) == "") {
		endpoint.AuthStyle = oauth2.AuthStyleInParams
	}
	return New(Config{
		Endpoint:     endpoint,
		ClientID:     config.ClientID,
		ClientSecret: config.ClientSecret,
		Scopes:       config.Scopes,
		RedirectURL:  config.RedirectURL,
		Store:        store,
	})
}

// Session returns the session called key: one account of one person, or of one service. The same
// key gives the same *Session for as long as anybody holds it. There is no I/O; any key will do, the
// empty one too.
func (c *Client) Session(key string) *Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.accounts[key].Value(); a != nil {
		return &a.own
	}
	a := &account{client: c, key: key}
	a.own.account, a.own.resource = a, c.config.Resource
	c.accounts[key] = weak.Make(a)
	runtime.AddCleanup(a, c.dropped, key)
	return &a.own
}

// forget drops the map's entry of a collected account, unless a new one has taken its place.
func (c *Client) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.accounts[key].Value() == nil {
		delete(c.accounts, key)
	}
}

// Keys yields the keys of the sessions that have a grant in the store, in no particular order: who has logged in and not
// out. The server may have ended such a grant; Session.Status says whether one is still good. An error is yielded last, with an empty key; so is the lack of a store that can list.
func (c *Client) Keys(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		lister, ok := c.store.(tokenstore.Lister)
		if !ok {
			yield("", c.fail("list", "", fmt.Errorf("a %T cannot list its keys: %w", c.store, errors.ErrUnsupported)))
			return
		}
		if err := c.findIssuer(ctx); err != nil {
			yield("", c.fail("list", "", err))
			return
		}
		prefix := tokenstore.Key(c.issuer(), c.id, "")
		for stored, err := range lister.Keys(ctx, prefix) {
			var key string
			if err == nil {
				_, _, key, err = tokenstore.SplitKey(stored)
			}
			if err != nil {
				yield("", c.fail("list", "", err))
				return
			}
			if !yield(key, nil) {
				return
			}
		}
	}
}

// Wait waits until no renewal is under way, in the background or for a request, and every received token is saved. Call it at the
// end of each invocation where a platform freezes the process in between (AWS Lambda, Cloud Run): the answer to a renewal that is
// frozen may be lost, and the grant with it. The Client can be used as before. Wait returns at once if there is nothing to wait
// for. Logins, logouts and OnEvent are waited for, too; a person whom Config.StepUp asks is not, nor what begins
// during Wait without following from the rest.
//
// When ctx ends first, the error wraps the context's and says what is still under way; that goes on. Give ctx what is left of the
// invocation's time. Wait is safe for concurrent use. OnEvent must not call it.
func (c *Client) Wait(ctx context.Context) error {
	left := c.tasks.wait(ctx)
	if len(left) == 0 {
		return nil
	}
	return c.fail("wait", "", fmt.Errorf("%w; still under way: %s", ended(ctx), strings.Join(left, ", ")))
}

// Close ends the Client: no renewal starts any more, and every session returns ErrClosed. It waits
// for renewals under way and for received tokens that are not saved yet. When ctx ends first, it
// gives them up and its error says what was left behind. Give it a context that has not ended: one that a signal has cancelled
// gives everything up at once, a rotated refresh token that is still under way too.
func (c *Client) Close(ctx context.Context) error {
	left := c.tasks.close(ctx)
	c.unnotify()
	c.mu.Lock()
	for _, pointer := range c.accounts {
		if a := pointer.Value(); a != nil {
			a.mu.Lock()
			for s := range a.sessionsLocked {
				s.current.Store(nil)
			}
			a.mu.Unlock()
		}
	}
	c.mu.Unlock()
	c.http.CloseIdleConnections()
	if t, ok := c.base.(*http.Transport); ok && c.base != http.DefaultTransport {
		t.CloseIdleConnections()
	}
	if len(left) == 0 {
		return nil
	}
	return c.fail("close", "", fmt.Errorf("%w; left behind: %s", ended(ctx), strings.Join(left, ", ")))
}

// issuer is the name of the authorization server in keys and errors; in errors it is that of the resource while it is not
// known yet which one guards that.
func (c *Client) issuer() string {
	if c.protected != nil {
		if g := c.protected.now.Load(); g != nil {
			return g.issuer
		}
		return cmp.Or(c.config.Issuer, c.config.Resource)
	}
	if c.config.Issuer != "" {
		return c.config.Issuer
	}
	return c.config.Endpoint.TokenURL
}

// fail makes the *Error of an operation on a session. An *Error passes as it is. A server that refuses a request as such
// may have moved its endpoints: its metadata is asked for again.
func (c *Client) fail(op, session string, err error) error {
	if _, ok := errors.AsType[*Error](err); ok {
		return err
	}
	e := &Error{Op: op, Issuer: c.issuer(), Session: session, Err: err}
	if l, ok := errors.AsType[*loginRequired](err); ok {
		e.Cause = l.cause
	}
	if f, ok := errors.AsType[*authserver.Failure](err); ok {
		e.Code, e.Description, e.URI = f.Code, f.Description, f.URI
		e.StatusCode, e.RetryAfter = f.Status, f.RetryAfter
		if f.Outcome == authserver.Misconfigured || f.Outcome == authserver.Unrelated || f.Outcome == authserver.NotProcessed && f.Status == 0 {
			c.metadata.expire() // perhaps it is not there any more
			if c.protected != nil {
				c.protected.expire() // or guards the resource no more
			}
		}
	}
	return e
}

// serverTime turns a time of our wall clock into the server's. Stored times are the server's, so
// that processes whose clocks disagree can share them.
func (c *Client) serverTime(local time.Time) time.Time {
	return local.Add(time.Duration(c.skew.Load())).UTC().Truncate(time.Millisecond)
}

// serverNow is the server's clock, as far as its answers have told.
func (c *Client) serverNow() time.Time { return c.serverTime(c.machine.Now().Wall) }

// localTime undoes serverTime.
func (c *Client) localTime(server time.Time) time.Time {
	return server.Add(-time.Duration(c.skew.Load()))
}

// ahead is how far the server's clock is ahead of this process's.
func (c *Client) ahead() time.Duration { return time.Until(c.serverNow()) }

// noticeDate learns from an answer's Date header how far the local clock is off. A little is the
// network's; it changes nothing.
func (c *Client) noticeDate(date time.Time) {
	const tolerated = 30 * time.Second
	if date.IsZero() {
		return
	}
	skew := date.Sub(c.machine.Now().Wall)
	if skew.Abs() < tolerated {
		skew = 0
	}
	c.skew.Store(int64(skew))
}

// authServer is the client's side of the authorization server, as its metadata says now: as who, nil for the client of
// the Config.
func (c *Client) authServer(ctx context.Context, who *record.Client) (*authserver.Client, *authserver.Metadata, error) {
	metadata, err := c.metadata.get(ctx, c)
	if err != nil {
		return nil, nil, err
	}
	server, err := c.serverAs(metadata, who)
	if err != nil {
		return nil, nil, err
	}
	return server, metadata, nil
}

// scopeParam is the scope parameter for the configured scopes, each once (RFC 6749 §3.3).
func scopeParam(form url.Values, scopes []string) {
	var once []string
	for _, scope := range scopes {
		if !slices.Contains(once, scope) {
			once = append(once, scope)
		}
	}
	if len(once) > 0 {
		form.Set("scope", strings.Join(once, " "))
	}
}

// Format implements fmt.Formatter: a Client shows as its Config does.
func (c *Client) Format(f fmt.State, verb rune) { c.config.Format(f, verb) }

// LogValue implements slog.LogValuer.
func (c *Client) LogValue() slog.Value { return c.config.LogValue() }

package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/transport"
)

// Session is one account: it hands out access tokens and keeps its grant usable. It is a
// transport.Source, safe for concurrent use, and costs no goroutine and no timer while idle.
type Session struct {
	*account
	resource string // RFC 8707, "" when none is named; of a narrowed session see narrowed

	// current is what requests get. It is read without a lock and written under mu.
	current atomic.Pointer[published]

	flight   *flight    // the renewal under way, nil when none is; guarded by mu
	rejected rejections // guarded by mu
	denied   *trouble   // how the server has refused this resource alone; guarded by mu
	dead     bool       // it was told that a login is required; guarded by mu
}

// account is what the Sessions of one key share: the grant, which is spent by one of them at a time.
type account struct {
	client *Client
	key    string

	mu      sync.Mutex
	views   map[string]*Session  // by resource, without own; guarded by mu
	last    *flight              // the newest flight of any of the Sessions that has not landed; guarded by mu
	unsaved map[string]*received // tokens that are not yet in the store, by its key; guarded by mu
	trouble *trouble             // how renewals have failed lately, for whichever resource; nil after a good one; guarded by mu
	first   time.Duration        // when the account was first used, on the monotonic clock; guarded by mu
	epoch   uint64               // grows when a person acts (login, logout, adopt); guarded by mu
	left    string               // the grant that the last such act has left, "" after a logout; guarded by mu
	steps   *steps               // step-ups under way and lately; nil: there were none; guarded by mu

	own Session // for no resource in particular, or for that of the Config
}

// Resource returns the session of the same account for another resource (RFC 8707): its access tokens are
// asked for with the resource parameter, out of the one refresh token. A resource is an absolute URI without a fragment,
// and sent byte for byte; another one is an error when it is asked for, a *ConfigError. The same resource gives the same
// *Session, and lasts as long as the account's own: name a server's resources, not every address. Login, Adopt
// and Logout act on the account, through whichever of its sessions; a login through this one asks the person for the
// resource, which several servers demand before they give tokens for it. An empty resource is the account's own session. With
// Config.Resource there is no other resource than that.
func (s *Session) Resource(resource string) *Session {
	return s.view(cmp.Or(resource, s.client.config.Resource))
}

// view returns the account's Session whose access token lies under name in the record.
func (a *account) view(name string) *Session {
	a.mu.Lock()
	defer a.mu.Unlock()
	if name == a.own.resource {
		return &a.own
	}
	v := a.views[name]
	if v == nil {
		v = &Session{account: a, resource: name}
		if a.views == nil {
			a.views = make(map[string]*Session)
		}
		a.views[name] = v
	}
	return v
}

// sessionsLocked yields every Session of the account.
func (a *account) sessionsLocked(yield func(*Session) bool) {
	if !yield(&a.own) {
		return
	}
	for _, v := range a.views {
		if !yield(v) {
			return
		}
	}
}

// Replayed is told by a transport.Transport that a request was sent again because its token was rejected with this status:
// see transport.Source. It tells the event "replayed".
func (s *Session) Replayed(status int) {
	s.happened(Event{Kind: "replayed", Reason: fmt.Sprintf("a request was answered %d and sent again with another token", status), Attempt: 2})
}

// Refused is told by a transport.Transport that a request with t, which Renew had just given, was rejected as well: see
// transport.Source. Renewals for rejections are rarer then.
func (s *Session) Refused(t *oauth2.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p := s.current.Load(); p != nil && p.token.AccessToken == t.AccessToken {
		s.rejected.refused = true
	}
}

var _ transport.Source = (*Session)(nil)

// HTTPClient returns a client that makes requests in the session's name over
// http.DefaultTransport. Clients are cheap and share the session's token.
func (s *Session) HTTPClient() *http.Client { return s.Wrap(nil) }

// Wrap returns a copy of c that makes requests in the session's name. It keeps c's jar, time-out and
// redirect policy, and sends over c's transport; where that is an *oauth2.Transport, as in a client of oauth2.Config.Client,
// over its Base: it would send its own token in the place of the session's. A nil c is an empty http.Client. With a
// Config.ClientCertificate, c's transport is copied, unless it is none of net/http's, and the copy presents the
// certificate: it has connections of its own, so wrap once rather than for every request.
func (s *Session) Wrap(c *http.Client) *http.Client {
	var wrapped http.Client
	if c != nil {
		wrapped = *c
	}
	for {
		former, ok := wrapped.Transport.(*oauth2.Transport)
		if !ok || former == nil {
			break
		}
		wrapped.Transport = former.Base
	}
	if wrapped.Transport != nil {
		wrapped.Transport = present(wrapped.Transport, s.client.config.ClientCertificate)
	} else {
		wrapped.Transport = s.client.base
	}
	wrapped.Transport = s.client.around(&transport.Transport{Source: s, Base: wrapped.Transport, Origins: s.client.config.Origins})
	return &wrapped
}

// Token returns an access token that is usable now. While there is one in memory it costs one
// atomic load, and a stale one also starts a renewal in the background. Otherwise it waits for the
// one renewal under way, until ctx ends; that ends nobody else's wait. The token is shared: treat it
// as immutable. It carries no refresh token, so that nobody can spend that by accident.
//
// Errors: ErrLoginRequired, ErrClosed, the context's, or an *Error of a renewal that failed; one
// failure is shared by all who wait.
func (s *Session) Token(ctx context.Context) (*oauth2.Token, error) {
	if p := s.current.Load(); p != nil {
		now := s.client.machine.Now()
		if !p.stale.hasCome(now) {
			return &p.token, nil
		}
		if !p.unusable.hasCome(now) {
			s.renewAhead(ctx, p, now.Mono)
			return &p.token, nil
		}
	}
	return s.await(ctx, demand{})
}

// Renew returns a usable token other than rejected. If rejected was replaced already, by anyone, it
// returns the replacement without asking the server. A nil rejected: renew now. The error wraps
// transport.ErrRejected while a resource server rejects even fresh tokens.
func (s *Session) Renew(ctx context.Context, rejected *oauth2.Token) (*oauth2.Token, error) {
	if rejected == nil {
		d := demand{force: true}
		if p := s.current.Load(); p != nil {
			d.not = p.token.AccessToken
		}
		return s.await(ctx, d)
	}
	s.happened(Event{Kind: "rejected", Reason: "a resource server rejected the access token"})
	if s.client.protected != nil {
		s.client.protected.expire() // perhaps it wants those of another server (RFC 9728 §5.2)
	}
	return s.await(ctx, demand{not: rejected.AccessToken, rejected: true})
}

// TokenSource returns the session as x/oauth2 and what builds on it want it (google.golang.org/api,
// gRPC). It does not cache: the session does. But oauth2.NewClient and oauth2.ReuseTokenSource do, so that nothing is renewed
// ahead and a login's new token comes late: give libraries that use them HTTPClient. Its Token knows no context; renewals have a
// deadline of their own. For tokens that are bound to a key (Config.DPoP) it gives an error that wraps
// errors.ErrUnsupported, for its users would send them without a proof: use HTTPClient, or Wrap.
func (s *Session) TokenSource() oauth2.TokenSource { return tokenSource{s} }

type tokenSource struct{ session *Session }

func (t tokenSource) Token() (*oauth2.Token, error) {
	token, err := t.session.Token(context.Background())
	if err == nil && isBound(token.TokenType) {
		return nil, t.session.fail("prove", fmt.Errorf("the token is bound to a key, for which an oauth2.TokenSource has no proofs; use Session.HTTPClient or Session.Wrap: %w", errors.ErrUnsupported))
	}
	return token, err
}

// storeKey is where the account's grant lies.
func (a *account) storeKey() string {
	return tokenstore.Key(a.client.issuer(), a.client.id, a.key)
}

// unsavedLocked are the tokens that are not yet in the store where the account's grant lies now.
func (a *account) unsavedLocked() *received { return a.unsaved[a.storeKey()] }

// Format implements fmt.Formatter: a Session shows its tokens under no verb.
func (s *Session) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "client.Session(%q", s.key)
	resource, scopes := split(s.resource)
	if resource != "" {
		fmt.Fprintf(f, " for %s", resource)
	}
	if len(scopes) > 0 {
		fmt.Fprintf(f, " with %s", strings.Join(scopes, " "))
	}
	fmt.Fprint(f, ")")
}

// LogValue implements slog.LogValuer.
func (s *Session) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

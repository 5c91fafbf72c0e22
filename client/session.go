package client

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/transport"
)

// Session is one account: it hands out access tokens and keeps its grant usable. It is a
// transport.Source, safe for concurrent use, and costs no goroutine and no timer while idle.
type Session struct {
	client *Client
	key    string

	// current is what requests get. It is read without a lock and written under mu.
	current atomic.Pointer[published]

	mu       sync.Mutex
	flight   *flight        // the renewal under way, nil when none is; guarded by mu
	unsaved  *record.Record // tokens received and not yet in the store; guarded by mu
	trouble  *trouble       // how renewals have failed lately, nil after a good one; guarded by mu
	first    time.Duration  // when the session was first used, on the monotonic clock; guarded by mu
	epoch    uint64         // grows when a person acts (login, logout, adopt); guarded by mu
	left     string         // the grant that the last such act has left, "" after a logout; guarded by mu
	rejected rejections     // guarded by mu
}

var _ transport.Source = (*Session)(nil)

// HTTPClient returns a client that makes requests in the session's name over
// http.DefaultTransport. Clients are cheap and share the session's token.
func (s *Session) HTTPClient() *http.Client { return s.Wrap(nil) }

// Wrap returns a copy of c that makes requests in the session's name. It keeps c's jar, time-out and
// redirect policy, and sends over c's transport. A nil c is an empty http.Client.
func (s *Session) Wrap(c *http.Client) *http.Client {
	var wrapped http.Client
	if c != nil {
		wrapped = *c
	}
	wrapped.Transport = &transport.Transport{Source: s, Base: wrapped.Transport, Origins: s.client.config.Origins}
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
	return s.await(ctx, demand{not: rejected.AccessToken, rejected: true})
}

// TokenSource returns the session as x/oauth2 and what builds on it want it (google.golang.org/api,
// gRPC, go-github). It does not cache: the session does. Its Token knows no context; renewals have a
// deadline of their own.
func (s *Session) TokenSource() oauth2.TokenSource { return tokenSource{s} }

type tokenSource struct{ session *Session }

func (t tokenSource) Token() (*oauth2.Token, error) { return t.session.Token(context.Background()) }

// storeKey is where the session's grant lies.
func (s *Session) storeKey() string {
	return tokenstore.Key(s.client.issuer(), s.client.config.ClientID, s.key)
}

// Format implements fmt.Formatter: a Session shows its tokens under no verb.
func (s *Session) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "client.Session(%q)", s.key) }

// LogValue implements slog.LogValuer.
func (s *Session) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(s)) }

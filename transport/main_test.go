package transport_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rotation is a Source that mints token-1, token-2 … and renews only what was not replaced yet.
type rotation struct {
	kind     string // of the tokens; empty: bearer
	mu       sync.Mutex
	minted   int
	current  *oauth2.Token
	rejected []string // what Renew was called with
}

func (r *rotation) Token(context.Context) (*oauth2.Token, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.current == nil {
		r.mintLocked()
	}
	return r.current, nil
}

func (r *rotation) Renew(_ context.Context, rejected *oauth2.Token) (*oauth2.Token, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.rejected = append(r.rejected, rejected.AccessToken)
	if r.current == rejected {
		r.mintLocked()
	}
	return r.current, nil
}

func (r *rotation) mintLocked() {
	r.minted++
	r.current = &oauth2.Token{AccessToken: fmt.Sprintf("token-%d", r.minted), TokenType: cmp.Or(r.kind, "bearer")}
}

// renewals are the tokens that Renew was told of.
func (r *rotation) renewals() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string{}, r.rejected...)
}

// source is a Source made of two functions. A nil renew fails the test.
type source struct {
	t     testing.TB
	token func(context.Context) (*oauth2.Token, error)
	renew func(context.Context, *oauth2.Token) (*oauth2.Token, error)
}

func (s source) Token(ctx context.Context) (*oauth2.Token, error) {
	if s.token == nil {
		return &oauth2.Token{AccessToken: "first"}, nil
	}
	return s.token(ctx)
}

func (s source) Renew(ctx context.Context, rejected *oauth2.Token) (*oauth2.Token, error) {
	if s.renew == nil {
		s.t.Error("Renew was called")
		return nil, errors.New("unexpected renewal")
	}
	return s.renew(ctx, rejected)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// sent is what a base saw of a request.
type sent struct {
	request       *http.Request
	authorization []string
	body          string
}

// base is a RoundTripper that gives one answer after the other, the last one for ever. It reads and
// closes bodies unless it is told not to read the first.
type base struct {
	answers     []*http.Response
	ignoresBody int // so many first bodies are closed unread
	sent        []sent
}

func (b *base) RoundTrip(req *http.Request) (*http.Response, error) {
	s := sent{request: req, authorization: req.Header["Authorization"]}
	if req.Body != nil {
		if len(b.sent) >= b.ignoresBody {
			all, err := io.ReadAll(req.Body)
			if err != nil {
				_ = req.Body.Close()
				return nil, err
			}
			s.body = string(all)
		}
		if err := req.Body.Close(); err != nil {
			return nil, err
		}
	}
	b.sent = append(b.sent, s)
	resp := b.answers[min(len(b.sent), len(b.answers))-1]
	resp.Request = req
	return resp, nil
}

// tokens are the Authorization headers of what was sent, "" where there was none.
func (b *base) tokens() []string {
	all := []string{}
	for _, s := range b.sent {
		all = append(all, strings.Join(s.authorization, " + "))
	}
	return all
}

// answer is a response with a body that counts.
func answer(status int, body string, challenges ...string) *http.Response {
	return &http.Response{
		StatusCode:    status,
		Header:        http.Header{"Www-Authenticate": challenges},
		Body:          newBody(body),
		ContentLength: int64(len(body)),
	}
}

// bodyOf is the counting body that answer made.
func bodyOf(resp *http.Response) *body { return resp.Body.(*body) }

// body counts what is done to it.
type body struct {
	mu      sync.Mutex
	content *bytes.Reader
	reads   int
	closes  int
	late    int // reads after the first Close
}

func newBody(content string) *body { return &body{content: bytes.NewReader([]byte(content))} }

func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reads++
	if b.closes > 0 {
		b.late++
	}
	return b.content.Read(p)
}

func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closes++
	return nil
}

// requireClosedOnce says that b was closed once, and not read from afterwards.
func (b *body) requireClosedOnce(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Equal(t, 1, b.closes, "times closed")
	require.Zero(t, b.late, "reads after it was closed")
}

func (b *body) closings() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closes
}

func (b *body) isUntouched() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.reads == 0 && b.closes == 0
}

const api = "https://api.example.com/v1/things"

func get(t testing.TB, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	return req
}

// post is a request with a counting body, which GetBody can make anew or not.
func post(t testing.TB, content string, rewinds bool) (*http.Request, *body, *[]*body) {
	t.Helper()
	first := newBody(content)
	copies := &[]*body{}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, api, first)
	require.NoError(t, err)
	req.ContentLength = int64(len(content))
	if rewinds {
		req.GetBody = func() (io.ReadCloser, error) {
			*copies = append(*copies, newBody(content))
			return (*copies)[len(*copies)-1], nil
		}
	}
	return req, first, copies
}

func read(t testing.TB, resp *http.Response) string {
	t.Helper()
	all, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return string(all)
}

var _ transport.Source = (*rotation)(nil)

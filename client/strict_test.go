package client_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore"
)

// strict is an authorization server in memory that rotates at every refresh and kills the family when
// a spent refresh token comes again. It is an http.RoundTripper, so that it works in synctest bubbles.
type strict struct {
	mu       sync.Mutex
	life     time.Duration
	extra    map[string]any // further members of token answers; nil values remove one
	leeway   bool           // a spent token gets another successor while that is unused
	n        int
	refresh  map[string]*family // live and spent refresh tokens
	access   map[string]*family
	requests []presented
	forms    []url.Values // of the token requests
	revoked  []string
	faults   []fault // for the next token requests, in turn
}

// family is one grant.
type family struct {
	dead    bool
	current string // the refresh token that is good now
}

// presented is one token request as the server saw it.
type presented struct {
	at      time.Time
	grant   string // grant_type
	refresh string
	reuse   bool
}

// fault is what happens to one token request.
type fault func(next func() *http.Response, ctx context.Context) (*http.Response, error)

func newStrict() *strict {
	return &strict{life: time.Hour, refresh: map[string]*family{}, access: map[string]*family{}}
}

var errReset = errors.New("connection reset by peer")

func answerLost(next func() *http.Response, _ context.Context) (*http.Response, error) {
	next()
	return nil, errReset
}

func slow(d time.Duration) fault {
	return func(next func() *http.Response, ctx context.Context) (*http.Response, error) {
		select {
		case <-time.After(d):
			return next(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func slowAnswer(d time.Duration) fault {
	return func(next func() *http.Response, ctx context.Context) (*http.Response, error) {
		resp := next()
		select {
		case <-time.After(d):
			return resp, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func status(code int, header http.Header, body string) fault {
	return func(func() *http.Response, context.Context) (*http.Response, error) {
		return answer(code, header, body), nil
	}
}

func answer(code int, header http.Header, body string) *http.Response {
	if header == nil {
		header = http.Header{}
	}
	return &http.Response{StatusCode: code, Status: http.StatusText(code), Header: header, Body: io.NopCloser(bytes.NewBufferString(body))}
}

func (s *strict) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	var f fault
	if len(s.faults) > 0 && req.URL.Path == "/token" {
		f, s.faults = s.faults[0], s.faults[1:]
	}
	s.mu.Unlock()
	body, err := io.ReadAll(req.Body)
	_ = req.Body.Close()
	if err != nil {
		return nil, err
	}
	form, _ := url.ParseQuery(string(body))
	next := func() *http.Response {
		s.mu.Lock()
		defer s.mu.Unlock()
		if req.URL.Path == "/revoke" {
			return s.revoke(form.Get("token"))
		}
		return s.token(form)
	}
	if f != nil {
		return f(next, req.Context())
	}
	return next(), nil
}

func (s *strict) revoke(token string) *http.Response {
	s.revoked = append(s.revoked, token)
	if f := s.refresh[token]; f != nil {
		f.dead = true
	}
	delete(s.access, token)
	return answer(200, nil, "")
}

func (s *strict) token(form url.Values) *http.Response {
	p := presented{at: time.Now(), grant: form.Get("grant_type"), refresh: form.Get("refresh_token")}
	defer func() { s.requests, s.forms = append(s.requests, p), append(s.forms, form) }()
	switch p.grant {
	case "client_credentials":
		return s.issue(&family{}, false)
	case "refresh_token":
	default:
		return answer(400, nil, `{"error":"unsupported_grant_type"}`)
	}
	f := s.refresh[p.refresh]
	if f != nil && f.current != p.refresh && !s.leeway {
		p.reuse, f.dead = true, true
	}
	if f == nil || f.dead {
		return answer(400, nil, `{"error":"invalid_grant"}`)
	}
	return s.issue(f, true)
}

// issue answers with new tokens of f.
func (s *strict) issue(f *family, refresh bool) *http.Response {
	s.n++
	access := fmt.Sprintf("AT%d", s.n)
	s.access[access] = f
	members := map[string]any{"access_token": access, "token_type": "Bearer", "expires_in": int(s.life / time.Second)}
	if refresh {
		f.current = fmt.Sprintf("RT%d", s.n)
		s.refresh[f.current] = f
		members["refresh_token"] = f.current
	}
	for name, value := range s.extra {
		members[name] = value
		if value == nil {
			delete(members, name)
		}
	}
	data, _ := json.Marshal(members)
	return answer(200, http.Header{"Content-Type": {"application/json"}}, string(data))
}

// grant mints a grant without a login.
func (s *strict) grant() *oauth2.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &family{}
	var m struct {
		Access  string `json:"access_token"`
		Refresh string `json:"refresh_token"`
	}
	_ = json.NewDecoder(s.issue(f, true).Body).Decode(&m)
	return &oauth2.Token{AccessToken: m.Access, RefreshToken: m.Refresh, Expiry: time.Now().Add(s.life)}
}

func (s *strict) fail(faults ...fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, faults...)
}

func (s *strict) count() (requests, reuses int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.requests {
		if p.reuse {
			reuses++
		}
	}
	return len(s.requests), reuses
}

// config is a Client's for s.
func (s *strict) config(store tokenstore.Store) client.Config {
	return client.Config{
		Endpoint:         oauth2.Endpoint{TokenURL: "https://as.test/token", AuthURL: "https://as.test/auth"},
		RevocationURL:    "https://as.test/revoke",
		ClientID:         "app",
		Store:            store,
		AuthServerClient: &http.Client{Transport: s},
	}
}

// open makes a Client that the test closes.
func open(t *testing.T, config client.Config) *client.Client {
	t.Helper()
	c, err := client.New(config)
	require.NoError(t, err)
	t.Cleanup(func() {
		// t's own context has ended by then. What a test has made impossible to save is given up.
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_ = c.Close(ctx)
	})
	return c
}

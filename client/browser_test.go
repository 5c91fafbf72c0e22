package client_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore"
)

const goodCode = "secret-code"

// codeServer is an authorization server with metadata that redeems goodCode once, with PKCE and for the
// redirect URL that it was asked for with.
type codeServer struct {
	promisesIss bool   // authorization_response_iss_parameter_supported
	refusal     string // the token endpoint's answer, in place of tokens

	mu       sync.Mutex
	asked    url.Values   // the authorization request
	redeemed []url.Values // token requests
}

func (s *codeServer) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch req.URL.Path {
	case "/.well-known/oauth-authorization-server":
		iss := "false"
		if s.promisesIss {
			iss = "true"
		}
		return answer(200, nil, `{"issuer":"https://as.test","authorization_endpoint":"https://as.test/authorize?tenant=t",`+
			`"token_endpoint":"https://as.test/token","authorization_response_iss_parameter_supported":`+iss+`}`), nil
	case "/token":
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, err
		}
		s.redeemed = append(s.redeemed, form)
		return s.redeem(form), nil
	}
	return answer(404, nil, ""), nil
}

func (s *codeServer) redeem(form url.Values) *http.Response {
	challenge := sha256.Sum256([]byte(form.Get("code_verifier")))
	switch {
	case s.refusal != "":
		return answer(400, nil, s.refusal)
	case len(s.redeemed) > 1, form.Get("code") != goodCode,
		form.Get("redirect_uri") != s.asked.Get("redirect_uri"),
		base64.RawURLEncoding.EncodeToString(challenge[:]) != s.asked.Get("code_challenge"):
		return answer(400, nil, `{"error":"invalid_grant"}`)
	}
	return answer(200, nil, `{"access_token":"AT1","refresh_token":"RT1","token_type":"Bearer","expires_in":3600}`)
}

func (s *codeServer) requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.redeemed)
}

func (s *codeServer) config(store tokenstore.Store) client.Config {
	return client.Config{
		Issuer: "https://as.test", ClientID: "cli", Scopes: []string{"profile"}, Store: store,
		AuthServerClient: &http.Client{Transport: s},
	}
}

// authorize is the person at the server: it takes the authorization request at address and returns the
// redirect URL with the response, to which change may do something.
func (s *codeServer) authorize(address string, change func(url.Values)) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = u.Query()
	response := url.Values{"code": {goodCode}, "state": {s.asked.Get("state")}, "iss": {"https://as.test"}}
	if change != nil {
		change(response)
	}
	return s.asked.Get("redirect_uri") + "?" + response.Encode(), nil
}

// person is a browser and who sits before it: its open has the server authorize and follows to where
// the browser is sent.
type person struct {
	server *codeServer
	change func(url.Values)
	before func(redirectURL string) error // what happens at the redirect URL first
	page   chan string                    // the last page
}

func newPerson(s *codeServer) *person { return &person{server: s, page: make(chan string, 1)} }

func (p *person) open(address string) error {
	callback, err := p.server.authorize(address, p.change)
	if err != nil {
		return err
	}
	if p.before != nil {
		redirectURL, _, _ := strings.Cut(callback, "?")
		if err := p.before(redirectURL); err != nil {
			return err
		}
	}
	page, err := visit(callback)
	if err != nil {
		return err
	}
	p.page <- page
	return nil
}

func visit(address string) (page string, err error) {
	resp, err := http.Get(address)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

// seen is the page that the browser ended on.
func (p *person) seen(t *testing.T) string {
	t.Helper()
	select {
	case page := <-p.page:
		return page
	case <-time.After(10 * time.Second):
		require.FailNow(t, "the browser was shown nothing")
		return ""
	}
}

// limit ends a login that hangs.
func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// Shows R6749-9-1, R8252-6-1, R8252-8.2-1, R8252-8.3-3, R9700-2.1.1-1, R9700-2.1.2-1, R9700-2.6-1, R9700-4.1.3-1.
// Shows O21-8.4.2-1, MCP25-REG-3.
func TestBrowserLogin(t *testing.T) {
	server := &codeServer{promisesIss: true}
	p := newPerson(server)
	session := open(t, server.config(nil)).Session("alice")
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	flow := client.Browser{Open: p.open, Params: url.Values{"prompt": {"consent"}}}
	require.NoError(t, session.Login(limit(t), flow))
	require.Contains(t, p.seen(t), "You are logged in")
	token, err := session.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "AT1", token.AccessToken)

	asked := server.asked
	require.Regexp(t, `^http://127\.0\.0\.1:[1-9]\d*/callback$`, asked.Get("redirect_uri"))
	require.GreaterOrEqual(t, len(asked.Get("state")), 26)
	require.Len(t, asked.Get("code_challenge"), 43)
	for _, unforeseeable := range []string{"redirect_uri", "state", "code_challenge"} {
		asked.Del(unforeseeable)
	}
	require.Equal(t, url.Values{
		"tenant": {"t"}, "response_type": {"code"}, "client_id": {"cli"}, "scope": {"profile"},
		"code_challenge_method": {"S256"}, "prompt": {"consent"},
	}, asked)
	require.Equal(t, 1, server.requests())
}

// TestBrowserShowsTheOutcomeAfterTheSave_I3 lets the store take its time, and fail.
func TestBrowserShowsTheOutcomeAfterTheSave_I3(t *testing.T) {
	for name, test := range map[string]struct {
		fails error
		page  string
	}{
		"saved":     {nil, "You are logged in"},
		"not saved": {errors.New("the disk is full"), "The login has failed"},
	} {
		t.Run(name, func(t *testing.T) {
			server, store := &codeServer{}, newFaulty()
			p := newPerson(server)
			shownEarly := false
			store.set(func(_ int, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) {
				select {
				case <-p.page:
					shownEarly = true
				case <-time.After(100 * time.Millisecond):
				}
				if test.fails != nil {
					return "", test.fails
				}
				return apply()
			})
			session := open(t, server.config(store)).Session("alice")
			err := session.Login(limit(t), client.Browser{Open: p.open})
			require.ErrorIs(t, err, test.fails)
			require.False(t, shownEarly, "the outcome was shown before the save")
			require.Contains(t, p.seen(t), test.page)
		})
	}
}

// TestBrowserResponses has what a server, or somebody in its name, can answer with the right state.
func TestBrowserResponses(t *testing.T) {
	for _, test := range []struct {
		name        string
		promisesIss bool
		refusal     string
		change      func(url.Values)
		requests    int
		code        string // of the error; empty: none
		is          error
		page        string
	}{
		{name: "a refusal", change: func(v url.Values) {
			v.Del("code")
			v.Set("error", "access_denied")
			v.Set("error_description", "no\x1b[31m thanks")
		}, code: "access_denied", page: "Access was not granted"},
		{name: "a code of the server's own", change: func(v url.Values) {
			v.Del("code")
			v.Set("error", "on_holiday")
		}, code: "on_holiday", page: "on_holiday"},
		{name: "another issuer", change: func(v url.Values) { v.Set("iss", "https://as.test/") }, is: client.ErrPending, page: "The login has failed"},
		{name: "another issuer's refusal", change: func(v url.Values) {
			v.Set("iss", "https://evil.test")
			v.Set("error", "access_denied")
		}, is: client.ErrPending, page: "The login has failed"},
		{name: "no issuer though promised", promisesIss: true, change: func(v url.Values) { v.Del("iss") }, is: client.ErrPending, page: "The login has failed"},
		{name: "neither code nor error", change: func(v url.Values) { v.Del("code") }, is: client.ErrPending, page: "The login has failed"},
		{name: "a foreign code", change: func(v url.Values) { v.Set("code", "foreign") }, requests: 1, code: "invalid_grant", page: "invalid_grant"},
		{name: "a code that is refused", refusal: `{"error":"invalid_grant","error_description":"secret-code is spent"}`, requests: 1, code: "invalid_grant", page: "invalid_grant"},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := &codeServer{promisesIss: test.promisesIss, refusal: test.refusal}
			p := newPerson(server)
			p.change = test.change
			session := open(t, server.config(nil)).Session("alice")
			err := session.Login(limit(t), client.Browser{Open: p.open})
			var e *client.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, test.code, e.Code)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			require.Equal(t, test.requests, server.requests())
			require.Contains(t, p.seen(t), test.page)
			for _, secret := range append(server.redeemed, url.Values{"code": {goodCode}}) {
				require.NotContains(t, err.Error(), secret.Get("code"))
				require.NotContains(t, err.Error(), "\x1b")
				if verifier := secret.Get("code_verifier"); verifier != "" {
					require.NotContains(t, err.Error(), verifier)
				}
			}
			require.NotContains(t, err.Error(), server.asked.Get("state"))
		})
	}
}

// Shows R8252-8.9-1.
func TestBrowserIgnoresForgedResponses(t *testing.T) {
	server := &codeServer{}
	p := newPerson(server)
	p.before = func(redirectURL string) error {
		for _, query := range []string{"?error=access_denied&state=forged", "?code=forged&state=forged", "?code=forged", ""} {
			if _, err := visit(redirectURL + query); err != nil {
				return err
			}
		}
		return nil
	}
	session := open(t, server.config(nil)).Session("alice")
	require.NoError(t, session.Login(limit(t), client.Browser{Open: p.open}))
	require.Equal(t, goodCode, server.redeemed[0].Get("code"))
	require.Equal(t, 1, server.requests())
}

// TestBrowserPaste has a browser on another machine, where the redirect URL leads nowhere.
// Shows R6749-1.7-1.
func TestBrowserPaste(t *testing.T) {
	plain := func(callback string) string { return callback + "\n" }
	refuse := func(v url.Values) {
		v.Del("code")
		v.Set("error", "access_denied")
	}
	for _, test := range []struct {
		name   string
		change func(url.Values)
		typed  func(callback string) string
		code   string // of the error
		is     error
	}{
		{"the address", nil, plain, "", nil},
		{"in quotes, with a fragment", nil, func(c string) string { return " \"" + c + "#_=_\"\r\n" }, "", nil},
		{"without its scheme", nil, func(c string) string { return strings.TrimPrefix(c, "http://") + "\n" }, "", nil},
		{"without a line end", nil, func(c string) string { return c }, "", nil},
		{"after other things", nil, func(c string) string {
			return "\nyes\nhttps://as.test/authorize?state=x&state=y\n?%zz\n" + strings.Replace(c, "state=", "state=x", 1) + "\n" + c + "\n"
		}, "", nil},
		{"a refusal", refuse, plain, "access_denied", nil},
		{"another issuer's", func(v url.Values) { v.Set("iss", "https://evil.test") }, plain, "", client.ErrPending},
	} {
		t.Run(test.name, func(t *testing.T) {
			server := &codeServer{}
			session := open(t, server.config(nil)).Session("alice")
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			terminal, keyboard := io.Pipe()
			defer keyboard.Close()
			var typing sync.WaitGroup
			defer typing.Wait()
			openElsewhere := func(address string) error {
				callback, err := server.authorize(address, test.change)
				typing.Go(func() {
					_, _ = io.WriteString(keyboard, test.typed(callback))
					_ = keyboard.Close()
				})
				return err
			}
			err := session.Login(limit(t), client.Browser{Open: openElsewhere, Input: terminal})
			if test.code == "" && test.change == nil {
				require.NoError(t, err)
				require.Equal(t, 1, server.requests())
				return
			}
			var e *client.Error
			require.ErrorAs(t, err, &e)
			require.Equal(t, test.code, e.Code)
			if test.is != nil {
				require.ErrorIs(t, err, test.is)
			}
			require.Zero(t, server.requests())
		})
	}
}

// TestBrowserHearsBoth has a person who types something else while the browser does arrive.
func TestBrowserHearsBoth(t *testing.T) {
	server := &codeServer{}
	p := newPerson(server)
	screen := &screen{awaited: "not the address", shown: make(chan struct{})}
	p.before = func(string) error {
		select {
		case <-screen.shown:
			return nil
		case <-time.After(10 * time.Second):
			return errors.New("nothing was said about the wrong line")
		}
	}
	session := open(t, server.config(nil)).Session("alice")
	flow := client.Browser{Open: p.open, Output: screen, Input: strings.NewReader("what?\n")}
	require.NoError(t, session.Login(limit(t), flow))
	require.Contains(t, p.seen(t), "You are logged in")
}

// screen is an Output that notices a text.
type screen struct {
	awaited string
	shown   chan struct{} // closed once awaited was written
}

func (s *screen) Write(p []byte) (int, error) {
	if strings.Contains(string(p), s.awaited) {
		close(s.shown)
	}
	return len(p), nil
}

// synced is a buffer for several goroutines.
type synced struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (s *synced) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buffer.Write(p)
}

func (s *synced) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.buffer.String()
}

func TestBrowserThatCannotBeOpened(t *testing.T) {
	errNone := errors.New("no browser here")
	t.Run("ends the login", func(t *testing.T) {
		server := &codeServer{}
		session := open(t, server.config(nil)).Session("alice")
		err := session.Login(limit(t), client.Browser{Open: func(string) error { return errNone }})
		require.ErrorIs(t, err, errNone)
	})
	t.Run("does not end it where the address is shown", func(t *testing.T) {
		server := &codeServer{}
		p := newPerson(server)
		shownAt := new(synced)
		opened := func(string) error {
			_, rest, _ := strings.Cut(shownAt.String(), "https://")
			address, _, _ := strings.Cut(rest, "\n")
			go func() { _ = p.open("https://" + address) }()
			return errNone
		}
		session := open(t, server.config(nil)).Session("alice")
		require.NoError(t, session.Login(limit(t), client.Browser{Open: opened, Output: shownAt}))
		require.Contains(t, p.seen(t), "You are logged in")
	})
	t.Run("nor does one that stays open", func(t *testing.T) {
		server := &codeServer{}
		p := newPerson(server)
		quit := make(chan struct{})
		defer close(quit)
		opened := func(address string) error {
			err := p.open(address)
			<-quit
			return err
		}
		session := open(t, server.config(nil)).Session("alice")
		require.NoError(t, session.Login(limit(t), client.Browser{Open: opened}))
	})
	t.Run("and an Output that fails ends the login", func(t *testing.T) {
		server := &codeServer{}
		_, closed := io.Pipe()
		require.NoError(t, closed.Close())
		session := open(t, server.config(nil)).Session("alice")
		err := session.Login(limit(t), client.Browser{Open: newPerson(server).open, Output: closed})
		require.ErrorIs(t, err, io.ErrClosedPipe)
	})
}

// Shows R6749-4.1.2.1-3, R8252-8.3-1.
func TestBrowserLoginEndsWithItsCaller(t *testing.T) {
	for name, test := range map[string]struct {
		end func(cancel context.CancelFunc, c *client.Client)
		is  error
	}{
		"cancelled": {func(cancel context.CancelFunc, _ *client.Client) { cancel() }, context.Canceled},
		"closed":    {func(_ context.CancelFunc, c *client.Client) { _ = c.Close(context.Background()) }, client.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			server := &codeServer{}
			c := open(t, server.config(nil))
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			ctx, cancel := context.WithCancel(limit(t))
			defer cancel()
			port := ""
			opened := func(address string) error {
				callback, err := server.authorize(address, nil)
				if err != nil {
					return err
				}
				u, err := url.Parse(callback)
				port = u.Host
				test.end(cancel, c)
				return err
			}
			err := c.Session("alice").Login(ctx, client.Browser{Open: opened})
			require.ErrorIs(t, err, test.is)
			require.Contains(t, err.Error(), port, "the redirect URL to register")
			conn, err := net.Dial("tcp", port)
			if err == nil {
				_ = conn.Close()
			}
			require.Error(t, err, "the port is still open")
			require.Zero(t, server.requests())
		})
	}
}

func TestBrowserNeedsALoopbackRedirectURL(t *testing.T) {
	server := &codeServer{}
	config := server.config(nil)
	config.RedirectURL = "https://app.test/callback"
	opened := false
	err := open(t, config).Session("alice").Login(limit(t), client.Browser{Open: func(string) error {
		opened = true
		return nil
	}})
	require.Error(t, err)
	require.False(t, opened)
}

// A command-line program, whose person may be on another machine.
func ExampleBrowser() {
	c, err := client.New(client.Config{
		Issuer:   "https://accounts.example.com",
		ClientID: "my-program",
	})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	flow := client.Browser{Output: os.Stderr, Input: os.Stdin}
	if err := c.Session("alice").Login(ctx, flow); err != nil {
		log.Fatal(err)
	}
}

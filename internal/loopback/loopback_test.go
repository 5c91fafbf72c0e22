package loopback_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/internal/loopback"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	state = "the-right-state"
	code  = "secret-code"
)

func ours(v url.Values) bool { return v.Get("state") == state }

// login is a Listener under test, with what its Wait has brought.
type login struct {
	*loopback.Listener
	cancel context.CancelFunc
	done   chan struct{} // closed once Wait has returned
	values url.Values
	err    error
}

// begin listens and waits.
func begin(t *testing.T, redirectURL string) *login {
	t.Helper()
	l, err := loopback.Listen(redirectURL)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	b := &login{Listener: l, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(b.done)
		b.values, b.err = l.Wait(ctx, ours)
	}()
	t.Cleanup(func() {
		cancel()
		l.Close()
		<-b.done
	})
	return b
}

// callback is the URL that a good authorization response leads the browser to.
func (b *login) callback() string {
	return b.RedirectURL() + "?" + url.Values{"code": {code}, "state": {state}}.Encode()
}

// seen is an answer as a browser sees it.
type seen struct {
	status int
	header http.Header
	body   string
	url    string // the last one: what the address bar shows
}

// browse follows redirects, as a browser does.
func browse(t *testing.T, req *http.Request) seen {
	t.Helper()
	s, err := try(http.DefaultClient, req)
	require.NoError(t, err)
	return s
}

func try(c *http.Client, req *http.Request) (seen, error) {
	resp, err := c.Do(req)
	if err != nil {
		return seen{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return seen{resp.StatusCode, resp.Header, string(body), resp.Request.URL.String()}, err
}

func get(t *testing.T, address string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	return req
}

func post(t *testing.T, address string, form url.Values) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, strings.NewReader(form.Encode()))
	require.NoError(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return req
}

// wait returns what Wait has brought.
func (b *login) wait(t *testing.T) (url.Values, error) {
	t.Helper()
	select {
	case <-b.done:
	case <-time.After(10 * time.Second):
		require.FailNow(t, "Wait has not returned")
	}
	return b.values, b.err
}

// needs skips a test on a machine that lacks a loopback address.
func needs(t *testing.T, address string) {
	t.Helper()
	socket, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		t.Skipf("this machine has no %s: %v", address, err)
	}
	require.NoError(t, socket.Close())
}

// Shows R6749-1.7-1, O21-8.4.2-1.
func TestResponse(t *testing.T) {
	t.Parallel()
	answer := url.Values{"code": {strings.Repeat("%2F+=", 2000)}, "state": {state}, "session_state": {"x", "y"}, "iss": {"https://as.test"}}
	refusal := url.Values{"error": {"access_denied"}, "state": {state}}
	for _, test := range []struct {
		name, redirectURL string
		request           func(t *testing.T, address string) *http.Request
		want              url.Values
	}{
		{"a code of 10000 bytes, byte for byte", "", func(t *testing.T, a string) *http.Request { return get(t, a+"?"+answer.Encode()) }, answer},
		{"a refusal", "", func(t *testing.T, a string) *http.Request { return get(t, a+"?"+refusal.Encode()) }, refusal},
		{"a posted form", "", func(t *testing.T, a string) *http.Request { return post(t, a, answer) }, answer},
		{"on IPv6", "http://[::1]:0/callback", func(t *testing.T, a string) *http.Request { return get(t, a+"?"+answer.Encode()) }, answer},
		{"without a path", "http://127.0.0.1:0", func(t *testing.T, a string) *http.Request { return get(t, a+"?"+answer.Encode()) }, answer},
		{"on a path that looks unclean", "http://127.0.0.1:0/a//b%2Fc/", func(t *testing.T, a string) *http.Request { return get(t, a+"?"+answer.Encode()) }, answer},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			if strings.Contains(test.redirectURL, "::1") {
				needs(t, "::1")
			}
			b := begin(t, test.redirectURL)
			go func() {
				<-b.done
				b.Succeed()
			}()
			page := browse(t, test.request(t, b.RedirectURL()))
			values, err := b.wait(t)
			require.NoError(t, err)
			require.Equal(t, test.want, values)
			require.Equal(t, http.StatusOK, page.status)
			require.Contains(t, page.body, "You are logged in")
		})
	}
}

func TestLocalhostIsBothAddresses(t *testing.T) {
	t.Parallel()
	for _, address := range []string{"127.0.0.1", "::1"} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			needs(t, address)
			b := begin(t, "http://localhost:0/cb")
			u, err := url.Parse(b.RedirectURL())
			require.NoError(t, err)
			require.Equal(t, "localhost", u.Hostname())
			req := get(t, b.callback())
			req.URL.Host = net.JoinHostPort(address, u.Port())
			req.Host = u.Host
			page, err := try(&http.Client{CheckRedirect: noRedirect}, req)
			require.NoError(t, err)
			require.Equal(t, http.StatusSeeOther, page.status)
			_, err = b.wait(t)
			require.NoError(t, err)
		})
	}
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// TestForged sends what a program on this machine, or a web page, could send. None of it may end
// the login; the right response still does.
// Shows R8252-8.9-1, R8252-8.10-2, R8252-8.3-4.
func TestForged(t *testing.T) {
	t.Parallel()
	query := "?code=" + code + "&state=" + state
	for _, test := range []struct {
		name   string
		status int
		forge  func(t *testing.T, redirectURL string) *http.Request
	}{
		{"another state", 400, func(t *testing.T, a string) *http.Request { return get(t, a+"?code=x&state=forged") }},
		{"a forged refusal", 400, func(t *testing.T, a string) *http.Request { return get(t, a+"?error=access_denied&state=forged") }},
		{"no parameters", 400, func(t *testing.T, a string) *http.Request { return get(t, a) }},
		{"state twice", 400, func(t *testing.T, a string) *http.Request { return get(t, a+query+"&state="+state) }},
		{"code twice", 400, func(t *testing.T, a string) *http.Request { return get(t, a+query+"&code=other") }},
		{"a query that is none", 400, func(t *testing.T, a string) *http.Request { return get(t, a+query+";x=%zz") }},
		{"state in the query of a form", 400, func(t *testing.T, a string) *http.Request {
			return post(t, a+"?state="+state, url.Values{"code": {"x"}})
		}},
		{"a huge form", 400, func(t *testing.T, a string) *http.Request {
			return post(t, a, url.Values{"state": {state}, "code": {strings.Repeat("x", 1<<20)}})
		}},
		{"a rebound name", 421, func(t *testing.T, a string) *http.Request { return hosted(t, a+query, "evil.test") }},
		{"a rebound name with the port", 421, func(t *testing.T, a string) *http.Request {
			return hosted(t, a+query, "evil.test:"+get(t, a).URL.Port())
		}},
		{"another name of this machine", 421, func(t *testing.T, a string) *http.Request {
			return hosted(t, a+query, "localhost:"+get(t, a).URL.Port())
		}},
		{"no port", 421, func(t *testing.T, a string) *http.Request { return hosted(t, a+query, "127.0.0.1") }},
		{"a longer path", 404, func(t *testing.T, a string) *http.Request { return get(t, a+"/"+query) }},
		{"a path that cleans to the right one", 404, func(t *testing.T, a string) *http.Request {
			return get(t, strings.Replace(a, "/callback", "/x/../callback", 1)+query)
		}},
		{"an escaped path", 404, func(t *testing.T, a string) *http.Request {
			return get(t, strings.Replace(a, "/callback", "/c%61llback", 1)+query)
		}},
		{"the favicon", 404, func(t *testing.T, a string) *http.Request {
			return get(t, strings.Replace(a, "/callback", "/favicon.ico", 1))
		}},
		{"the outcome before there is one", 404, func(t *testing.T, a string) *http.Request { return get(t, a+"/done") }},
		{"HEAD", 405, func(t *testing.T, a string) *http.Request { return method(t, http.MethodHead, a+query) }},
		{"OPTIONS", 405, func(t *testing.T, a string) *http.Request { return method(t, http.MethodOptions, a+query) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b := begin(t, "")
			page := browse(t, test.forge(t, b.RedirectURL()))
			require.Equal(t, test.status, page.status)
			require.NotContains(t, page.body, code)
			require.NotContains(t, page.body, state)

			b.Succeed()
			require.Contains(t, browse(t, get(t, b.callback())).body, "You are logged in")
			values, err := b.wait(t)
			require.NoError(t, err)
			require.Equal(t, code, values.Get("code"))
		})
	}
}

// Shows R6749-10.14-1.
func TestHugeHeaderIsRefused(t *testing.T) {
	t.Parallel()
	b := begin(t, "")
	b.Succeed()
	resp, err := http.DefaultClient.Do(get(t, b.callback()+"&x="+strings.Repeat("x", 100<<10)))
	if err == nil { // else it was cut off while it was still being sent
		defer resp.Body.Close()
		require.Equal(t, http.StatusRequestHeaderFieldsTooLarge, resp.StatusCode)
	}
	require.Contains(t, browse(t, get(t, b.callback())).body, "You are logged in")
}

func hosted(t *testing.T, address, host string) *http.Request {
	req := get(t, address)
	req.Host = host
	return req
}

func method(t *testing.T, method, address string) *http.Request {
	req := get(t, address)
	req.Method = method
	return req
}

// TestBrowserIsHeldUntilTheOutcome also passes the patience that the listener has with slow clients.
func TestBrowserIsHeldUntilTheOutcome(t *testing.T) {
	t.Parallel()
	held := 5500 * time.Millisecond
	if testing.Short() {
		held = 50 * time.Millisecond
	}
	b := begin(t, "")
	pages := make(chan seen, 1)
	go func() {
		page, err := try(http.DefaultClient, get(t, b.callback()))
		if err == nil {
			pages <- page
		}
		close(pages)
	}()
	_, err := b.wait(t)
	require.NoError(t, err)
	select {
	case page := <-pages:
		require.FailNow(t, "shown before the outcome", page.body)
	case <-time.After(held):
	}
	b.Fail("invalid_grant")
	b.Close()
	page, ok := <-pages
	require.True(t, ok, "no page")
	require.Contains(t, page.body, "The login has failed")
	require.Contains(t, page.body, "invalid_grant")
}

// Shows R9700-4.2.4-2.
func TestReloadShowsTheSameOutcome(t *testing.T) {
	t.Parallel()
	b := begin(t, "")
	b.Fail("access_denied")
	first := browse(t, get(t, b.callback()))
	require.Contains(t, first.body, "Access was not granted")
	require.Equal(t, first.body, browse(t, get(t, b.callback())).body, "the callback again")
	require.Equal(t, first.body, browse(t, get(t, first.url)).body, "the outcome again")
	require.Equal(t, http.StatusBadRequest, browse(t, get(t, b.RedirectURL()+"?code=x&state=forged")).status)
	require.Equal(t, http.StatusMethodNotAllowed, browse(t, method(t, http.MethodPost, first.url)).status)
}

func TestFirstOutcomeHolds(t *testing.T) {
	t.Parallel()
	b := begin(t, "")
	b.Succeed()
	b.Fail("server_error")
	require.Contains(t, browse(t, get(t, b.callback())).body, "You are logged in")
}

func TestLongCodesAreCut(t *testing.T) {
	t.Parallel()
	b := begin(t, "")
	b.Fail(strings.Repeat("x", 1000) + "\r\n\"\\<é>")
	body := browse(t, get(t, b.callback())).body
	require.Contains(t, body, strings.Repeat("x", 64))
	require.NotContains(t, body, strings.Repeat("x", 65))
}

// TestASlowFormLosesItsSlot: who begins a form and does not go on keeps nobody else out.
func TestASlowFormLosesItsSlot(t *testing.T) {
	t.Parallel()
	b := begin(t, "")
	u := get(t, b.RedirectURL()).URL
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", u.Host)
	require.NoError(t, err)
	defer conn.Close()
	_, err = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nstate=", u.Path, u.Host)
	require.NoError(t, err)
	require.NoError(t, conn.SetReadDeadline(time.Now().Add(9*time.Second)))
	_, err = io.ReadAll(conn)
	require.NoError(t, err, "it was answered, or closed, within the listener's patience")
}

// Shows R6749-3.1.2.5-1, R6749-10.14-1, R6750-5.3-5, R9700-2.1-1, R9700-4.2.4-1, O21-7.12-1.
func TestPage(t *testing.T) {
	t.Parallel()
	b := begin(t, "")
	b.Fail("<script>alert(1)</script>\x00é\"" + strings.Repeat("x", 1000))
	redirect, err := try(&http.Client{CheckRedirect: noRedirect}, get(t, b.callback()))
	require.NoError(t, err)
	require.Equal(t, http.StatusSeeOther, redirect.status)
	page := browse(t, get(t, b.callback()))

	for name, answer := range map[string]seen{"the redirect": redirect, "the outcome": page} {
		policy := answer.header.Get("Content-Security-Policy")
		require.Contains(t, policy, "default-src 'none'", name)
		require.Contains(t, policy, "frame-ancestors 'none'", name)
		require.NotContains(t, policy, "unsafe", name)
		require.Equal(t, "no-store", answer.header.Get("Cache-Control"), name)
		require.Equal(t, "no-referrer", answer.header.Get("Referrer-Policy"), name)
		require.Equal(t, "nosniff", answer.header.Get("X-Content-Type-Options"), name)
		for _, secret := range []string{code, state} {
			require.NotContains(t, answer.body, secret, name)
			require.NotContains(t, fmt.Sprint(answer.header), secret, name)
		}
	}
	require.NotContains(t, page.url, code, "the address bar")
	require.NotContains(t, page.url, "?", "the address bar")
	require.Equal(t, "text/html; charset=utf-8", page.header.Get("Content-Type"))
	require.Contains(t, page.body, "&lt;script&gt;")
	for _, absent := range []string{"<script", "http:", "https:", "src=", "href=", "url("} {
		require.NotContains(t, page.body, absent)
	}
	_, rest, _ := strings.Cut(page.body, "<style>")
	style, _, _ := strings.Cut(rest, "</style>")
	sum := sha256.Sum256([]byte(style))
	require.Contains(t, page.header.Get("Content-Security-Policy"), "'sha256-"+base64.StdEncoding.EncodeToString(sum[:])+"'")
	require.Less(t, len(page.body), 4<<10)
}

// Shows R8252-8.3-1.
func TestCloseTellsAWaitingBrowser(t *testing.T) {
	t.Parallel()
	b := begin(t, "")
	var page seen
	var err error
	var browser sync.WaitGroup
	browser.Go(func() { page, err = try(http.DefaultClient, get(t, b.callback())) })
	_, waitErr := b.wait(t)
	require.NoError(t, waitErr)
	begun := time.Now()
	b.Close()
	require.Less(t, time.Since(begun), time.Second, "it waits though the page was shown")
	browser.Wait()
	require.NoError(t, err)
	require.Contains(t, page.body, "The login was ended")

	_, err = try(http.DefaultClient, get(t, b.RedirectURL()))
	require.Error(t, err, "the port is still open")
}

// TestCloseIsBounded has clients that send nothing, or never fetch the outcome.
func TestCloseIsBounded(t *testing.T) {
	t.Parallel()
	b := begin(t, "")
	address := get(t, b.RedirectURL()).URL.Host
	silent := 20 // take every slot; each loses its slot after the listener's patience
	if testing.Short() {
		silent = 10
	}
	for range silent {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address)
		require.NoError(t, err)
		defer conn.Close()
	}
	_, err := try(&http.Client{CheckRedirect: noRedirect}, get(t, b.callback()))
	require.NoError(t, err)
	_, err = b.wait(t)
	require.NoError(t, err)
	b.Succeed()
	begun := time.Now()
	b.Close()
	require.Less(t, time.Since(begun), 4*time.Second)
}

// Shows O21-8.5.4-1.
func TestWaitEnds(t *testing.T) {
	t.Parallel()
	t.Run("with the context", func(t *testing.T) {
		t.Parallel()
		b := begin(t, "")
		b.cancel()
		_, err := b.wait(t)
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("with Close", func(t *testing.T) {
		t.Parallel()
		b := begin(t, "")
		require.Equal(t, http.StatusNotFound, browse(t, get(t, b.RedirectURL()+"/x")).status, "Wait is under way")
		b.Close()
		_, err := b.wait(t)
		require.ErrorIs(t, err, http.ErrServerClosed)
	})
	t.Run("after Close", func(t *testing.T) {
		t.Parallel()
		l, err := loopback.Listen("")
		require.NoError(t, err)
		l.Close()
		l.Close()
		_, err = l.Wait(t.Context(), ours)
		require.ErrorIs(t, err, http.ErrServerClosed)
		_, err = try(http.DefaultClient, get(t, l.RedirectURL()))
		require.Error(t, err, "the port is still open")
	})
}

// Shows R8252-7.3-1, R8252-8.3-2, O21-8.5.4-1.
func TestListen(t *testing.T) {
	t.Parallel()
	for _, redirectURL := range []string{
		"https://127.0.0.1:0/callback",
		"http://example.com:0/callback",
		"http://0.0.0.0:0/callback",
		"http://127.0.0.2:0/callback",
		"http://127.0.0.1.evil.test:0/callback",
		"http://user:" + code + "@127.0.0.1:0/callback",
		"http://127.0.0.1/callback",
		"http://127.0.0.1:/callback",
		"http://127.0.0.1:0/callback#" + code,
		"http://127.0.0.1:" + code + "/callback",
		"http://127.0.0.1:99999/callback",
		"com.example.app:/callback",
		"/callback",
	} {
		t.Run(redirectURL, func(t *testing.T) {
			t.Parallel()
			_, err := loopback.Listen(redirectURL)
			require.Error(t, err)
			require.NotContains(t, err.Error(), code)
		})
	}
	t.Run("an ephemeral port is the only change", func(t *testing.T) {
		t.Parallel()
		l, err := loopback.Listen("http://LocalHost:0/a%2Fb/?x=0:0")
		require.NoError(t, err)
		defer l.Close()
		require.Regexp(t, `^http://LocalHost:[1-9]\d*/a%2Fb/\?x=0:0$`, l.RedirectURL())
	})
	for _, address := range []string{"127.0.0.1", "::1"} {
		t.Run("a port in use on "+address, func(t *testing.T) {
			t.Parallel()
			needs(t, address)
			socket, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(address, "0"))
			require.NoError(t, err)
			defer socket.Close()
			_, port, err := net.SplitHostPort(socket.Addr().String())
			require.NoError(t, err)
			_, err = loopback.Listen("http://localhost:" + port + "/callback")
			require.Error(t, err, "somebody else would be sent the code")
			other := map[string]string{"127.0.0.1": "::1", "::1": "127.0.0.1"}[address]
			needs(t, other)
			again, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", net.JoinHostPort(other, port))
			require.NoError(t, err, "nothing stays open")
			require.NoError(t, again.Close())
		})
	}
	t.Run("on the loopback interface only", func(t *testing.T) {
		t.Parallel()
		b := begin(t, "")
		addresses, err := net.InterfaceAddrs()
		require.NoError(t, err)
		for _, address := range addresses {
			ip, _, err := net.ParseCIDR(address.String())
			require.NoError(t, err)
			if ip.IsLoopback() || ip.IsLinkLocalUnicast() {
				continue
			}
			conn, err := net.DialTimeout("tcp", net.JoinHostPort(ip.String(), get(t, b.RedirectURL()).URL.Port()), time.Second)
			if err == nil {
				_ = conn.Close()
			}
			require.Error(t, err, "%v is listened on", ip)
		}
	})
}

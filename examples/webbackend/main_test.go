package main

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/examples/internal/demo"
	"github.com/evergrant/evergrant/tokenstore"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// site is the application, on the web.
type site struct {
	url      string
	provider *demo.Provider
}

func newSite(t *testing.T, store tokenstore.Store) *site {
	p, err := demo.StartProvider(300*time.Second, nil)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	api := demo.StartAPI(p)
	t.Cleanup(api.Close)

	server := httptest.NewUnstartedServer(nil)
	s := &site{url: "http://" + server.Listener.Addr().String(), provider: p}
	p.Register("my-app", "app-secret", s.url+"/callback")
	c, err := client.New(client.Config{
		Issuer: p.Issuer, ClientID: "my-app", ClientSecret: "app-secret",
		Scopes: []string{"openid", "offline_access"}, RedirectURL: s.url + "/callback", Store: store,
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) }) // t's own context has ended by then
	server.Config.Handler = newApp(c, api.URL, false)
	server.Start()
	t.Cleanup(server.Close)
	return s
}

// newBrowser is a browser that goes no further than stop says.
func newBrowser(t *testing.T, stop func(*url.URL) bool) *http.Client {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	return &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if stop(r.URL) {
			return http.ErrUseLastResponse
		}
		return nil
	}}
}

// login presses the button and does what the provider asks for.
func (s *site) login(t *testing.T, browser *http.Client) error {
	follow := browser.CheckRedirect
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	resp, err := browser.Post(s.url+"/login", "", nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusSeeOther, resp.StatusCode)
	browser.CheckRedirect = follow
	return demo.SignIn(t.Context(), browser, resp.Header.Get("Location"))
}

func (s *site) get(t *testing.T, browser *http.Client, address string) (int, string) {
	resp, err := browser.Get(address)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, string(body)
}

func toTheEnd(*url.URL) bool { return false }

func TestApp_logsInCallsAndLogsOut(t *testing.T) {
	s := newSite(t, nil)
	browser := newBrowser(t, toTheEnd)
	_, page := s.get(t, browser, s.url)
	require.Contains(t, page, "Log in")

	require.NoError(t, s.login(t, browser))
	_, page = s.get(t, browser, s.url)
	require.Contains(t, page, "alice")
	s.provider.RevokeAccessTokens()
	_, page = s.get(t, browser, s.url)
	require.Contains(t, page, "alice", "a token revoked early is replaced")

	_, page = s.get(t, newBrowser(t, toTheEnd), s.url)
	require.NotContains(t, page, "alice", "another browser is another user")

	resp, err := browser.Post(s.url+"/logout", "", nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	_, page = s.get(t, browser, s.url)
	require.Contains(t, page, "Log in")
	require.Equal(t, demo.Counts{Logins: 1, Renewals: 1}, s.provider.Counts())
}

// The same person in two browsers has one account, that of the newest login, and one logout.
func TestApp_knowsAPersonAgain(t *testing.T) {
	s := newSite(t, nil)
	one, two := newBrowser(t, toTheEnd), newBrowser(t, toTheEnd)
	require.NoError(t, s.login(t, one))
	require.NoError(t, s.login(t, two))
	s.provider.RevokeAccessTokens()
	for _, browser := range []*http.Client{one, two} {
		_, page := s.get(t, browser, s.url)
		require.Contains(t, page, "alice")
	}
	require.Equal(t, demo.Counts{Logins: 2, Renewals: 1}, s.provider.Counts(), "both use the newest grant")

	resp, err := one.Post(s.url+"/logout", "", nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	for _, browser := range []*http.Client{one, two} {
		_, page := s.get(t, browser, s.url)
		require.Contains(t, page, "Log in")
	}
}

// stuck is a store that can be read only, at times.
type stuck struct {
	tokenstore.Store
	isStuck atomic.Bool
}

func (s *stuck) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	if s.isStuck.Load() {
		return "", errors.New("read-only")
	}
	return s.Store.Swap(ctx, key, old, value)
}

// Nobody is told to be logged out whose grant is still in the store.
func TestApp_keepsWhoCannotBeLoggedOut(t *testing.T) {
	store := &stuck{Store: tokenstore.NewMemory()}
	s := newSite(t, store)
	browser := newBrowser(t, toTheEnd)
	require.NoError(t, s.login(t, browser))
	for _, step := range []struct {
		isStuck bool
		status  int
	}{{true, http.StatusBadGateway}, {false, http.StatusOK}} {
		store.isStuck.Store(step.isStuck)
		resp, err := browser.Post(s.url+"/logout", "", nil)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, step.status, resp.StatusCode)
	}
	_, page := s.get(t, browser, s.url)
	require.Contains(t, page, "Log in")
}

// An attacker logs in up to the callback and has the victim open that: the victim would act in the
// attacker's name (RFC 6749 §10.12).
func TestApp_takesACallbackFromTheBrowserThatBeganOnly(t *testing.T) {
	s := newSite(t, nil)
	var callback *url.URL
	attacker := newBrowser(t, func(u *url.URL) bool {
		if u.Path == "/callback" && u.Query().Has("code") {
			callback = u
		}
		return callback != nil
	})
	require.Error(t, s.login(t, attacker))
	require.NotNil(t, callback)

	victims := []struct {
		name  string
		begin func(t *testing.T, browser *http.Client)
	}{
		{"who began no login", func(*testing.T, *http.Client) {}},
		{"who began one too", func(t *testing.T, browser *http.Client) {
			resp, err := browser.Post(s.url+"/login", "", nil)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
		}},
	}
	for _, victim := range victims {
		t.Run(victim.name, func(t *testing.T) {
			browser := newBrowser(t, toTheEnd)
			victim.begin(t, browser)
			status, _ := s.get(t, browser, callback.String())
			require.Equal(t, http.StatusBadRequest, status)
			_, page := s.get(t, browser, s.url)
			require.Contains(t, page, "Log in")
		})
	}

	attacker.CheckRedirect = nil
	status, _ := s.get(t, attacker, callback.String())
	require.Equal(t, http.StatusOK, status, "the code was not spent by the others")
	status, _ = s.get(t, attacker, callback.String())
	require.Equal(t, http.StatusBadRequest, status, "a login is finished once")
}

func TestApp_refusesFormsOfOtherSites(t *testing.T) {
	s := newSite(t, nil)
	for _, path := range []string{"/login", "/logout"} {
		t.Run(path, func(t *testing.T) {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.url+path, nil)
			require.NoError(t, err)
			r.Header.Set("Sec-Fetch-Site", "cross-site")
			resp, err := http.DefaultClient.Do(r)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, http.StatusForbidden, resp.StatusCode)
		})
	}
}

package client_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/cookiejar"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore"
)

// web is the configuration of a web backend, which clienttest completes.
func web(store tokenstore.Store) client.Config {
	return client.Config{RedirectURL: "https://app.test/callback", Scopes: []string{"openid", "read"}, Store: store}
}

// world runs f in a bubble with a strict server, an API and a session that has logged in.
func world(t *testing.T, f func(t *testing.T, s *clienttest.Server, api *clienttest.API, alice *client.Session, hc *http.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := clienttest.New(t)
		api := s.NewAPI("api.test")
		alice := s.NewClient(client.Config{}).Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), s.Login("openid", "read")))
		f(t, s, api, alice, alice.Wrap(s.HTTPClient("")))
	})
}

func get(t *testing.T, hc *http.Client, address string) int {
	t.Helper()
	resp, err := hc.Get(address)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

func TestRequestsGoOnForEver(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, _ *client.Session, hc *http.Client) {
		for range 200 {
			require.Equal(t, http.StatusOK, get(t, hc, api.URL))
			time.Sleep(10 * time.Minute)
		}
		require.Zero(t, api.Refused())
		require.Empty(t, s.Reuses())
		require.InDelta(t, 2000.0/60, len(s.Renewals()), 4)
	})
}

func TestTokenRevokedEarlyIsSeenByNobody(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, _ *client.Session, hc *http.Client) {
		require.Equal(t, http.StatusOK, get(t, hc, api.URL))
		s.RevokeAccessToken("")
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { require.Equal(t, http.StatusOK, get(t, hc, api.URL)) })
		}
		wg.Wait()
		require.Len(t, s.Renewals(), 1)
	})
}

// Shows R6750-3.1-1.
func TestAMillionBytesAreSentOnceMore(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, _ *client.Session, hc *http.Client) {
		payload := bytes.Repeat([]byte("evergrant "), 100_000)
		require.Equal(t, http.StatusOK, get(t, hc, api.URL))
		s.RevokeAccessToken("")
		body := &countedBody{Reader: bytes.NewReader(payload)}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, api.URL, body)
		require.NoError(t, err)
		req.ContentLength = int64(len(payload))
		req.Header.Set("X-Mine", "1")
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(payload)), nil }
		before := req.Header.Clone()
		resp, err := hc.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		require.Equal(t, http.StatusOK, resp.StatusCode)
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Greater(t, len(got), len(payload), "the API answers with what it received")
		require.Equal(t, before, req.Header)
		require.Same(t, req, resp.Request)
		synctest.Wait()
		require.EqualValues(t, 1, body.closed.Load())
		require.Len(t, s.Renewals(), 1)
	})
}

func TestTokensThatServeAWhileAreReplacedHoweverOftenTheyAreRevoked(t *testing.T) {
	for name, every := range map[string]time.Duration{"every 3 s": 3 * time.Second, "every minute": time.Minute} {
		t.Run(name, func(t *testing.T) {
			world(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, _ *client.Session, hc *http.Client) {
				for range 50 {
					require.Equal(t, http.StatusOK, get(t, hc, api.URL))
					time.Sleep(every)
					s.RevokeAccessToken("")
				}
			})
		})
	}
}

func TestServerThatEndsTokensEarlierThanItSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := clienttest.New(t)
		s.Policy.Lifetime, s.Policy.Answer = 1100*time.Millisecond, map[string]any{"expires_in": 2}
		api := s.NewAPI("api.test")
		alice := s.NewClient(client.Config{}).Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), s.Login()))
		hc := alice.Wrap(s.HTTPClient(""))
		for range 600 {
			require.Equal(t, http.StatusOK, get(t, hc, api.URL))
			time.Sleep(100 * time.Millisecond)
		}
	})
}

func TestNobodyLogsInForAStoreThatCannotBeRead(t *testing.T) {
	config := good()
	config.Store = unreadable{tokenstore.NewMemory()}
	err := open(t, config).Session("a").Login(t.Context(), client.Browser{Open: func(string) error {
		t.Error("a browser was opened")
		return nil
	}})
	require.ErrorIs(t, err, errDisk)
}

type unreadable struct{ *tokenstore.Memory }

func (unreadable) Load(context.Context, string) ([]byte, tokenstore.Version, error) {
	return nil, "", errDisk
}

// countedBody counts how often it is closed.
type countedBody struct {
	io.Reader
	closed atomic.Int32
}

func (b *countedBody) Close() error { b.closed.Add(1); return nil }

func TestRefreshTokenRevokedAtTheServer(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, alice *client.Session, hc *http.Client) {
		s.KillAll()
		for range 20 {
			_, err := hc.Get(api.URL)
			require.ErrorIs(t, err, client.ErrLoginRequired)
			e, ok := errors.AsType[*client.Error](err)
			require.True(t, ok)
			require.Equal(t, []string{"renew", s.Issuer, "alice", "invalid_grant"}, []string{e.Op, e.Issuer, e.Session, e.Code})
			time.Sleep(time.Minute)
		}
		require.Len(t, s.Requests(), 1)
		status, err := alice.Status(t.Context())
		require.NoError(t, err)
		require.False(t, status.LoggedIn)
		require.ErrorIs(t, status.Failure, client.ErrLoginRequired)
	})
}

func TestWrapKeepsWhatTheClientHas(t *testing.T) {
	c := open(t, good())
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	stop := errors.New("no redirects")
	mine := &http.Client{Timeout: time.Second, Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return stop }}
	wrapped := c.Session("a").Wrap(mine)
	require.Equal(t, time.Second, wrapped.Timeout)
	require.Same(t, jar, wrapped.Jar)
	require.ErrorIs(t, wrapped.CheckRedirect(nil, nil), stop)
	require.Nil(t, mine.Transport, "the program's own client is not changed")
	require.NotNil(t, wrapped.Transport)
}

func TestOneSessionForEachKey(t *testing.T) {
	c := open(t, good())
	alice := c.Session("alice")
	require.Same(t, alice, c.Session("alice"))
	require.NotSame(t, alice, c.Session("bob"))
	for range 3 { // bob is held by nobody; alice is
		runtime.GC()
	}
	require.Same(t, alice, c.Session("alice"))
	runtime.KeepAlive(alice)
}

func TestKeysAreThoseLoggedIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := clienttest.New(t), tokenstore.NewMemory()
		c := s.NewClient(client.Config{Store: store})
		for _, key := range []string{"alice", "b/ob", ""} {
			require.NoError(t, c.Session(key).Adopt(t.Context(), s.Login()))
		}
		require.NoError(t, s.NewClient(client.Config{Store: store, ClientID: "other"}).Session("carol").Adopt(t.Context(), s.Login()))
		var keys []string
		for key, err := range c.Keys(t.Context()) {
			require.NoError(t, err)
			keys = append(keys, key)
		}
		require.ElementsMatch(t, []string{"alice", "b/ob", ""}, keys)
	})
}

func TestKeysOfAStoreThatCannotList(t *testing.T) {
	config := good()
	config.Store = struct{ tokenstore.Store }{tokenstore.NewMemory()}
	for key, err := range open(t, config).Keys(t.Context()) {
		require.Empty(t, key)
		require.ErrorIs(t, err, errors.ErrUnsupported)
	}
}

func TestStatusIsWhatTheStoreHolds(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, _ *clienttest.API, alice *client.Session, _ *http.Client) {
		status, err := alice.Status(t.Context())
		require.NoError(t, err)
		require.True(t, status.LoggedIn)
		require.NoError(t, status.Failure)
		require.WithinDuration(t, time.Now().Add(time.Hour), status.Expiry, time.Second)
		require.NoError(t, alice.Logout(t.Context()))
		status, err = alice.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, client.Status{}, status)
		require.Empty(t, s.Requests())
	})
}

func TestStatusOfAGrantThatNeverSucceeded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict()
		config := s.config(nil)
		config.ClientSecret, config.Grant = "hush", client.ClientCredentials{}
		session := open(t, config).Session("")
		s.fail(status(http.StatusUnauthorized, nil, `{"error":"invalid_client"}`))
		_, err := session.Token(t.Context())
		require.Error(t, err)
		got, err := session.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, client.Status{}, got)
	})
}

func TestLogoutRevokesAndDeletes(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, alice *client.Session, hc *http.Client) {
		require.NoError(t, alice.Logout(t.Context()))
		require.Zero(t, s.Grants())
		_, err := hc.Get(api.URL)
		require.ErrorIs(t, err, client.ErrLoginRequired)
		require.NoError(t, alice.Logout(t.Context()), "without a grant there is nothing to do")
	})
}

func TestLogoutDeletesEvenIfRevokingFails(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, _ *clienttest.API, alice *client.Session, _ *http.Client) {
		busy := clienttest.Fault{Status: http.StatusServiceUnavailable}
		s.Fail("/revoke", busy, busy)
		err := alice.Logout(t.Context())
		e, ok := errors.AsType[*client.Error](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, http.StatusServiceUnavailable, e.StatusCode)
		_, err = alice.Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired)
	})
}

func TestClosedClient(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, _ *clienttest.API, alice *client.Session, _ *http.Client) {
		c := s.NewClient(web(nil))
		session := c.Session("x")
		require.NoError(t, session.Adopt(t.Context(), s.Login()))
		require.NoError(t, c.Close(t.Context()))
		require.NoError(t, c.Close(t.Context()), "twice is once")
		for name, err := range map[string]error{
			"Token":  second(session.Token(t.Context())),
			"Renew":  second(session.Renew(t.Context(), nil)),
			"Adopt":  session.Adopt(t.Context(), s.Login()),
			"Login":  session.Login(t.Context(), client.Browser{}),
			"Start":  second(session.Start(t.Context(), client.AuthCode{})),
			"Finish": session.Finish(t.Context(), nil, nil),
			"Logout": session.Logout(t.Context()),
			"Status": second(session.Status(t.Context())),
		} {
			require.ErrorIs(t, err, client.ErrClosed, name)
		}
	})
}

func second[T any](_ T, err error) error { return err }

func TestTokenSourceCarriesNoRefreshToken(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, _ *clienttest.API, alice *client.Session, _ *http.Client) {
		source := alice.TokenSource()
		time.Sleep(2 * time.Hour)
		got, err := source.Token()
		require.NoError(t, err)
		require.True(t, got.Valid())
		require.Empty(t, got.RefreshToken)
		require.Len(t, s.Renewals(), 1)
	})
}

func TestMetadataThatCannotBeFetchedIsAnErrorAndTheSessionStays(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, alice *client.Session, hc *http.Client) {
		time.Sleep(2 * time.Hour)
		gone := clienttest.Fault{Status: http.StatusBadGateway}
		s.Fail("/.well-known/oauth-authorization-server", gone)
		s.Fail("/.well-known/openid-configuration", gone)
		_, err := alice.Token(t.Context())
		require.Error(t, err)
		require.NotErrorIs(t, err, client.ErrLoginRequired)
		time.Sleep(2 * time.Second)
		require.Equal(t, http.StatusOK, get(t, hc, api.URL))
	})
}

func TestContextValuesReachTheTokenRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type traceKey struct{}
		s := clienttest.New(t)
		seen, wire := make(chan any, 8), s.HTTPClient("").Transport
		alice := s.NewClient(client.Config{AuthServerClient: &http.Client{Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			seen <- req.Context().Value(traceKey{})
			return wire.RoundTrip(req)
		})}}).Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), s.Login()))
		_, err := alice.Renew(context.WithValue(t.Context(), traceKey{}, "trace"), nil)
		require.NoError(t, err)
		require.Equal(t, "trace", <-seen)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

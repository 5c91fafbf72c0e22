package clienttest_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore"
)

func TestNewClientIsReadyOnBothNetworks(t *testing.T) {
	onBoth(t, func(t *testing.T, s *clienttest.Server) {
		api, store := s.NewAPI("api.test"), tokenstore.NewMemory()
		login := s.Login("read")
		require.NoError(t, s.NewClient(client.Config{Store: store}).Session("alice").Adopt(t.Context(), login))
		s.RevokeAccessToken(login.AccessToken)
		// Another Client over the same store has the same grant.
		hc := s.NewClient(client.Config{Store: store}).Session("alice").Wrap(s.HTTPClient(""))
		resp, err := hc.Post(api.URL, "text/plain", strings.NewReader("content"))
		require.NoError(t, err)
		defer resp.Body.Close()
		answer, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.JSONEq(t, `{"sub":"alice","scope":"read","body":"content"}`, string(answer))
		require.Len(t, s.Renewals(), 1)
		_, err = s.NewClient(client.Config{}).Session("alice").Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired, "without a store it has a memory of its own")
	})
}

func TestNewClientLogsIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := clienttest.New(t)
		alice := s.NewClient(client.Config{RedirectURL: "https://app.test/callback", Scopes: []string{"read"}}).Session("alice")
		pending, err := alice.Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		callback, err := s.Browse(t.Context(), pending.URL)
		require.NoError(t, err)
		require.NoError(t, alice.Finish(t.Context(), pending, callback.Query()))
		token, err := alice.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, "read", token.Extra("scope"))
	})
}

func TestOpenPlaysTheBrowser(t *testing.T) {
	onBothForReal(t, func(t *testing.T, s *clienttest.Server) {
		alice := s.NewClient(client.Config{Scopes: []string{"read"}}).Session("alice")
		opened := make(chan error, 1)
		login := func() error {
			return alice.Login(t.Context(), client.Browser{Open: func(address string) error {
				err := s.Open(address)
				opened <- err
				return err
			}})
		}
		require.NoError(t, login())
		require.NoError(t, <-opened)
		token, err := alice.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, "read", token.Extra("scope"))

		s.Change(func() { s.Policy.Deny = true })
		var refused *client.Error
		require.ErrorAs(t, login(), &refused)
		require.Equal(t, "access_denied", refused.Code)
		require.NoError(t, <-opened, "the login says it, not the browser")
	})
}

func TestOpenReachesAHostOfTheNetwork(t *testing.T) {
	onBoth(t, func(t *testing.T, s *clienttest.Server) {
		var got url.Values
		app := s.Handle("https://backend.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = r.URL.Query()
			w.WriteHeader(http.StatusTeapot)
		}))
		s.Register("backend", "", "none", app+"/callback")
		alice := s.NewClient(client.Config{ClientID: "backend", RedirectURL: app + "/callback"}).Session("alice")
		pending, err := alice.Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		require.NoError(t, s.Open(pending.URL))
		require.NoError(t, alice.Finish(t.Context(), pending, got))
	})
}

func TestOpenErrors(t *testing.T) {
	s := clienttest.New(t)
	require.Error(t, s.Open("https://as.test/authorize?client_id=nobody"), "no redirection")
	require.Error(t, s.Open("https://nowhere.test/"))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	gone := "http://" + l.Addr().String() + "/callback"
	require.NoError(t, l.Close())
	alice := s.NewClient(client.Config{RedirectURL: gone}).Session("alice")
	pending, err := alice.Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	err = s.Open(pending.URL)
	require.Error(t, err, "nobody listens there")
	require.NotContains(t, err.Error(), "code=")
	require.NotContains(t, err.Error(), "state=")
}

// onBothForReal is onBoth for what uses the loopback interface on either network: in no synctest bubble.
func onBothForReal(t *testing.T, f func(t *testing.T, s *clienttest.Server)) {
	t.Run("in memory", func(t *testing.T) { f(t, clienttest.New(t)) })
	t.Run("loopback", func(t *testing.T) {
		s := clienttest.New(t)
		s.Listen()
		f(t, s)
	})
}

func TestNewClientKeepsWhatIsGiven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := clienttest.New(t)
		s.Register("service", "hush", "client_secret_post")
		given := client.Config{ClientID: "service", ClientSecret: "hush", Grant: client.ClientCredentials{}, AuthServerClient: s.HTTPClient("the service")}
		given.Endpoint = s.Config().Endpoint
		given.Endpoint.AuthStyle = oauth2.AuthStyleInParams
		_, err := s.NewClient(given).Session("").Token(t.Context())
		require.NoError(t, err)
		require.Len(t, s.Requests(), 1)
		require.Equal(t, "service", s.Requests()[0].ClientID)
		require.Equal(t, "the service", s.Requests()[0].Process)
	})
}

func TestNewClientEndsWithTheTest(t *testing.T) {
	for name, broken := range map[string]bool{"saved": false, "a store that does not save": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				its, store := &standIn{}, &stuck{Memory: tokenstore.NewMemory()}
				s := clienttest.New(its)
				alice := s.NewClient(client.Config{Store: store}).Session("alice")
				require.NoError(t, alice.Adopt(t.Context(), s.Login()))
				store.full.Store(broken)
				time.Sleep(2 * time.Hour)
				_, err := alice.Token(t.Context())
				require.NoError(t, err)
				its.end()
				require.Equal(t, broken, its.failed)
				_, err = alice.Token(t.Context())
				require.ErrorIs(t, err, client.ErrClosed)
			})
		})
	}
}

func TestNewClientRefusesAWrongConfig(t *testing.T) {
	its := &standIn{}
	s := clienttest.New(its)
	defer its.end()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.NewClient(client.Config{RedirectURL: "http://app.test/"})
	}()
	<-ended
	require.True(t, its.failed)
}

// stuck is a store that, once full, takes leases and no more tokens.
type stuck struct {
	*tokenstore.Memory
	full atomic.Bool
}

func (s *stuck) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	if s.full.Load() && !bytes.Contains(value, []byte(`"lease":`)) {
		return "", errors.New("the disk is full")
	}
	return s.Memory.Swap(ctx, key, old, value)
}

// standIn is the test of a Server whose end can be looked at.
type standIn struct {
	testing.TB
	failed   bool
	cleanups []func()
}

func (s *standIn) Helper()               {}
func (s *standIn) Cleanup(f func())      { s.cleanups = append(s.cleanups, f) }
func (s *standIn) Errorf(string, ...any) { s.failed = true }
func (s *standIn) Fatalf(string, ...any) { s.failed = true; runtime.Goexit() }

func (s *standIn) end() {
	for _, f := range slices.Backward(s.cleanups) {
		f()
	}
}

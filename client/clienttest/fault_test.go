package clienttest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client/clienttest"
)

func TestFaultsOfTheConnection(t *testing.T) {
	broken := func(err error) bool {
		// Other systems have other words for a reset.
		return errors.Is(err, syscall.ECONNRESET) || runtime.GOOS != "linux"
	}
	for _, test := range []struct {
		name     string
		fault    clienttest.Fault
		err      func(error) bool
		renewals int
		requests int
	}{
		{"unreachable", clienttest.Fault{Unreachable: true}, func(err error) bool {
			var dial *net.OpError
			return errors.As(err, &dial) && dial.Op == "dial"
		}, 0, 0},
		{"request lost", clienttest.Fault{LoseRequest: true}, broken, 0, 1},
		{"answer lost", clienttest.Fault{LoseAnswer: true}, broken, 1, 1},
		{"cut", clienttest.Fault{CutBody: true}, func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) }, 1, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, s *clienttest.Server) {
				rt := s.Login().RefreshToken
				s.Fail("/token", clienttest.Fault{}, test.fault)
				rt, _ = renewed(t, s, rt)
				_, err := refresh(s, rt)
				require.Error(t, err)
				require.True(t, test.err(err), "%v", err)
				require.Len(t, s.Renewals(), 1+test.renewals)
				require.Len(t, s.Requests(), 1+test.requests)

				a, err := refresh(s, rt)
				require.NoError(t, err, "the faults are used up")
				require.Equal(t, test.renewals == 1, a.status == 400, "a processed request spent the token")
				require.Len(t, s.Reuses(), test.renewals)
			})
		})
	}
}

func TestFaultsOfAnswers(t *testing.T) {
	retry := func(after string) http.Header { return http.Header{"Retry-After": {after}} }
	for _, test := range []struct {
		name     string
		fault    clienttest.Fault
		media    string
		renewals int
	}{
		{"500", clienttest.Fault{Status: 500}, "", 0},
		{"429 in seconds", clienttest.Fault{Status: 429, Header: retry("7"), Body: "slow"}, "text/plain; charset=utf-8", 0},
		{"503 by date", clienttest.Fault{Status: 503, Header: retry(time.Now().UTC().Format(http.TimeFormat)), Body: `{"error":"x"}`}, "application/json", 0},
		{"page under 200", clienttest.Fault{Status: 200, Body: "<html>"}, "text/html; charset=utf-8", 0},
		{"gateway after processing", clienttest.Fault{Status: 502, LoseAnswer: true}, "", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, s *clienttest.Server) {
				s.Fail("/token", test.fault)
				a, err := refresh(s, s.Login().RefreshToken)
				require.NoError(t, err)
				require.Equal(t, test.fault.Status, a.status)
				require.Equal(t, test.fault.Body, a.body)
				require.Equal(t, test.media, a.header.Get("Content-Type"))
				require.Equal(t, test.fault.Header.Get("Retry-After"), a.header.Get("Retry-After"))
				require.Len(t, s.Renewals(), test.renewals)
				require.Equal(t, test.fault.Status, s.Requests()[0].Status)
				require.Equal(t, test.renewals == 0, s.Requests()[0].Processed.IsZero())
			})
		})
	}
}

func TestRedirectTakesTheFormElsewhere(t *testing.T) {
	onBoth(t, func(t *testing.T, s *clienttest.Server) {
		got := make(chan string, 1)
		elsewhere := s.Handle("https://elsewhere.test", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			got <- r.PostFormValue("grant_type")
		}))
		s.Fail("/token", clienttest.Fault{Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {elsewhere + "/token"}}})
		a, err := refresh(s, s.Login().RefreshToken)
		require.NoError(t, err)
		require.Equal(t, 200, a.status)
		require.Equal(t, "refresh_token", <-got)
	})
}

func TestSlow(t *testing.T) {
	for _, test := range []struct {
		name      string
		fault     clienttest.Fault
		processed time.Duration // after arrival
	}{
		{"before processing", clienttest.Fault{Wait: time.Minute}, time.Minute},
		{"after processing", clienttest.Fault{WaitAnswer: time.Minute}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *clienttest.Server, _ *clienttest.API) {
				s.Fail("/token", test.fault)
				start := time.Now()
				renewed(t, s, s.Login().RefreshToken)
				require.Equal(t, time.Minute, time.Since(start))
				r := s.Requests()[0]
				require.Equal(t, test.processed, r.Processed.Sub(r.Time))
			})
		})
	}
}

func TestTheServerGoesOnWhenTheClientGivesUp(t *testing.T) {
	bubble(t, func(t *testing.T, s *clienttest.Server, _ *clienttest.API) {
		rt := s.Login().RefreshToken
		s.Fail("/token", clienttest.Fault{Wait: time.Minute})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		_, err := postContext(ctx, s.HTTPClient(""), s.Issuer+"/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {rt}})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(start))
		require.Empty(t, s.Renewals())
		time.Sleep(time.Minute)
		require.Len(t, s.Renewals(), 1)
	})
}

func TestLate(t *testing.T) {
	bubble(t, func(t *testing.T, s *clienttest.Server, _ *clienttest.API) {
		rt := s.Login().RefreshToken
		s.Fail("/token", clienttest.Fault{Late: time.Minute})
		_, err := refresh(s, rt)
		require.ErrorIs(t, err, syscall.ECONNRESET)
		rt2, _ := renewed(t, s, rt)
		time.Sleep(time.Minute + 1)
		requests := s.Requests()
		require.True(t, requests[0].Reuse, "the late request comes after the one that was sent later")
		require.Equal(t, time.Minute, requests[0].Processed.Sub(requests[0].Time))
		a, err := refresh(s, rt2)
		require.NoError(t, err)
		require.Equal(t, 400, a.status)
	})
}

func TestTheTestEndsBeforeALateRequest(t *testing.T) {
	s := (*clienttest.Server)(nil)
	t.Run("inner", func(t *testing.T) {
		s = clienttest.New(t)
		s.Fail("/token", clienttest.Fault{Late: time.Hour})
		_, err := refresh(s, s.Login().RefreshToken)
		require.Error(t, err)
	})
	require.Empty(t, s.Renewals()) // and goleak finds nothing waiting
	_, err := refresh(s, "anything")
	require.Error(t, err, "the network is gone")
}

func TestHeal(t *testing.T) {
	bubble(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API) {
		login := s.Login()
		s.Fail("/token", slices.Repeat([]clienttest.Fault{{Status: 503}}, 1000)...)
		api.Fail(clienttest.Fault{}, clienttest.Fault{Status: 503})
		a, err := refresh(s, login.RefreshToken)
		require.NoError(t, err)
		require.Equal(t, 503, a.status)
		require.Equal(t, 200, call(t, s, api, login.AccessToken))
		s.Heal()
		require.Equal(t, 200, call(t, s, api, login.AccessToken))
		renewed(t, s, login.RefreshToken)
	})
}

func TestFailNamesAnEndpoint(t *testing.T) {
	// An endpoint that does not exist would be a fault that never happens.
	var told spy
	told.TB = t
	s := clienttest.New(&told)
	s.Fail("token", clienttest.Fault{})
	require.True(t, told.failed)
	told.failed = false
	for _, endpoint := range strings.Fields("/authorize /token /revoke /device_authorization /jwks /.well-known/openid-configuration /.well-known/oauth-authorization-server") {
		s.Fail(endpoint, clienttest.Fault{})
	}
	require.False(t, told.failed)
}

// spy is a test that takes no failure to heart.
type spy struct {
	testing.TB
	failed bool
}

func (s *spy) Errorf(string, ...any) { s.failed = true }

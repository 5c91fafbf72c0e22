package authserver_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/secret"
)

// pipes is a listener whose connections stay in the process, for synctest.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	client, server := net.Pipe()
	p.conns <- server
	return client, nil
}

// A server that counts its connections sees a new one after a second of idling, and not before.
func TestIdleConnectionsAreNotReused(t *testing.T) {
	for _, own := range []time.Duration{0, 90 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			p := &pipes{make(chan net.Conn), make(chan struct{})}
			var connections atomic.Int32
			server := &http.Server{
				Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(tokens)) }),
				ConnState: func(_ net.Conn, s http.ConnState) {
					if s == http.StateNew {
						connections.Add(1)
					}
				},
			}
			go func() { _ = server.Serve(p) }()
			defer server.Close()
			base := &http.Client{Transport: &http.Transport{DialContext: p.dial, IdleConnTimeout: own}}
			client := authserver.Client{HTTP: authserver.NewHTTPClient(base), ID: "app", Method: authserver.MethodNone}
			defer client.HTTP.CloseIdleConnections()
			for _, step := range []struct {
				pause time.Duration
				want  int32
			}{{0, 1}, {0, 1}, {900 * time.Millisecond, 1}, {1001 * time.Millisecond, 2}, {900 * time.Millisecond, 2}, {time.Hour, 3}} {
				time.Sleep(step.pause)
				_, err := client.Token(t.Context(), "http://127.0.0.1/", refresh("RT"), nil)
				require.NoError(t, err)
				synctest.Wait()
				require.Equal(t, step.want, connections.Load(), "after %v", step.pause)
			}
		})
	}
}

func TestNewHTTPClientChangesNothingOfTheCaller(t *testing.T) {
	jar, err := cookiejar.New(nil)
	require.NoError(t, err)
	base := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS10}, IdleConnTimeout: time.Minute}
	given := &http.Client{Transport: base, Jar: jar, Timeout: time.Second}
	made := authserver.NewHTTPClient(given)

	require.NotSame(t, given, made)
	require.Same(t, base, given.Transport)
	require.Equal(t, time.Minute, base.IdleConnTimeout)
	require.Nil(t, base.DialContext)
	require.EqualValues(t, tls.VersionTLS10, base.TLSClientConfig.MinVersion)
	require.Equal(t, jar, given.Jar)
	require.Nil(t, given.CheckRedirect)

	require.Nil(t, made.Jar)
	require.Equal(t, time.Second, made.Timeout)
	require.ErrorIs(t, made.CheckRedirect(nil, nil), http.ErrUseLastResponse)
}

func TestNewHTTPClientLimits(t *testing.T) {
	own := tripper(func(*http.Request) (*http.Response, error) { return nil, http.ErrAbortHandler })
	_, isOwn := authserver.NewHTTPClient(&http.Client{Transport: own}).Transport.(tripper)
	require.True(t, isOwn, "another RoundTripper is used as it is")

	for _, c := range []struct {
		name                string
		given               *http.Client
		idle, handshake     time.Duration
		minVersion          uint16
		hasOwnConfiguration bool
	}{
		{"nil", nil, time.Second, 10 * time.Second, tls.VersionTLS12, true},
		{"no transport", &http.Client{}, time.Second, 10 * time.Second, tls.VersionTLS12, true},
		{"a lower floor is lifted", over(&http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS11}}), time.Second, 10 * time.Second, tls.VersionTLS12, true},
		{"a higher floor stays", over(&http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13}}), time.Second, 10 * time.Second, tls.VersionTLS13, true},
		{"tighter limits stay", over(&http.Transport{IdleConnTimeout: time.Millisecond, TLSHandshakeTimeout: time.Second}), time.Millisecond, time.Second, 0, false},
		{"looser limits do not", over(&http.Transport{IdleConnTimeout: time.Hour}), time.Second, 10 * time.Second, 0, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			made, ok := authserver.NewHTTPClient(c.given).Transport.(*http.Transport)
			require.True(t, ok)
			require.Equal(t, c.idle, made.IdleConnTimeout)
			require.Equal(t, c.handshake, made.TLSHandshakeTimeout)
			require.EqualValues(t, 64<<10, made.MaxResponseHeaderBytes)
			if c.hasOwnConfiguration {
				require.Equal(t, c.minVersion, made.TLSClientConfig.MinVersion)
			}
		})
	}
}

func over(t *http.Transport) *http.Client { return &http.Client{Transport: t} }

func TestOldTLSIsRefused(t *testing.T) {
	server := httptest.NewUnstartedServer(http.NotFoundHandler())
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}
	server.Config.ErrorLog = quiet
	server.StartTLS()
	defer server.Close()
	base := server.Client().Transport.(*http.Transport).Clone()
	base.TLSClientConfig.MinVersion = tls.VersionTLS10
	client := authserver.Client{HTTP: authserver.NewHTTPClient(over(base)), ID: "app", Secret: secret.New("s"), Method: authserver.MethodBasic}
	_, err := client.Token(t.Context(), server.URL, refresh("RT"), nil)
	requireFailure(t, err, authserver.NotProcessed)
}

// A copy of an untouched http.Transport speaks to a server that prefers HTTP/2, as the original does.
func TestACopiedTransportSpeaksHTTP2(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(`{"access_token":"` + r.Proto + `"}`))
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	made := authserver.NewHTTPClient(over(&http.Transport{}))
	made.Transport.(*http.Transport).TLSClientConfig.RootCAs = server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	defer made.CloseIdleConnections()
	client := authserver.Client{HTTP: made, ID: "app", Method: authserver.MethodNone}
	answer, err := client.Token(t.Context(), server.URL, refresh("RT"), nil)
	require.NoError(t, err)
	require.Equal(t, "HTTP/2.0", answer.AccessToken.Reveal())
}

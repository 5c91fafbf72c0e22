package authserver_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
)

// wire is the server's end of one connection.
type wire struct {
	net.Conn
	in *bufio.Reader
}

// request reads a whole request.
func (c *wire) request() {
	if r, err := http.ReadRequest(c.in); err == nil {
		_, _ = io.Copy(io.Discard, r.Body)
	}
}

// half reads a request until its form has begun.
func (c *wire) half() {
	for line := ""; line != "\r\n"; {
		var err error
		if line, err = c.in.ReadString('\n'); err != nil {
			return
		}
	}
	_, _ = c.in.Peek(1)
}

func (c *wire) write(text string) { _, _ = io.WriteString(c, text) }

// reset has the connection end with a reset.
func (c *wire) reset() { _ = c.Conn.(*net.TCPConn).SetLinger(0) }

// listen runs a server that does to each connection what a fault says, then closes it.
func listen(t *testing.T, fault func(*wire)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fault(&wire{c, bufio.NewReader(c)})
			_ = c.Close()
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return "http://" + l.Addr().String()
}

const half = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"access_token\":\"AT\","

// TestFaults holds the rows of the failure table in which the connection fails.
func TestFaults(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault func(c *wire, cancel func())
		want  authserver.Outcome
	}{
		{"cut in the middle of the form", func(c *wire, _ func()) { c.half() }, authserver.MaybeProcessed},
		{"reset in the middle of the form", func(c *wire, _ func()) { c.half(); c.reset() }, authserver.MaybeProcessed},
		{"cut after the request", func(c *wire, _ func()) { c.request() }, authserver.MaybeProcessed},
		{"reset after the request", func(c *wire, _ func()) { c.request(); c.reset() }, authserver.MaybeProcessed},
		{"half a status line", func(c *wire, _ func()) { c.request(); c.write("HTTP/1.1 20") }, authserver.MaybeProcessed},
		{"half a header", func(c *wire, _ func()) { c.request(); c.write("HTTP/1.1 200 OK\r\nContent-Le") }, authserver.MaybeProcessed},
		{"no HTTP", func(c *wire, _ func()) { c.request(); c.write("220 mail ready\r\n") }, authserver.MaybeProcessed},
		{"half a body", func(c *wire, _ func()) { c.request(); c.write(half) }, authserver.MaybeProcessed},
		{"half a body, reset", func(c *wire, _ func()) { c.request(); c.write(half); c.reset() }, authserver.MaybeProcessed},
		{"half a refusal", func(c *wire, _ func()) {
			c.request()
			c.write(strings.Replace(half, "200 OK", "400 Bad Request", 1))
		}, authserver.MaybeProcessed},
		{"half a 503", func(c *wire, _ func()) {
			c.request()
			c.write(strings.Replace(half, "200 OK", "503 Service Unavailable", 1))
		}, authserver.NotProcessed},
		{"half a redirect", func(c *wire, _ func()) {
			c.request()
			c.write(strings.Replace(half, "200 OK", "307 Temporary Redirect\r\nLocation: /", 1))
		}, authserver.Misconfigured},
		{"half a body that ends where a form could", func(c *wire, _ func()) {
			c.request()
			c.write("HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\naccess_token=A")
		}, authserver.MaybeProcessed},
		{"no answer before the context ends", func(c *wire, cancel func()) { c.request(); cancel(); _, _ = c.in.ReadByte() }, authserver.Unanswered},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			address := listen(t, func(w *wire) { c.fault(w, cancel) })
			_, err := newClient(t).Token(ctx, address, refresh("RT-SENTINEL"), nil)
			requireFailure(t, err, c.want)
			require.NotContains(t, err.Error(), "SENTINEL")
		})
	}
}

// TestNothingLeaves holds the rows in which there is no connection.
func TestNothingLeaves(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := "http://" + l.Addr().String()
	require.NoError(t, l.Close())
	foreign := httptest.NewUnstartedServer(http.NotFoundHandler())
	foreign.Config.ErrorLog = quiet
	foreign.StartTLS()
	defer foreign.Close()
	plain := listen(t, func(c *wire) { _, _ = c.in.Peek(1); c.write("HTTP/1.1 400 Bad Request\r\n\r\n") })
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name    string
		ctx     context.Context
		address string
	}{
		{"nobody listens", t.Context(), closed},
		{"an unknown certificate", t.Context(), foreign.URL},
		{"no TLS", t.Context(), strings.Replace(plain, "http:", "https:", 1)},
		{"the context has ended", ended, foreign.URL},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := newClient(t).Token(c.ctx, c.address, refresh("RT"), func() error {
				t.Error("the gate was asked")
				return nil
			})
			f := requireFailure(t, err, authserver.NotProcessed)
			require.Zero(t, f.Status)
			require.Error(t, f.Err)
		})
	}
	_, err = newClient(t).Token(t.Context(), closed, refresh("RT"), nil)
	_, ok := errors.AsType[*net.OpError](err)
	require.True(t, ok, "the cause can be had: %v", err)
}

// ending is a body during which the context ends.
type ending struct{ cancel func() }

func (e ending) Read([]byte) (int, error) {
	e.cancel()
	return 0, context.Canceled
}

func TestTheContextEndsDuringTheBody(t *testing.T) {
	for status, want := range map[int]authserver.Outcome{
		200: authserver.Unanswered, 400: authserver.Unanswered, 500: authserver.Unanswered,
		429: authserver.NotProcessed, 503: authserver.NotProcessed, 307: authserver.Misconfigured,
	} {
		ctx, cancel := context.WithCancel(t.Context())
		client := newClient(t)
		client.HTTP.Transport = tripper(func(req *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, req.Body)
			return &http.Response{StatusCode: status, Body: io.NopCloser(ending{cancel})}, nil
		})
		_, err := client.Token(ctx, endpoint, refresh("RT"), nil)
		require.Equal(t, status, requireFailure(t, err, want).Status)
		require.ErrorIs(t, err, context.Canceled)
	}
}

package authserver

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"slices"
	"time"
)

const (
	idleLimit      = time.Second
	dialLimit      = 10 * time.Second
	handshakeLimit = 10 * time.Second
	headerLimit    = 64 << 10
)

// NewHTTPClient returns a copy of c, or a client with safe defaults when c is nil, for requests that
// carry secrets. It follows no redirect, keeps no cookies, speaks no TLS older than 1.2, and does not
// reuse a connection that has idled for more than a second: a POST that meets a closing connection is
// a lost answer that need not be. Timeout is kept. An *http.Transport is copied; another RoundTripper
// is used as it is. c itself is not changed.
func NewHTTPClient(c *http.Client) *http.Client {
	prepared := &http.Client{}
	if c != nil {
		*prepared = *c
	}
	prepared.Jar = nil
	prepared.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	switch t := prepared.Transport.(type) {
	case nil:
		prepared.Transport = defaultTransport()
	case *http.Transport:
		prepared.Transport = tightened(t)
	}
	return prepared
}

func defaultTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            boundedDial(nil),
		TLSHandshakeTimeout:    handshakeLimit,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        idleLimit,
		MaxResponseHeaderBytes: headerLimit,
	}
}

// tightened is a copy of t within the limits; what t sets tighter stays.
func tightened(t *http.Transport) *http.Transport {
	t = t.Clone()
	if t.IdleConnTimeout <= 0 || t.IdleConnTimeout > idleLimit {
		t.IdleConnTimeout = idleLimit
	}
	if t.TLSHandshakeTimeout <= 0 {
		t.TLSHandshakeTimeout = handshakeLimit
	}
	if t.MaxResponseHeaderBytes <= 0 {
		t.MaxResponseHeaderBytes = headerLimit // net/http's own is 10 MiB, for each of a flood of interim answers
	}
	if tc := t.TLSClientConfig; tc != nil {
		// Zero is Go's own floor, TLS 1.2; only a program that has lowered it needs correction.
		if tc.MinVersion != 0 && tc.MinVersion < tls.VersionTLS12 {
			tc.MinVersion = tls.VersionTLS12
		}
		// Clone copies the offer of HTTP/2 that net/http made for t, but not the ability: with the
		// offer alone the copy would speak HTTP/1 to a server that has agreed to HTTP/2.
		t.ForceAttemptHTTP2 = t.ForceAttemptHTTP2 || slices.Contains(tc.NextProtos, "h2")
	}
	//lint:ignore SA1019 a program's own Dial is left as it is
	if t.Dial == nil {
		t.DialContext = boundedDial(t.DialContext)
	}
	return t
}

// boundedDial is dial, or net's own, within the limit. Nothing else bounds it: net/http goes on with a
// dial whose request is over.
func boundedDial(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context, string, string) (net.Conn, error) {
	if dial == nil {
		return (&net.Dialer{Timeout: dialLimit}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, dialLimit)
		defer cancel()
		return dial(ctx, network, address)
	}
}

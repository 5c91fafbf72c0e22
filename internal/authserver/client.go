// Package authserver speaks to one authorization server in the name of one OAuth client: token
// endpoint, revocation, device authorization, discovery. It is the only code that does.
//
// It follows no redirect with a secret in hand, says explicitly how the client authenticates, bounds
// what it reads, shows no secret in what it returns, and tells a request that was surely not processed
// from one that may have been.
package authserver

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/evergrant/evergrant/internal/secret"
)

const (
	maxAnswer   = 1 << 20
	userAgent   = "evergrant"
	idleTimeout = time.Second
)

// Method is how a client authenticates (RFC 7591 §2).
type Method string

const (
	MethodBasic Method = "client_secret_basic"
	MethodPost  Method = "client_secret_post"
	MethodNone  Method = "none"
)

// Client is an OAuth client at an authorization server. It is immutable.
type Client struct {
	HTTP   *http.Client // made by NewHTTPClient
	ID     string
	Secret secret.String
	Method Method
}

// NewHTTPClient returns a copy of c, or a client with safe defaults when c is nil, for requests that
// carry secrets: it follows no redirect, keeps no cookies, and does not reuse a connection that has
// idled for more than a second. A POST that meets a closing connection is a lost answer that need not
// be. A RoundTripper that is not an *http.Transport is used as it is.
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
		t = t.Clone()
		if t.IdleConnTimeout == 0 || t.IdleConnTimeout > idleTimeout {
			t.IdleConnTimeout = idleTimeout
		}
		prepared.Transport = t
	}
	return prepared
}

func defaultTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSHandshakeTimeout:    10 * time.Second,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    4,
		IdleConnTimeout:        idleTimeout,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// Token makes a token request (RFC 6749 §3.2) with form, to which client authentication is added. gate,
// if not nil, is asked each time the form is about to be written, on a connection that is ready; its
// error stops the request before a byte of the form has left. Any error is a *Failure.
func (c *Client) Token(ctx context.Context, endpoint string, form url.Values, gate func() error) (*Answer, error) {
	r, err := c.post(ctx, endpoint, form, gate)
	if err != nil {
		return nil, err
	}
	return r.tokens()
}

// Revoke revokes a token (RFC 7009). typeHint is "refresh_token" or "access_token".
func (c *Client) Revoke(ctx context.Context, endpoint string, token secret.String, typeHint string) error {
	r, err := c.post(ctx, endpoint, url.Values{"token": {token.Reveal()}, "token_type_hint": {typeHint}}, nil)
	if err != nil {
		return err
	}
	if r.status == http.StatusOK || r.status == http.StatusNoContent {
		return nil
	}
	return r.failure()
}

// post sends form to endpoint and reads the answer. The error is a *Failure: there was no answer.
func (c *Client) post(ctx context.Context, endpoint string, form url.Values, gate func() error) (*reply, error) {
	sent, authorization := c.authenticate(form)
	var written atomic.Bool
	body := func() io.ReadCloser {
		return &gatedBody{Reader: strings.NewReader(sent.Encode()), gate: gate, written: &written}
	}
	hide := newScrubber(sent, c.Secret.Reveal(), authorization)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, body())
	if err != nil {
		return nil, &Failure{Outcome: Misconfigured, Err: hide.error(err)}
	}
	req.ContentLength = int64(len(sent.Encode()))
	req.GetBody = func() (io.ReadCloser, error) { return body(), nil }
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", userAgent)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return nil, noAnswer(ctx, written.Load(), hide.error(err))
	}
	defer resp.Body.Close()
	r := &reply{status: resp.StatusCode, header: resp.Header, hide: hide}
	r.body, err = io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return nil, r.cutShort(ctx, err)
	}
	return r, nil
}

// authenticate adds exactly one kind of client authentication (RFC 6749 §2.3): to a copy of form, or as
// an Authorization header.
func (c *Client) authenticate(form url.Values) (_ url.Values, authorization string) {
	sent := make(url.Values, len(form)+2)
	for name, values := range form {
		sent[name] = values
	}
	switch c.Method {
	case MethodBasic:
		// RFC 6749 §2.3.1: both are form-encoded before they are joined.
		pair := url.QueryEscape(c.ID) + ":" + url.QueryEscape(c.Secret.Reveal())
		return sent, "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
	case MethodPost:
		if !c.Secret.IsEmpty() {
			sent.Set("client_secret", c.Secret.Reveal())
		}
	}
	sent.Set("client_id", c.ID)
	return sent, ""
}

// gatedBody is a request body that asks its gate before its first byte, when the connection is ready.
type gatedBody struct {
	io.Reader
	gate    func() error
	asked   bool
	written *atomic.Bool
}

// Read implements io.Reader.
func (b *gatedBody) Read(p []byte) (int, error) {
	if !b.asked {
		if b.gate != nil {
			if err := b.gate(); err != nil {
				return 0, err
			}
		}
		b.asked = true
		b.written.Store(true)
	}
	return b.Reader.Read(p)
}

// Close implements io.Closer.
func (b *gatedBody) Close() error { return nil }

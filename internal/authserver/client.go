// Package authserver speaks to one authorization server in the name of one OAuth client: token
// endpoint, pushed authorization requests, revocation, device authorization, discovery, registration. It is the only code
// that does. It also finds out which server guards a resource, and keeps connections from addresses that are nobody's business.
//
// # Secrets
//
// A request that carries a secret goes over TLS or to this machine, follows no redirect, and says
// explicitly how the client authenticates: by one method, never by a guess. What comes back to the
// caller shows no secret: answers hold theirs in secret.String, and a [Failure] holds neither a body
// nor a value that was sent.
//
// # Failures
//
// The caller's question after a failed request is whether it may send the same thing again. A
// [Failure] answers it by its [Outcome], first of all by telling what surely never left this process
// from what may have been processed.
//
// # Concurrency
//
// A [Client] may be used by several goroutines at a time. Every request ends with its context; none
// leaves a goroutine behind, other than those of an idle connection, for a second.
package authserver

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/evergrant/evergrant/internal/jws"
	"github.com/evergrant/evergrant/internal/secret"
)

// userAgent names this library to servers; some refuse Go's default.
const userAgent = "evergrant"

// Client is an OAuth client at an authorization server. It is immutable.
type Client struct {
	HTTP   *http.Client // made by NewHTTPClient
	ID     string       // empty: no client_id is sent (RFC 7521 §4.1)
	Secret secret.String
	Method Method

	// For the methods that sign an assertion:

	Key       *jws.Key      // private_key_jwt
	Algorithm string        // of the signature
	Audience  string        // whom the assertions are for (RFC 7523 §3); empty: each for the URL that it is sent to
	Ahead     time.Duration // of the server's clock before the local one

	// Foreign, if not nil, gives the assertions of private_key_jwt in the place of Key: somebody else has signed them.
	Foreign func(context.Context) (string, error) `json:"-"`

	// DPoP binds the tokens that are asked for to a key; nil: they are Bearer tokens.
	DPoP *DPoP

	Dialect Dialect // of the server
}

// Token makes a token request (RFC 6749 §3.2) with form, to which client authentication is added. gate,
// if not nil, is asked each time the form is about to be written, on a connection that is ready; its
// error stops the request before a byte of the form has left (the header may have). After Token has
// returned nothing more of the form leaves. Any error is a *Failure.
func (c *Client) Token(ctx context.Context, endpoint string, form url.Values, gate func() error) (*Answer, error) {
	r, err := c.postProven(ctx, endpoint, form, gate)
	if err != nil {
		return nil, err
	}
	return r.tokens()
}

// Revoke revokes a token (RFC 7009). typeHint is "refresh_token", "access_token" or empty: none. A
// server also says yes to a token that it does not know. Any error is a *Failure.
func (c *Client) Revoke(ctx context.Context, endpoint string, token secret.String, typeHint string) error {
	var r *reply
	var err error
	if c.Dialect.RevokeByBearer {
		bearer := *c
		bearer.Method, bearer.Secret = methodBearer, token
		r, err = bearer.post(ctx, endpoint, nil, nil)
	} else {
		r, err = c.postToken(ctx, endpoint, token, typeHint)
	}
	if err != nil {
		return err
	}
	if r.succeeded() && !(c.Dialect.SuccessPath != "" && r.refuses()) {
		return nil // whatever the body says (RFC 7009 §2.2)
	}
	return r.failure()
}

// postToken makes a request about a token.
func (c *Client) postToken(ctx context.Context, endpoint string, token secret.String, typeHint string) (*reply, error) {
	form := url.Values{"token": {token.Reveal()}}
	if typeHint != "" {
		form.Set("token_type_hint", typeHint)
	}
	return c.post(ctx, endpoint, form, nil)
}

// post sends form to endpoint and reads the answer. The error is a *Failure: there was no answer.
func (c *Client) post(ctx context.Context, endpoint string, form url.Values, ask func() error) (*reply, error) {
	return c.send(ctx, endpoint, form, "", ask)
}

// send is post with a DPoP proof, if there is one.
func (c *Client) send(ctx context.Context, endpoint string, form url.Values, proof string, ask func() error) (*reply, error) {
	if limit := c.HTTP.Timeout; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	if err := checkEndpoint(endpoint, true); err != nil {
		return nil, &Failure{Outcome: Misconfigured, Err: fmt.Errorf("nothing was sent; check the endpoint's address: %w", err)}
	}
	shown, failure := c.authenticate(ctx, endpoint, form)
	if failure != nil {
		return nil, failure
	}
	_, credential, _ := strings.Cut(shown.header, " ")
	hide := newScrubber(shown.form, c.Secret.Reveal(), credential, proof)
	g := &gate{ask: ask}
	req, err := c.newPost(ctx, endpoint, shown.form, g)
	if err != nil {
		return nil, &Failure{Outcome: Misconfigured, Err: hide.error(err)}
	}
	if shown.header != "" {
		req.Header.Set("Authorization", shown.header)
	}
	if proof != "" {
		req.Header.Set("DPoP", proof)
	}
	// Not http.Client.Do, which reads a redirect's Location before it asks whether to follow.
	resp, err := c.HTTP.Transport.RoundTrip(req)
	written := g.seal()
	if err != nil {
		return nil, noAnswer(written, isTimeout(ctx, err), hide.error(err))
	}
	defer resp.Body.Close()
	r := readReply(ctx, resp, hide)
	r.method, r.bound = c.Method, c.DPoP != nil
	c.Dialect.translate(r, form)
	return r, nil
}

// newPost makes the request. GetBody lets net/http itself repeat a request that the server provably has not
// seen, or not looked at, on a connection that had died; the new body passes the gate as the first did. An
// assertion in it is as unused as before.
func (c *Client) newPost(ctx context.Context, endpoint string, form url.Values, g *gate) (*http.Request, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", userAgent)
	for name, value := range c.Dialect.Header {
		req.Header.Set(name, value)
	}
	if c.Method == methodBearer {
		return req, nil // there is nothing beside the header, and a type of nothing is refused by some
	}
	body, kind := c.Dialect.encode(form)
	req.Body = g.body(body)
	req.ContentLength = int64(len(body))
	req.GetBody = func() (io.ReadCloser, error) { return g.body(body), nil }
	req.Header.Set("Content-Type", kind)
	return req, nil
}

package authserver

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// Pushed is an answer of the pushed authorization request endpoint (RFC 9126 §2.2).
type Pushed struct {
	RequestURI string        // stands for the request, once
	Lifetime   time.Duration // of RequestURI; 0: not said
}

// Push hands an authorization request over (RFC 9126 §2.1). form holds its parameters. Any error is a *Failure.
func (c *Client) Push(ctx context.Context, endpoint string, form url.Values) (*Pushed, error) {
	r, err := c.post(ctx, endpoint, form, nil)
	if err != nil {
		return nil, err
	}
	if !r.succeeded() || r.refuses() {
		return nil, r.pushFailure()
	}
	if r.err != nil {
		return nil, r.garbled(r.err)
	}
	p := &Pushed{RequestURI: r.text("request_uri"), Lifetime: seconds(r.members["expires_in"])}
	if p.RequestURI == "" || !canShow(p.RequestURI) {
		return nil, r.garbled(errors.New("it has no request_uri, or none that can be sent on"))
	}
	return p, nil
}

// pushFailure is failure, with what the statuses of RFC 9126 §2.3 mean here.
func (r *reply) pushFailure() *Failure {
	f := r.failure()
	if r.status == http.StatusRequestEntityTooLarge && f.Err == nil {
		f.Outcome, f.Err = Misconfigured, errors.New("the authorization request is too long for the server; ask for less, or with shorter parameters")
	}
	return f
}

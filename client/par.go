package client

import (
	"cmp"
	"context"
	"net/url"
	"time"

	"github.com/evergrant/evergrant/internal/authserver"
)

// How long a pushed request is taken to be good where the server does not say (RFC 9126 §2.2: between 5 and 600 seconds), and
// at least, lest it be pushed again all the time.
const (
	defaultPushed = time.Minute
	leastPushed   = time.Second
)

// push hands p's authorization request over to the server, where it neither meets the person's browser nor grows too long
// for an address (RFC 9126). It is done wherever the metadata names an endpoint and the profile does not say that it is closed to
// this client: that says that it works, and a failure is not got round by sending the same openly.
func (s *Session) push(ctx context.Context, server *authserver.Client, m *authserver.Metadata, p *Pending, form url.Values) error {
	p.again = func(ctx context.Context) (string, time.Duration, error) {
		ctx, cancel := context.WithTimeout(ctx, spendLimit)
		defer cancel()
		pushed, err := server.Push(ctx, m.PushEndpoint, form)
		if err != nil {
			return "", 0, err
		}
		address, err := withQuery(m.AuthorizationEndpoint, url.Values{
			"client_id": {s.client.clientID(p.who())}, "request_uri": {pushed.RequestURI},
		})
		return address, max(cmp.Or(pushed.Lifetime, defaultPushed), leastPushed), err
	}
	var err error
	p.URL, p.life, err = p.again(ctx)
	return err
}

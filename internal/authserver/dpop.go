package authserver

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/evergrant/evergrant/internal/dpop"
)

// DPoP makes the proofs of the requests that tokens come from (RFC 9449 §5, §10.1).
type DPoP struct {
	// Prove makes a proof for a POST to target, see dpop.Target, with nonce if that is not empty.
	Prove func(target, nonce string) (string, error)
	// Servers remembers nonces and clocks.
	Servers *dpop.Servers
	// Again is asked before a form is sent again with another proof; its error stops that. Nil: it may always be.
	Again func(context.Context) error
}

// postProven is post with a proof, where there is a DPoP, and again with another proof if the server says so: once
// for a nonce (RFC 9449 §8), once for a clock. It says so before it looks at the form, so that a code or a refresh
// token in it may be sent again; ask is asked each time.
func (c *Client) postProven(ctx context.Context, endpoint string, form url.Values, ask func() error) (*reply, error) {
	if c.DPoP == nil {
		return c.post(ctx, endpoint, form, ask)
	}
	address, err := url.Parse(endpoint)
	if err != nil {
		return c.post(ctx, endpoint, form, ask) // which says why that does not do
	}
	target := dpop.Target(address, "")
	nonce, nonced, dated := c.DPoP.Servers.Nonce(target), false, false
	for {
		proof, err := c.DPoP.Prove(target, nonce)
		if err != nil {
			// A key service may be back for the next try.
			return nil, &Failure{Outcome: NotProcessed, Err: fmt.Errorf("nothing was sent; the DPoP proof cannot be made: %w", err)}
		}
		r, err := c.send(ctx, endpoint, form, proof, ask)
		if err != nil {
			return nil, err
		}
		given := c.DPoP.Servers.NoticeNonce(target, r.header)
		switch want := r.wantedProof(); {
		case want == "use_dpop_nonce" && !nonced && given != "" && given != nonce:
			nonced = true
		case want == "invalid_dpop_proof" && !dated:
			c.DPoP.Servers.NoticeDate(target, r.header, time.Now())
			dated = true
		default:
			return r, nil
		}
		if given != "" {
			nonce = given
		}
		if again := c.DPoP.Again; again != nil {
			if err := again(ctx); err != nil {
				return nil, &Failure{Outcome: NotProcessed, Err: fmt.Errorf("the server wants another DPoP proof, and it is too late for one: %w", err)}
			}
		}
	}
}

// wantedProof is the error that asks for another proof; "" if none does. Some servers say it under 401.
func (r *reply) wantedProof() string {
	if code := r.text("error"); r.status == http.StatusBadRequest || r.status == http.StatusUnauthorized {
		return code
	}
	return ""
}

package authserver

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/evergrant/evergrant/internal/secret"
	"github.com/evergrant/evergrant/internal/words"
)

const (
	defaultInterval = 5 * time.Second // RFC 8628 §3.2
	longestInterval = time.Hour
	defaultLifetime = 30 * time.Minute // expires_in is required; who omits it means a while
)

// Device is an answer of the device authorization endpoint (RFC 8628 §3.2). What a person is shown
// is printable as it stands, and its addresses are https or http to this machine.
type Device struct {
	DeviceCode              secret.String
	UserCode                string // exactly as sent
	VerificationURI         string
	VerificationURIComplete string        // empty: none
	Lifetime                time.Duration // of both codes
	Interval                time.Duration // to wait before each poll
}

// AuthorizeDevice begins a device login (RFC 8628 §3.1). form holds its parameters and may be nil. Any
// error is a *Failure.
func (c *Client) AuthorizeDevice(ctx context.Context, endpoint string, form url.Values) (*Device, error) {
	r, err := c.post(ctx, endpoint, form, nil)
	if err != nil {
		return nil, err
	}
	if !r.succeeded() || r.refuses() {
		return nil, r.failure()
	}
	if r.err != nil {
		return nil, r.garbled(r.err)
	}
	d, err := r.device()
	if err != nil {
		return nil, r.garbled(err)
	}
	return d, nil
}

func (r *reply) device() (*Device, error) {
	d := &Device{
		DeviceCode:              secret.New(r.text("device_code")),
		UserCode:                r.text("user_code"),
		VerificationURI:         r.text("verification_uri"),
		VerificationURIComplete: r.text("verification_uri_complete"),
		Lifetime:                seconds(r.members["expires_in"]),
		Interval:                min(seconds(r.members["interval"]), longestInterval),
	}
	if d.VerificationURI == "" {
		d.VerificationURI = r.text("verification_url") // as Google writes it
	}
	if d.Interval == 0 {
		d.Interval = defaultInterval
	}
	if d.Lifetime == 0 {
		d.Lifetime = defaultLifetime
	}
	if d.DeviceCode.IsEmpty() || d.UserCode == "" {
		return nil, errors.New("it has no device_code or no user_code")
	}
	if !canShow(d.UserCode) {
		return nil, errors.New("its user_code cannot be shown to a person")
	}
	if err := checkShown(d.VerificationURI); err != nil {
		return nil, fmt.Errorf("its verification_uri is %w", err)
	}
	if checkShown(d.VerificationURIComplete) != nil {
		d.VerificationURIComplete = "" // optional: the person types the code
	}
	return d, nil
}

// checkShown accepts an address that a person is sent to.
func checkShown(address string) error {
	if !canShow(address) {
		return errors.New("not printable or too long")
	}
	return checkEndpoint(address, true)
}

// canShow reports whether text can be put on a terminal as it is: a server's escape sequences are not
// run, and its codes do not look like others.
func canShow(text string) bool {
	const most = 4096
	return len(text) <= most && strings.IndexFunc(text, func(r rune) bool { return !words.IsPrintable(r) }) < 0
}

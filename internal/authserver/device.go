package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/evergrant/evergrant/internal/secret"
)

// Device is an answer of the device authorization endpoint (RFC 8628 §3.2).
type Device struct {
	DeviceCode              secret.String
	UserCode                string
	VerificationURI         string
	VerificationURIComplete string // empty: none
	Lifetime                time.Duration
	Interval                time.Duration
}

// AuthorizeDevice begins a device login (RFC 8628 §3.1).
func (c *Client) AuthorizeDevice(ctx context.Context, endpoint string, form url.Values) (*Device, error) {
	r, err := c.post(ctx, endpoint, form, nil)
	if err != nil {
		return nil, err
	}
	members, err := r.members()
	if r.status != http.StatusOK || err == nil && text(members, "error") != "" {
		return nil, r.failure()
	}
	if err == nil {
		var d *Device
		if d, err = device(members); err == nil {
			return d, nil
		}
	}
	return nil, r.garbled(err)
}

func device(members map[string]json.RawMessage) (*Device, error) {
	d := &Device{
		DeviceCode:              secret.New(text(members, "device_code")),
		UserCode:                text(members, "user_code"),
		VerificationURI:         text(members, "verification_uri"),
		VerificationURIComplete: text(members, "verification_uri_complete"),
		Lifetime:                seconds(members["expires_in"]),
		Interval:                min(seconds(members["interval"]), time.Hour),
	}
	if d.VerificationURI == "" {
		d.VerificationURI = text(members, "verification_url") // as Google writes it
	}
	if d.Interval == 0 {
		d.Interval = 5 * time.Second
	}
	if d.Lifetime == 0 {
		d.Lifetime = 30 * time.Minute
	}
	if d.DeviceCode.IsEmpty() || d.UserCode == "" {
		return nil, errors.New("it has no device_code or no user_code")
	}
	if err := checkURL(d.VerificationURI); err != nil {
		return nil, fmt.Errorf("its verification_uri %w", err)
	}
	if d.VerificationURIComplete != "" && checkURL(d.VerificationURIComplete) != nil {
		d.VerificationURIComplete = ""
	}
	return d, nil
}

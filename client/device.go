package client

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/evergrant/evergrant/internal/authserver"
)

// Device logs a person in who has a browser on another device only (RFC 8628). The person is shown a
// code and an address by Prompt; the login ends when the person has confirmed or refused there, or with
// Code "expired_token" when the code's time is over. It is not begun anew by itself: see RFC 8628 §3.5.
//
// The server is asked no more often than it says, every 5 seconds if it does not, and less often
// after each slow_down. While it cannot be reached it is asked ever less often, and the login goes on.
type Device struct {
	// Scopes are asked for beside those of the Config. Nil: those alone.
	Scopes []string

	// Params are further parameters of the device authorization request, such as "audience", "authorization_details" or
	// "resource", which may have several values.
	Params url.Values

	// Replace lets another subject than the stored one log in.
	Replace bool

	// Prompt shows v to the person, and returns without waiting for what the person does; its error
	// ends the login. It is required.
	Prompt func(ctx context.Context, v Verification) error
}

// Verification is what a person needs to confirm a login on another device (RFC 8628 §3.2, §3.3). Whoever
// knows the code can confirm with another account: show it, do not log it.
type Verification struct {
	// UserCode is to be shown exactly as it is, also beside a URIComplete.
	UserCode string
	// URI is where the code is to be entered: https, or a loopback address.
	URI string
	// URIComplete holds the code already, for a QR code or a link; empty where the server has none.
	URIComplete string
	// Expiry is when the code ends, by the local clock.
	Expiry time.Time
}

const (
	deviceGrant = "urn:ietf:params:oauth:grant-type:device_code"
	slowDown    = 5 * time.Second // RFC 8628 §3.5
	// unreachedMost bounds the pauses while the server cannot be reached: a person who has confirmed
	// meanwhile is not kept waiting much longer.
	unreachedMost = time.Minute
)

// login implements Flow.
func (d Device) login(ctx context.Context, s *Session) (_ *loggedIn, err error) {
	if d.Prompt == nil {
		return nil, &ConfigError{"Device.Prompt", "is nil; set a function that shows the person the code"}
	}
	asked, err := askedFor("Device.Params", d.Params,
		"scope", "client_id", "client_secret", "client_assertion", "client_assertion_type")
	if err != nil {
		return nil, err
	}
	resource, err := s.target()
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.client.whileOpen(ctx)
	defer cancel()
	metadata, err := s.client.metadata.get(ctx, s.client)
	if err != nil {
		return nil, err
	}
	if metadata.DeviceAuthorizationEndpoint == "" {
		return nil, &ConfigError{"Config.Endpoint.DeviceAuthURL", "is empty, and " + metadata.Lacks("device_authorization_endpoint").Error()}
	}
	scopes, err := wider(s.client.ownScopes(metadata), "Device.Scopes", d.Scopes)
	if err != nil {
		return nil, err
	}
	server, who, err := s.client.identify(ctx, metadata, deviceGrant, "")
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.client.unregister(ctx, who)
		}
	}()
	binding, err := s.client.newBinding(metadata.DPoPSigningAlgs)
	if err == nil {
		server, err = s.client.proving(server, metadata, binding)
	}
	if err != nil {
		return nil, err
	}
	if indicated := s.client.indicated(resource); indicated != "" && !slices.Contains(asked["resource"], indicated) {
		asked.Add("resource", indicated)
	}
	scopeParam(asked, scopes)
	within, cancel := context.WithTimeout(ctx, spendLimit)
	code, err := server.AuthorizeDevice(within, metadata.DeviceAuthorizationEndpoint, asked)
	cancel()
	if err != nil {
		return nil, err
	}
	now := s.client.machine.Now()
	expiry := now.Wall.Add(code.Lifetime)
	if err := d.Prompt(ctx, Verification{code.UserCode, code.VerificationURI, code.VerificationURIComplete, expiry}); err != nil {
		return nil, fmt.Errorf("the code cannot be shown: %w", err)
	}
	form := url.Values{"grant_type": {deviceGrant}, "device_code": {code.DeviceCode.Reveal()}}
	if resource != "" {
		form.Set("resource", s.client.indicated(resource)) // RFC 8707 §2.2
	}
	got, err := s.poll(ctx, server, metadata.TokenEndpoint, form, code.Interval, at(expiry, now))
	if err != nil {
		return nil, err
	}
	got.client, got.scopes, got.resource, got.replace, got.binding = who, scopes, resource, d.Replace, binding
	return got, nil
}

// poll asks the token endpoint until it has an answer or the code's time is over (RFC 8628 §3.4, §3.5).
func (s *Session) poll(ctx context.Context, server *authserver.Client, endpoint string, form url.Values, interval time.Duration, end moment) (*loggedIn, error) {
	for pause := interval; ; {
		if err := sleep(ctx, min(pause, end.mono-s.client.machine.Now().Mono)); err != nil {
			return nil, err
		}
		now := s.client.machine.Now()
		if end.hasCome(now) {
			return nil, &Error{
				Op: "login", Issuer: s.client.issuer(), Session: s.key, Code: "expired_token",
				Err: errors.New("nobody has confirmed the code in time; begin the login anew"),
			}
		}
		within, cancel := context.WithTimeout(ctx, spendLimit)
		answer, err := server.Token(within, endpoint, form, nil)
		cancel()
		if err == nil {
			return &loggedIn{answer: answer, sent: now.Wall}, nil
		}
		if ctx.Err() != nil {
			return nil, ended(ctx)
		}
		f, _ := errors.AsType[*authserver.Failure](err)
		switch {
		case f != nil && f.Code == "authorization_pending":
			pause = interval
		case f != nil && f.Code == "slow_down":
			interval += slowDown
			pause = interval
		case f != nil && isTransient(f):
			pause = min(2*pause, max(2*interval, unreachedMost))
		default:
			return nil, fmt.Errorf("the login on the other device has come to nothing; begin it anew: %w", err)
		}
		pause = max(pause, f.RetryAfter)
	}
}

// isTransient reports whether a failure says nothing about the device code: no answer, one from a proxy,
// or one from a server in trouble. Any word of the server's own about the code ends the login.
func isTransient(f *authserver.Failure) bool {
	switch f.Outcome {
	case authserver.NotProcessed, authserver.MaybeProcessed, authserver.Unanswered:
		return f.Code != "access_denied" && f.Code != "expired_token"
	case authserver.Unrelated:
		return f.Code == ""
	}
	return false
}

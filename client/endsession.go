package client

import (
	"context"
	"errors"
	"fmt"
	"net/url"
)

// EndSessionURL returns the address at which the server logs the person out of itself (OpenID Connect RP-Initiated Logout 1.0):
// send the person's browser there. params are those of the logout request, such as "post_logout_redirect_uri", which has
// to be registered, "state" and "ui_locales"; nil: none. id_token_hint and client_id are added.
//
// Take the address before Logout, which deletes the id token, and send the browser there after it. It holds the id token: it is for this
// one browser, and not to be logged. The error wraps errors.ErrUnsupported where the server has no such endpoint. Nothing but
// its metadata is asked of the server.
func (s *Session) EndSessionURL(ctx context.Context, params url.Values) (string, error) {
	address, err := s.endSessionURL(ctx, params)
	return address, s.fail("end session", err)
}

func (s *Session) endSessionURL(ctx context.Context, params url.Values) (string, error) {
	if err := reserved("EndSessionURL's params", params, "id_token_hint", "client_id"); err != nil {
		return "", err
	}
	const back = "post_logout_redirect_uri"
	if params.Has(back) {
		if reason := wrongRedirect(params.Get(back)); reason != "" {
			return "", &ConfigError{"EndSessionURL's " + back, reason}
		}
	}
	hint, clientID, err := s.idToken(ctx)
	if err != nil && !errors.Is(err, ErrIDToken) {
		return "", err // without an id token, the server asks the person
	}
	m, err := s.client.metadata.get(ctx, s.client)
	if err != nil {
		return "", err
	}
	if m, err = s.client.withOpenID(ctx, m, m.EndSessionEndpoint); err != nil {
		return "", err
	}
	if m.EndSessionEndpoint == "" {
		return "", fmt.Errorf("%w: %w", m.Lacks("end_session_endpoint"), errors.ErrUnsupported)
	}
	query := cloned(params)
	query.Set("client_id", clientID)
	if hint != "" {
		query.Set("id_token_hint", hint)
	}
	return withQuery(m.EndSessionEndpoint, query)
}

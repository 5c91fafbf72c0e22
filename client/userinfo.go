package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"slices"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/transport"
)

// UserInfo asks the server's UserInfo endpoint for claims about the person and decodes them into into, as json.Unmarshal does
// (OpenID Connect Core §5.3). The request goes through the session: with its token, renewed if need be, and with a proof where that
// is bound to a key. A signed answer (application/jwt) is verified.
//
// The claims count only if their sub is that of the id token (§5.3.2); otherwise, and when a signature is not good, the
// error wraps ErrIDToken and into is left alone. It wraps errors.ErrUnsupported where the server has no such endpoint. A
// server's refusal is an *Error with its StatusCode.
func (s *Session) UserInfo(ctx context.Context, into any) error {
	ctx, cancel := context.WithTimeout(ctx, flightLimit)
	defer cancel()
	return s.fail("userinfo", s.userInfo(ctx, into))
}

func (s *Session) userInfo(ctx context.Context, into any) error {
	raw, clientID, err := s.idToken(ctx)
	if err != nil {
		return err
	}
	known, err := parseIDToken(raw)
	if err != nil {
		return err
	}
	m, err := s.client.metadata.get(ctx, s.client)
	if err != nil {
		return err
	}
	if m, err = s.client.withOpenID(ctx, m, m.UserInfoEndpoint); err != nil {
		return err
	}
	if m.UserInfoEndpoint == "" {
		return fmt.Errorf("%w: %w", m.Lacks("userinfo_endpoint"), errors.ErrUnsupported)
	}
	body, kind, err := s.askUserInfo(ctx, m.UserInfoEndpoint)
	if err == nil && kind == "application/jwt" {
		body, err = s.client.verifyUserInfo(ctx, string(body), clientID, m)
	}
	if err != nil {
		return err
	}
	if body, err = exactly(body); err != nil {
		return fmt.Errorf("the answer cannot be read: %w", err)
	}
	var claims struct {
		Subject string `json:"sub"`
	}
	if json.Unmarshal(body, &claims) != nil || !same(claims.Subject, known.Subject) {
		return fmt.Errorf("%w for these claims: they are about somebody else (sub)", ErrIDToken)
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("the claims do not fit into a %T: %w", into, err)
	}
	return nil
}

// askUserInfo makes the request with the account's own token: those for resources are not for the server itself. It
// returns the body and its media type.
func (s *Session) askUserInfo(ctx context.Context, endpoint string) ([]byte, string, error) {
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, "", err
	}
	hc := s.client.http
	if limit := hc.Timeout; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	asking := &transport.Transport{
		Source: s.view(""), Base: authserver.Scrubbed(hc.Transport), Origins: []string{u.Scheme + "://" + u.Host}, Rejected: isBareForbidden,
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint, nil)
	if err != nil {
		return nil, "", err
	}
	req.Header.Set("Accept", "application/json, application/jwt")
	resp, err := asking.RoundTrip(req) // not http.Client.Do, which reads a redirect's Location before it asks whether to follow
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, "", &Error{
			Op: "userinfo", Issuer: s.client.issuer(), Session: s.key, StatusCode: resp.StatusCode,
			Err: fmt.Errorf("the server has answered %d; the token needs the scope openid", resp.StatusCode),
		}
	}
	body, err := authserver.ReadAnswer(resp.Body)
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return body, kind, err
}

// isBareForbidden reports whether an answer is what zitadel's and Dex's UserInfo endpoints say of a token that is dead: 403, and
// no challenge. One that lacks a scope is told so by a challenge (RFC 6750 §3.1); where it is not, a renewal is spent in vain.
func isBareForbidden(resp *http.Response) bool {
	return resp.StatusCode == http.StatusForbidden && resp.Header.Get("WWW-Authenticate") == ""
}

// verifyUserInfo checks a signed answer (OpenID Connect Core §5.3.2). Whom it is from and for is checked where it says so.
func (c *Client) verifyUserInfo(ctx context.Context, raw, clientID string, m *authserver.Metadata) ([]byte, error) {
	m, err := c.withKeys(ctx, m)
	if err != nil {
		return nil, err
	}
	if m.KeysURI == "" {
		return nil, fmt.Errorf("%w for these claims: they are signed, and the server's metadata, its OpenID document included, names no jwks_uri", ErrIDToken)
	}
	keys := &signatures{client: c, keysURI: m.KeysURI, allowed: c.algorithms(m.UserInfoAlgorithms), raw: raw}
	body, err := keys.VerifySignature(ctx, "")
	var claims idClaims
	switch _, failed := errors.AsType[*keysError](err); {
	case failed:
		return nil, err
	case err != nil:
	case json.Unmarshal(body, &claims) != nil:
		err = errors.New("they cannot be read")
	case claims.Issuer != "" && claims.Issuer != m.Issuer:
		err = fmt.Errorf("they are from another issuer than %q", m.Issuer)
	case len(claims.Audience) > 0 && !slices.Contains(claims.Audience, clientID):
		err = errors.New("they are for another client")
	}
	if err != nil {
		return nil, fmt.Errorf("%w for the signed claims: %w", ErrIDToken, err)
	}
	return body, nil
}

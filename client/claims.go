package client

import (
	"context"
	"encoding/json"
	"fmt"
)

// Claims decodes the claims of the grant's id token into into, as json.Unmarshal does (OpenID Connect Core §2): who
// logged in, when and how. It reads the store and nothing else. The id token is the newest that was good: that of the login,
// or of a refresh, where the server sends one; iat says when it is from. It was checked when it came, and may have expired
// since: that ends nothing. Key users by iss and sub together.
//
// Without an id token, as without the scope openid and with a Config.Grant, the error wraps ErrIDToken; without a
// grant, ErrLoginRequired.
func (s *Session) Claims(ctx context.Context, into any) error {
	raw, _, err := s.idToken(ctx)
	if err == nil {
		err = decodeClaims(raw, into)
	}
	if err != nil {
		return s.client.fail("claims", s.key, err)
	}
	return nil
}

func decodeClaims(raw string, into any) error {
	data, err := payload(raw)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("the claims do not fit into a %T: %w", into, err)
	}
	return nil
}

// idToken is the newest good id token of the grant, and the client that it is for, which is known where there is none, too.
func (s *Session) idToken(ctx context.Context) (raw, clientID string, err error) {
	if s.client.tasks.isClosed() {
		return "", "", ErrClosed
	}
	if s.client.config.Grant != nil {
		return "", s.client.config.ClientID, fmt.Errorf("%w: there is none, because nobody has logged in; Config.Grant needs no person", ErrIDToken)
	}
	st, err := s.load(ctx)
	if err != nil {
		return "", "", err
	}
	if st.record == nil {
		return "", "", &loginRequired{cause: causeAbsent}
	}
	raw, clientID = s.newest(st.record).IDToken, s.client.clientID(st.record.Client)
	if raw == "" {
		return "", clientID, fmt.Errorf("%w: there is none; add openid to Config.Scopes and log in again", ErrIDToken)
	}
	return raw, clientID, nil
}

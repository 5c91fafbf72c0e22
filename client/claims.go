package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/evergrant/evergrant/internal/authserver"
)

// Claims decodes the claims of the grant's id token into into, as json.Unmarshal does (OpenID Connect Core §2): who
// logged in, when and how. It reads the store and nothing else. The id token is the newest that was good: that of the login,
// or of a refresh, where the server sends one; iat says when it is from. It was checked when it came, and may have expired
// since: that ends nothing. Key users by iss and sub together;
// Session.Start says how their sessions are keyed.
//
// Without an id token, as without the scope openid and with a Config.Grant, the error wraps ErrIDToken; without a
// grant, ErrLoginRequired.
func (s *Session) Claims(ctx context.Context, into any) error {
	raw, _, err := s.idToken(ctx)
	if err == nil {
		err = decodeClaims(raw, into)
	}
	return s.fail("claims", err)
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

// idClaims are the claims of an id token that it is checked by (OpenID Connect Core §2).
type idClaims struct {
	Issuer          string   `json:"iss"`
	Subject         string   `json:"sub"`
	Audience        audience `json:"aud"`
	AuthorizedParty string   `json:"azp"`
	IssuedAt        *float64 `json:"iat"`
	Nonce           string   `json:"nonce"`
	AuthTime        *float64 `json:"auth_time"`
	ACR             string   `json:"acr"`
	AccessTokenHash string   `json:"at_hash"`
}

// audience is one string or several (RFC 7519 §4.1.3).
type audience []string

// UnmarshalJSON implements json.Unmarshaler.
func (a *audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = audience{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// payload are the claims in a JWS, unverified. Its errors quote nothing.
func payload(raw string) ([]byte, error) {
	parts := strings.Split(raw, ".")
	if len(parts) == 3 {
		if data, err := base64.RawURLEncoding.DecodeString(parts[1]); err == nil {
			return exactly(data)
		}
	}
	return nil, errors.New("it is not a JWS")
}

// deciding are the claims that something is decided by.
var deciding = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "nonce", "at_hash", "azp", "auth_time", "acr"}

// exactly is a set of claims in which every name is there once (RFC 7519 §4) and names mean what they say (§7.3): what
// is like that of a deciding claim but for its letters' case is left out, because encoding/json takes it for that.
func exactly(data []byte) ([]byte, error) {
	claims, err := authserver.Members(data)
	if err != nil {
		return nil, err
	}
	maps.DeleteFunc(claims, func(name string, _ json.RawMessage) bool {
		return slices.ContainsFunc(deciding, func(claim string) bool { return name != claim && strings.EqualFold(name, claim) })
	})
	return json.Marshal(claims)
}

// parseIDToken reads claims and verifies nothing.
func parseIDToken(raw string) (idClaims, error) {
	var claims idClaims
	data, err := payload(raw)
	if err == nil && json.Unmarshal(data, &claims) != nil {
		err = errors.New("its claims cannot be read") // the cause may quote them
	}
	return claims, err
}

package client

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// idClaims are the claims of an id token that a login is checked by.
type idClaims struct {
	Issuer   string   `json:"iss"`
	Subject  string   `json:"sub"`
	Audience audience `json:"aud"`
	Nonce    string   `json:"nonce"`
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

// parseIDToken reads the claims. The signature is not looked at: the token came from the token
// endpoint over TLS, which vouches for it (OpenID Connect Core §3.1.3.7, rule 6).
func parseIDToken(raw string) (idClaims, error) {
	var claims idClaims
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return claims, errors.New("the id token is not a JWS")
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err == nil {
		err = json.Unmarshal(payload, &claims)
	}
	if err != nil {
		return claims, errors.New("the id token cannot be read") // the cause may quote it
	}
	return claims, nil
}

// checkIDToken checks that the id token of a login is for this client, from this issuer, and
// answers this login (OpenID Connect Core §3.1.3.7). A login without an id token has no subject.
func (c *Client) checkIDToken(raw, nonce string) (idClaims, error) {
	if raw == "" {
		return idClaims{}, nil
	}
	claims, err := parseIDToken(raw)
	switch {
	case err != nil:
		return claims, err
	case c.config.Issuer != "" && claims.Issuer != c.config.Issuer:
		return claims, fmt.Errorf("the id token is from another issuer than %q", c.config.Issuer)
	case !slices.Contains(claims.Audience, c.config.ClientID):
		return claims, errors.New("the id token is for another client")
	case claims.Subject == "":
		return claims, errors.New("the id token names no subject")
	case nonce != "" && claims.Nonce != nonce:
		return claims, errors.New("the id token answers another login: its nonce differs")
	}
	return claims, nil
}

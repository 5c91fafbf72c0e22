package authserver

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/evergrant/evergrant/internal/jws"
)

const (
	assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" // RFC 7523 §2.2
	// assertionHeader is the explicit type that the update of RFC 7523 gives to the JWTs of clients; Dialect.AssertionType
	// goes before it.
	assertionHeader = "client-authentication+jwt"
	// assertionLife is short: some servers refuse what lives longer, and each assertion is used at once.
	assertionLife = time.Minute
)

// Claims are those of one assertion (RFC 7523 §3). There is no nbf: it would say nothing that iat does not, and refuse a
// clock that is a little ahead.
type Claims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub,omitempty"`
	Audience string `json:"aud"` // a string, not an array
	ID       string `json:"jti"`
	Issued   int64  `json:"iat"`
	Expiry   int64  `json:"exp"`
}

// NewClaims makes claims with an id of their own.
func NewClaims(issuer, subject, audience string, now time.Time, life time.Duration) Claims {
	return Claims{issuer, subject, audience, rand.Text(), now.Unix(), now.Add(life).Unix()}
}

// assertion makes the JWT that one request to endpoint authenticates with (RFC 7523 §3), or asks for it.
func (c *Client) assertion(ctx context.Context, endpoint string) (string, error) {
	if c.Method == MethodKeyJWT && c.Foreign != nil {
		assertion, err := c.Foreign(ctx)
		if err == nil && assertion == "" {
			err = errors.New("it is empty")
		}
		return assertion, err
	}
	claims := NewClaims(c.ID, c.ID, cmp.Or(c.Audience, endpoint), time.Now().Add(c.Ahead), assertionLife)
	header := jws.Header{Algorithm: c.Algorithm, Type: cmp.Or(c.Dialect.AssertionType, assertionHeader)}
	if c.Method == MethodSecretJWT {
		return hmac(c.Secret.Reveal(), header, claims)
	}
	return c.Key.Sign(header, claims)
}

// hmacs are the algorithms of client_secret_jwt and the lengths of their hashes, in bytes.
var hmacs = []struct {
	name string
	size int
}{{"HS256", 32}, {"HS384", 48}, {"HS512", 64}}

// HMAC chooses the algorithm for an assertion under secret: the first of those offered. Nothing offered: HS256. A
// secret that is shorter than its hash is refused (RFC 7518 §3.2).
func HMAC(secret string, offered []string) (string, error) {
	for _, h := range hmacs {
		if len(offered) > 0 && !slices.Contains(offered, h.name) {
			continue
		}
		if len(secret) < h.size {
			return "", fmt.Errorf("is %d bytes long; %s needs %d (RFC 7518 §3.2)", len(secret), h.name, h.size)
		}
		return h.name, nil
	}
	return "", errors.New("cannot sign an assertion: the server takes none of HS256, HS384 and HS512")
}

// hmac makes a JWS under secret. Only HMAC has chosen the algorithm.
func hmac(secret string, header jws.Header, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	key := jose.SigningKey{Algorithm: jose.SignatureAlgorithm(header.Algorithm), Key: []byte(secret)}
	signer, err := jose.NewSigner(key, (&jose.SignerOptions{}).WithType(jose.ContentType(header.Type)))
	if err != nil {
		return "", err
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

package dpop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/go-jose/go-jose/v4"

	"github.com/evergrant/evergrant/internal/jws"
	"github.com/evergrant/evergrant/internal/words"
)

// Key makes proofs with one key by one algorithm.
type Key struct {
	key        *jws.Key
	algorithm  string
	thumbprint string
	header     string // of every proof, encoded
}

// NewKey makes a Key of key. algorithm is what proofs are signed with; empty: the first that key has among offered, the
// server's dpop_signing_alg_values_supported, which may be empty too. A server that offers what the key cannot is an
// error.
func NewKey(key *jws.Key, algorithm string, offered []string) (*Key, error) {
	algorithm, err := key.Algorithm(algorithm, offered)
	if err != nil {
		return nil, err
	}
	if len(offered) > 0 && !slices.Contains(offered, algorithm) {
		return nil, fmt.Errorf("the server takes no proofs signed with %s", algorithm)
	}
	thumbprint, err := key.Thumbprint()
	if err != nil {
		return nil, err
	}
	header, err := header(key, algorithm)
	if err != nil {
		return nil, err
	}
	return &Key{key, algorithm, thumbprint, header}, nil
}

// header is a proof's: the public key, and no key id (RFC 9449 §4.2).
func header(key *jws.Key, algorithm string) (string, error) {
	public, err := key.Public()
	if err != nil {
		return "", err
	}
	var members map[string]any
	if err := json.Unmarshal(public, &members); err != nil {
		return "", err
	}
	delete(members, "kid")
	text, err := json.Marshal(struct {
		Type      string         `json:"typ"`
		Algorithm string         `json:"alg"`
		Key       map[string]any `json:"jwk"`
	}{"dpop+jwt", algorithm, members})
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(text), nil
}

// Thumbprint is that of the public key (RFC 7638): dpop_jkt (RFC 9449 §10).
func (k *Key) Thumbprint() string { return k.thumbprint }

// generators make private keys, the preferred one first: what most servers take, small and quick, and RSA last.
var generators = []struct {
	algorithm string
	make      func() (crypto.Signer, error)
}{
	{"ES256", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }},
	{"EdDSA", func() (crypto.Signer, error) { _, key, err := ed25519.GenerateKey(rand.Reader); return key, err }},
	{"Ed25519", func() (crypto.Signer, error) { _, key, err := ed25519.GenerateKey(rand.Reader); return key, err }},
	{"ES384", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P384(), rand.Reader) }},
	{"ES512", func() (crypto.Signer, error) { return ecdsa.GenerateKey(elliptic.P521(), rand.Reader) }},
	{"PS256", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }},
	{"RS256", func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }},
}

// Generate makes a private key for an algorithm that the server offers, ES256 where it offers nothing, as a JWK (RFC
// 7517) that names the algorithm. The text is secret.
func Generate(offered []string) (private json.RawMessage, err error) {
	for _, g := range generators {
		if len(offered) > 0 && !slices.Contains(offered, g.algorithm) {
			continue
		}
		key, err := g.make()
		if err != nil {
			return nil, err
		}
		return jose.JSONWebKey{Key: key, Algorithm: g.algorithm}.MarshalJSON()
	}
	return nil, fmt.Errorf("the server takes proofs signed with %s, of which none can be made", words.List(offered))
}

// Parse reads what Generate has made. Its errors quote nothing.
func Parse(private json.RawMessage) (*Key, error) {
	var stored jose.JSONWebKey
	if stored.UnmarshalJSON(private) != nil {
		return nil, errors.New("it is not a JWK")
	}
	signer, ok := stored.Key.(crypto.Signer)
	if !ok || !stored.Valid() {
		return nil, errors.New("it is not a private key")
	}
	key, err := jws.NewKey(signer, "")
	if err != nil {
		return nil, err
	}
	return NewKey(key, stored.Algorithm, nil)
}

// Format implements fmt.Formatter for every verb.
func (k *Key) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "[DPoP key for %s]", k.algorithm) }

// LogValue implements slog.LogValuer.
func (k *Key) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(k)) }

// MarshalText implements encoding.TextMarshaler, for JSON.
func (k *Key) MarshalText() ([]byte, error) { return []byte(fmt.Sprint(k)), nil }

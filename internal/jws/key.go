// Package jws signs JSON Web Signatures (RFC 7515) with any crypto.Signer, so that a private key may stay in a
// hardware module or a key service.
//
// # Algorithms
//
// ES256, ES384, ES512, EdDSA and Ed25519, RS256 to RS512 and PS256 to PS512, as far as the key's type has them. EdDSA
// is the older name of Ed25519 (RFC 9864 §2.2): no other curve of it is known here. There is no way to ask for
// "none" or for an HMAC here. An RSA key shorter than 2048 bits is refused (RFC 7518 §3.3). Nor is a signature verified with one
// longer than 4096 bits, go-jose's bound, which keeps an issuer from making that slow.
//
// # Secrets
//
// A [Key] shows nothing of itself. Errors name types and algorithms only; a signer's own errors are wrapped.
//
// # Concurrency
//
// A [Key] is immutable and as safe for concurrent use as its crypto.Signer, which the standard library's are.
package jws

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// leastRSA is the shortest modulus that RFC 7518 §3.3 and §3.5 allow, in bits.
const leastRSA = 2048

// fullySpecified is the name of EdDSA with the curve that goes by Ed25519 (RFC 9864 §2.2).
const fullySpecified = jose.SignatureAlgorithm("Ed25519")

// Key is a private key together with what its public half says.
type Key struct {
	signer     crypto.Signer
	public     jose.JSONWebKey
	algorithms []jose.SignatureAlgorithm // that the key's type has, the preferred one first
	thumbprint string                    // of its certificate, for x5t#S256; empty: none
}

// NewKey makes a Key of signer. id is its key id (RFC 7515 §4.1.4); empty: none. The error says which keys will do.
func NewKey(signer crypto.Signer, id string) (*Key, error) {
	if isNil(signer) {
		return nil, errors.New("there is no key")
	}
	public := signer.Public()
	algorithms, err := algorithmsOf(public)
	if err != nil {
		return nil, err
	}
	return &Key{signer: signer, public: jose.JSONWebKey{Key: public, KeyID: id}, algorithms: algorithms}, nil
}

// WithCertificate returns the key as Sign names it by a certificate, too (x5t#S256, RFC 7515 §4.1.8). The error says that the
// certificate is of another key.
func (k *Key) WithCertificate(certificate *x509.Certificate) (*Key, error) {
	public, ok := certificate.PublicKey.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !public.Equal(k.public.Key) {
		return nil, errors.New("it is of another key")
	}
	sum := sha256.Sum256(certificate.Raw)
	named := *k
	named.thumbprint = base64.RawURLEncoding.EncodeToString(sum[:])
	return &named, nil
}

// isNil reports whether there is nothing that can sign behind the interface: asking it for its public key would
// panic.
func isNil(signer crypto.Signer) bool {
	if signer == nil {
		return true
	}
	switch v := reflect.ValueOf(signer); v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Func, reflect.Slice, reflect.Chan:
		return v.IsNil()
	}
	return false
}

// algorithmsOf lists what a key of this type signs with. RS256 stands before PS256: where a server takes
// both, it is what most keys are registered for. EdDSA is the name that every server with such keys knows.
func algorithmsOf(public crypto.PublicKey) ([]jose.SignatureAlgorithm, error) {
	switch key := public.(type) {
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return []jose.SignatureAlgorithm{jose.ES256}, nil
		case elliptic.P384():
			return []jose.SignatureAlgorithm{jose.ES384}, nil
		case elliptic.P521():
			return []jose.SignatureAlgorithm{jose.ES512}, nil
		}
		return nil, errors.New("its curve is none of P-256, P-384 and P-521")
	case ed25519.PublicKey:
		return []jose.SignatureAlgorithm{jose.EdDSA, fullySpecified}, nil
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < leastRSA {
			return nil, fmt.Errorf("it is an RSA key of %d bits; %d are the least (RFC 7518 §3.3)", bits, leastRSA)
		}
		return []jose.SignatureAlgorithm{jose.RS256, jose.PS256, jose.RS384, jose.PS384, jose.RS512, jose.PS512}, nil
	}
	return nil, fmt.Errorf("a %T cannot be used; ECDSA, Ed25519 and RSA keys can", public)
}

// Algorithm chooses how to sign: wanted, if it is not empty, or the first that the key has among those offered. Nothing
// offered: the preferred one of the key's type. An offer stands above nobody's explicit wish.
func (k *Key) Algorithm(wanted string, offered []string) (string, error) {
	if wanted != "" {
		if !slices.Contains(k.algorithms, jose.SignatureAlgorithm(wanted)) {
			return "", fmt.Errorf("the key cannot sign with %q; it can with %s", wanted, k.list())
		}
		return wanted, nil
	}
	if len(offered) == 0 {
		return string(k.algorithms[0]), nil
	}
	for _, algorithm := range k.algorithms {
		if slices.Contains(offered, string(algorithm)) {
			return string(algorithm), nil
		}
	}
	return "", fmt.Errorf("the key signs with %s, of which the server takes none", k.list())
}

func (k *Key) list() string {
	var names []string
	for _, algorithm := range k.algorithms {
		names = append(names, string(algorithm))
	}
	return strings.Join(names, ", ")
}

// Public is the public key as a JWK (RFC 7517), with its key id if it has one.
func (k *Key) Public() (json.RawMessage, error) { return k.public.MarshalJSON() }

// Thumbprint is that of the public key (RFC 7638) with SHA-256, in base64url.
func (k *Key) Thumbprint() (string, error) {
	sum, err := k.public.Thumbprint(crypto.SHA256)
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(sum), nil
}

// Format implements fmt.Formatter for every verb.
func (k *Key) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "[key for %s]", k.list()) }

// LogValue implements slog.LogValuer.
func (k *Key) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(k)) }

// MarshalText implements encoding.TextMarshaler, for JSON.
func (k *Key) MarshalText() ([]byte, error) { return []byte(fmt.Sprint(k)), nil }

package jws

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// Algorithms are those whose signatures a public key verifies. There is neither "none" nor an HMAC among them.
var Algorithms = []string{"RS256", "ES256", "PS256", "EdDSA", "Ed25519", "RS384", "ES384", "PS384", "RS512", "ES512", "PS512"}

// mostTried is how many keys a signature is tried with: more than an issuer has in use at a time.
const mostTried = 16

// ErrUnknownKey says that no key at hand has made a signature: it is forged, or the issuer has another key by now.
var ErrUnknownKey = errors.New("it is signed with none of the issuer's keys")

// KeySet are public keys of an issuer (RFC 7517 §5).
type KeySet []jose.JSONWebKey

// ParseKeySet reads a JWK Set. Keys of unknown types, for other uses than signatures, or too short, are left out: they are
// for somebody else. So are RSA keys longer than 4096 bits (jose.MaxRSAModulusBits): what they have signed is ErrUnknownKey. The
// error quotes nothing.
func ParseKeySet(data []byte) (KeySet, error) {
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if json.Unmarshal(data, &document) != nil || document.Keys == nil {
		return nil, errors.New("it is not a JWK Set")
	}
	var set KeySet
	for _, raw := range document.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) != nil || key.Use != "" && key.Use != "sig" {
			continue
		}
		if _, err := algorithmsOf(key.Key); err == nil {
			set = append(set, key)
		}
	}
	return set, nil
}

// Verify checks the signature of a JWS in its compact form and returns what is signed. Its key is chosen by the algorithm and
// the key id, never by what the header offers as a key or the address of one (jwk, jku, x5c, x5u). Without a key id, and for
// keys without one, every key that fits the algorithm is tried. The error is ErrUnknownKey, or that signed is malformed or of
// an algorithm that is not allowed.
func (s KeySet) Verify(signed string, allowed []string) ([]byte, error) {
	parsed, err := parse(signed, allowed)
	if err != nil {
		return nil, err
	}
	header := parsed.Signatures[0].Header
	algorithm, tried := jose.SignatureAlgorithm(header.Algorithm), 0
	for _, key := range s {
		able, _ := algorithmsOf(key.Key)
		if !slices.Contains(able, algorithm) || key.Algorithm != "" && !isSame(jose.SignatureAlgorithm(key.Algorithm), algorithm) ||
			key.KeyID != "" && header.KeyID != "" && key.KeyID != header.KeyID {
			continue
		}
		if tried++; tried > mostTried {
			break
		}
		if payload, err := parsed.Verify(verifier(key.Key)); err == nil {
			return payload, nil
		}
	}
	return nil, ErrUnknownKey
}

// isSame reports whether two names are of one algorithm.
func isSame(a, b jose.SignatureAlgorithm) bool { return a == b || isEd25519(a) && isEd25519(b) }

// verifier is key as go-jose takes it, which does not know Ed25519 by this name.
func verifier(key any) any {
	if public, ok := key.(ed25519.PublicKey); ok {
		return edVerifier(public)
	}
	return key
}

type edVerifier ed25519.PublicKey

// VerifyPayload implements jose.OpaqueVerifier. The algorithm has been held against the key's.
func (v edVerifier) VerifyPayload(payload, signature []byte, _ jose.SignatureAlgorithm) error {
	return ed25519.VerifyWithOptions(ed25519.PublicKey(v), payload, signature, &ed25519.Options{})
}

// VerifyHMAC checks the signature of a JWS under secret, which has to be as long as RFC 7518 §3.2 wants it, and
// returns what is signed.
func VerifyHMAC(signed, secret string, allowed []string) ([]byte, error) {
	parsed, err := parse(signed, allowed)
	if err != nil {
		return nil, err
	}
	payload, err := parsed.Verify([]byte(secret))
	if err != nil {
		return nil, errors.New("its signature is wrong")
	}
	return payload, nil
}

// Unverified returns what is in a JWS that somebody else vouches for.
func Unverified(signed string, allowed []string) ([]byte, error) {
	parsed, err := parse(signed, allowed)
	if err != nil {
		return nil, err
	}
	return parsed.UnsafePayloadWithoutVerification(), nil
}

// Algorithm is that of a JWS whose algorithm is among those allowed.
func Algorithm(signed string, allowed []string) (string, error) {
	parsed, err := parse(signed, allowed)
	if err != nil {
		return "", err
	}
	return parsed.Signatures[0].Header.Algorithm, nil
}

// parse reads a JWS. The error quotes nothing of it.
func parse(signed string, allowed []string) (*jose.JSONWebSignature, error) {
	var algorithms []jose.SignatureAlgorithm
	for _, name := range allowed {
		algorithms = append(algorithms, jose.SignatureAlgorithm(name))
	}
	if strings.Count(signed, ".") == 4 {
		return nil, errors.New("it is encrypted, which this client does not ask for; have the server only sign it")
	}
	parsed, err := jose.ParseSignedCompact(signed, algorithms)
	if err != nil || len(parsed.Signatures) != 1 {
		return nil, errors.New("it is not a JWS, or its algorithm is none of " + strings.Join(allowed, ", "))
	}
	return parsed, nil
}

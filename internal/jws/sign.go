package jws

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash.New
	_ "crypto/sha512" // likewise
	"encoding/base64"
	"encoding/json"
	"errors"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"
)

// Header is what the protected header of a signature says beside the key id and the certificate (RFC 7515 §4).
type Header struct {
	Algorithm string // one that Key.Algorithm has chosen
	Type      string // typ; empty: none
}

// Sign makes a JWS of claims in compact serialization (RFC 7515 §7.1). It takes as long as the signer does, which
// knows no context.
func (k *Key) Sign(h Header, claims any) (string, error) {
	header, err := json.Marshal(struct {
		Algorithm  string `json:"alg"`
		ID         string `json:"kid,omitempty"`
		Thumbprint string `json:"x5t#S256,omitempty"`
		Type       string `json:"typ,omitempty"`
	}{h.Algorithm, k.public.KeyID, k.thumbprint, h.Type})
	if err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	return k.Compact(base64.RawURLEncoding.EncodeToString(header), payload, h.Algorithm)
}

// Compact signs payload under a protected header that is encoded already: DPoP has one header for all that it signs.
// go-jose could do it, but takes a third of the time of an ES256 signature for it. algorithm is one that Key.Algorithm has
// chosen, and the header's.
func (k *Key) Compact(header string, payload []byte, algorithm string) (string, error) {
	encoding := base64.RawURLEncoding
	signed := make([]byte, 0, len(header)+encoding.EncodedLen(len(payload))+encoding.EncodedLen(maxSignature)+2)
	signed = encoding.AppendEncode(append(append(signed, header...), '.'), payload)
	signature, err := k.signature(signed, algorithm)
	if err != nil {
		return "", err
	}
	return string(encoding.AppendEncode(append(signed, '.'), signature)), nil
}

// maxSignature is how long the most usual signatures are at most, in bytes: those of RSA keys of 2048 bits.
const maxSignature = 256

// signature is that of a JWS whose signing input is given (RFC 7515 §5.1).
func (k *Key) signature(input []byte, algorithm string) ([]byte, error) {
	chosen := jose.SignatureAlgorithm(algorithm)
	if !slices.Contains(k.algorithms, chosen) {
		return nil, jose.ErrUnsupportedAlgorithm
	}
	if isEd25519(chosen) {
		return k.signer.Sign(rand.Reader, input, crypto.Hash(0)) // hashes itself
	}
	hash := hashes[chosen]
	digest := hash.New()
	digest.Write(input)
	var options crypto.SignerOpts = hash
	if algorithm[0] == 'P' {
		options = &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: hash}
	}
	signature, err := k.signer.Sign(rand.Reader, digest.Sum(nil), options)
	if err != nil {
		return nil, err
	}
	if size := coordinates[chosen]; size > 0 {
		return fixed(signature, size)
	}
	return signature, nil
}

// isEd25519 reports whether algorithm is EdDSA by one of its two names.
func isEd25519(algorithm jose.SignatureAlgorithm) bool {
	return algorithm == jose.EdDSA || algorithm == fullySpecified
}

var hashes = map[jose.SignatureAlgorithm]crypto.Hash{
	jose.RS256: crypto.SHA256, jose.RS384: crypto.SHA384, jose.RS512: crypto.SHA512,
	jose.PS256: crypto.SHA256, jose.PS384: crypto.SHA384, jose.PS512: crypto.SHA512,
	jose.ES256: crypto.SHA256, jose.ES384: crypto.SHA384, jose.ES512: crypto.SHA512,
}

// coordinates are the lengths of R and S, in bytes (RFC 7518 §3.4).
var coordinates = map[jose.SignatureAlgorithm]int{jose.ES256: 32, jose.ES384: 48, jose.ES512: 66}

// fixed turns an ECDSA signature in ASN.1, as crypto.Signer gives it, into R and S side by side.
func fixed(signature []byte, size int) ([]byte, error) {
	var r, s []byte
	var pair cryptobyte.String
	whole := cryptobyte.String(signature)
	if !whole.ReadASN1(&pair, asn1.SEQUENCE) || !whole.Empty() || !pair.ReadASN1Integer(&r) || !pair.ReadASN1Integer(&s) || !pair.Empty() ||
		!fits(r, size) || !fits(s, size) {
		return nil, errors.New("the signer gave no ECDSA signature in ASN.1, as a crypto.Signer has to")
	}
	joined := make([]byte, 2*size)
	copy(joined[size-len(r):], r)
	copy(joined[2*size-len(s):], s)
	return joined, nil
}

// fits reports whether n, an unsigned big-endian number without leading zeros, is one of 1 to size bytes.
func fits(n []byte, size int) bool { return len(n) > 0 && n[0] != 0 && len(n) <= size }

package jws

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // for crypto.Hash.New
	_ "crypto/sha512" // likewise
	"encoding/asn1"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/go-jose/go-jose/v4"
)

// Header is what the protected header of a signature says beside the key id (RFC 7515 §4).
type Header struct {
	Algorithm string // one that Key.Algorithm has chosen
	Type      string // typ; empty: none
	EmbedKey  bool   // put the public key into it (jwk) instead of its id
}

// Sign makes a JWS of claims in compact serialization (RFC 7515 §7.1). It takes as long as the signer does, which
// knows no context.
func (k *Key) Sign(h Header, claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	shown := k.public
	if h.EmbedKey {
		shown.KeyID = ""
	}
	options := &jose.SignerOptions{EmbedJWK: h.EmbedKey}
	if h.Type != "" {
		options = options.WithType(jose.ContentType(h.Type))
	}
	key := jose.SigningKey{Algorithm: jose.SignatureAlgorithm(h.Algorithm), Key: &opaque{k, &shown}}
	signer, err := jose.NewSigner(key, options)
	if err != nil {
		return "", fmt.Errorf("the key cannot sign with %q: %w", h.Algorithm, err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		return "", err
	}
	return signed.CompactSerialize()
}

// opaque gives go-jose a key that it does not see. go-jose has one such for crypto.Signer; it salts PSS with as much as
// fits, where RFC 7518 §3.5 wants as much as the hash is long.
type opaque struct {
	key    *Key
	public *jose.JSONWebKey
}

// Public implements jose.OpaqueSigner.
func (o *opaque) Public() *jose.JSONWebKey { return o.public }

// Algs implements jose.OpaqueSigner.
func (o *opaque) Algs() []jose.SignatureAlgorithm { return o.key.algorithms }

// SignPayload implements jose.OpaqueSigner.
func (o *opaque) SignPayload(payload []byte, algorithm jose.SignatureAlgorithm) ([]byte, error) {
	return o.key.Signature(payload, string(algorithm))
}

// Signature is that of a JWS (RFC 7515 §5.1) whose signing input is given, for a caller that makes the rest of it with
// less ado than Sign: DPoP makes one for every request. algorithm is one that Key.Algorithm has chosen.
func (k *Key) Signature(input []byte, algorithm string) ([]byte, error) {
	chosen := jose.SignatureAlgorithm(algorithm)
	if !slices.Contains(k.algorithms, chosen) {
		return nil, jose.ErrUnsupportedAlgorithm
	}
	if chosen == jose.EdDSA {
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

var hashes = map[jose.SignatureAlgorithm]crypto.Hash{
	jose.RS256: crypto.SHA256, jose.RS384: crypto.SHA384, jose.RS512: crypto.SHA512,
	jose.PS256: crypto.SHA256, jose.PS384: crypto.SHA384, jose.PS512: crypto.SHA512,
	jose.ES256: crypto.SHA256, jose.ES384: crypto.SHA384, jose.ES512: crypto.SHA512,
}

// coordinates are the lengths of R and S, in bytes (RFC 7518 §3.4).
var coordinates = map[jose.SignatureAlgorithm]int{jose.ES256: 32, jose.ES384: 48, jose.ES512: 66}

// fixed turns an ECDSA signature in ASN.1, as crypto.Signer gives it, into R and S side by side.
func fixed(signature []byte, size int) ([]byte, error) {
	var pair struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(signature, &pair)
	if err != nil || len(rest) > 0 || !fits(pair.R, size) || !fits(pair.S, size) {
		return nil, errors.New("the signer gave no ECDSA signature in ASN.1, as a crypto.Signer has to")
	}
	joined := make([]byte, 2*size)
	pair.R.FillBytes(joined[:size])
	pair.S.FillBytes(joined[size:])
	return joined, nil
}

func fits(n *big.Int, size int) bool { return n.Sign() > 0 && n.BitLen() <= 8*size }

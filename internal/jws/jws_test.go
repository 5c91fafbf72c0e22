package jws_test

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
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/jws"
)

func newEC(t *testing.T, curve elliptic.Curve) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	require.NoError(t, err)
	return key
}

func newRSA(t *testing.T, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	return key
}

func newEd(t *testing.T) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return key
}

// service signs as a key service does: its key is not of a type that anybody knows.
type service struct {
	crypto.Signer
	answer []byte // instead of a signature
	err    error
}

func (s service) Sign(random io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	if s.answer != nil || s.err != nil {
		return s.answer, s.err
	}
	return s.Signer.Sign(random, digest, options)
}

// Shows R7523-3-7.
func TestSignsWithEveryAlgorithmOfAKey(t *testing.T) {
	long := newRSA(t, 2048)
	for _, tt := range []struct {
		algorithm string
		key       crypto.Signer
	}{
		{"ES256", newEC(t, elliptic.P256())},
		{"ES384", newEC(t, elliptic.P384())},
		{"ES512", newEC(t, elliptic.P521())},
		{"EdDSA", newEd(t)},
		{"RS256", long}, {"RS384", long}, {"RS512", long},
		{"PS256", long}, {"PS384", long}, {"PS512", long},
	} {
		t.Run(tt.algorithm, func(t *testing.T) {
			key, err := jws.NewKey(service{Signer: tt.key}, "key 1")
			require.NoError(t, err)
			signed, err := key.Sign(jws.Header{Algorithm: tt.algorithm, Type: "test+jwt"}, map[string]string{"sub": "alice"})
			require.NoError(t, err)

			parsed, err := jose.ParseSignedCompact(signed, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(tt.algorithm)})
			require.NoError(t, err)
			payload, err := parsed.Verify(tt.key.Public())
			require.NoError(t, err)
			require.JSONEq(t, `{"sub":"alice"}`, string(payload))
			require.JSONEq(t, `{"alg":"`+tt.algorithm+`","typ":"test+jwt","kid":"key 1"}`, header(t, signed))
			if strings.HasPrefix(tt.algorithm, "PS") {
				requireSaltOfHash(t, long, tt.algorithm, signed)
			}
		})
	}
}

// requireSaltOfHash holds a PSS signature against RFC 7518 §3.5: the salt is as long as the hash.
func requireSaltOfHash(t *testing.T, key *rsa.PrivateKey, algorithm, signed string) {
	t.Helper()
	hash := map[string]crypto.Hash{"PS256": crypto.SHA256, "PS384": crypto.SHA384, "PS512": crypto.SHA512}[algorithm]
	end := strings.LastIndexByte(signed, '.')
	signature, err := base64.RawURLEncoding.DecodeString(signed[end+1:])
	require.NoError(t, err)
	digest := hash.New()
	digest.Write([]byte(signed[:end]))
	require.NoError(t, rsa.VerifyPSS(&key.PublicKey, hash, digest.Sum(nil), signature, &rsa.PSSOptions{SaltLength: hash.Size()}))
}

func header(t *testing.T, signed string) string {
	t.Helper()
	first, _, _ := strings.Cut(signed, ".")
	decoded, err := base64.RawURLEncoding.DecodeString(first)
	require.NoError(t, err)
	return string(decoded)
}

func TestAlgorithm(t *testing.T) {
	ec, err := jws.NewKey(newEC(t, elliptic.P256()), "")
	require.NoError(t, err)
	long, err := jws.NewKey(newRSA(t, 2048), "")
	require.NoError(t, err)
	for _, tt := range []struct {
		name    string
		key     *jws.Key
		wanted  string
		offered []string
		want    string // empty: an error
	}{
		{name: "by the type of the key", key: ec, want: "ES256"},
		{name: "by the type of an RSA key", key: long, want: "RS256"},
		{name: "by what is offered", key: long, offered: []string{"ES256", "PS256"}, want: "PS256"},
		{name: "none is offered that the key has", key: ec, offered: []string{"RS256", "HS256", "none"}},
		{name: "by wish", key: long, wanted: "PS512", want: "PS512"},
		{name: "by wish, over what is offered", key: long, wanted: "PS512", offered: []string{"RS256"}, want: "PS512"},
		{name: "a wish of another type", key: ec, wanted: "RS256"},
		{name: "a wish for another curve", key: ec, wanted: "ES384"},
		{name: "none", key: ec, wanted: "none"},
		{name: "an HMAC", key: long, wanted: "HS256"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.key.Algorithm(tt.wanted, tt.offered)
			require.Equal(t, tt.want, got)
			require.Equal(t, tt.want == "", err != nil, "error: %v", err)
		})
	}
}

// Shows R7523-3-7.
func TestSignRefusesWhatIsNoSignatureOfTheKey(t *testing.T) {
	key, err := jws.NewKey(newRSA(t, 2048), "")
	require.NoError(t, err)
	for _, algorithm := range []string{"none", "HS256", "ES256", ""} {
		_, err := key.Sign(jws.Header{Algorithm: algorithm}, struct{}{})
		require.Errorf(t, err, "%q", algorithm)
	}
}

func TestNewKeyRefuses(t *testing.T) {
	var noKey *ecdsa.PrivateKey
	for _, tt := range []struct {
		name string
		key  crypto.Signer
	}{
		{name: "no key"},
		{name: "a nil pointer", key: noKey},
		{name: "an empty Ed25519 key", key: ed25519.PrivateKey(nil)},
		{name: "a short RSA key", key: shortRSA()},
		{name: "a curve without an algorithm", key: newEC(t, elliptic.P224())},
		{name: "a key of an unknown type", key: strange{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := jws.NewKey(tt.key, "")
			require.Error(t, err)
		})
	}
}

// shortRSA has a modulus of 1024 bits. It is never signed with.
func shortRSA() *rsa.PrivateKey {
	return &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}}
}

type strange struct{}

func (strange) Public() crypto.PublicKey                                  { return "a key" }
func (strange) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, nil }

func TestASignerThatFails(t *testing.T) {
	gone := errors.New("the key service is away")
	key, err := jws.NewKey(service{Signer: newEC(t, elliptic.P256()), err: gone}, "")
	require.NoError(t, err)
	_, err = key.Sign(jws.Header{Algorithm: "ES256"}, struct{}{})
	require.ErrorIs(t, err, gone)
}

func TestASignerWithoutASignature(t *testing.T) {
	for name, answer := range map[string][]byte{
		"not ASN.1":        []byte("signature"),
		"raw R and S":      make([]byte, 64),
		"zero":             {0x30, 6, 2, 1, 0, 2, 1, 0},
		"more than a pair": {0x30, 6, 2, 1, 1, 2, 1, 1, 0},
		"too long":         tooLong(),
	} {
		t.Run(name, func(t *testing.T) {
			key, err := jws.NewKey(service{Signer: newEC(t, elliptic.P256()), answer: answer}, "")
			require.NoError(t, err)
			_, err = key.Sign(jws.Header{Algorithm: "ES256"}, struct{}{})
			require.Error(t, err)
		})
	}
}

// tooLong is a pair of numbers, the first of 33 bytes.
func tooLong() []byte {
	number := append([]byte{2, 33, 1}, make([]byte, 32)...)
	return append(append([]byte{0x30, byte(len(number) + 3)}, number...), 2, 1, 1)
}

// The key and its thumbprint are those of RFC 8037 appendix A.
func TestThumbprint(t *testing.T) {
	seed, err := base64.RawURLEncoding.DecodeString("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
	require.NoError(t, err)
	key, err := jws.NewKey(ed25519.NewKeyFromSeed(seed), "")
	require.NoError(t, err)
	got, err := key.Thumbprint()
	require.NoError(t, err)
	require.Equal(t, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k", got)

	public, err := key.Public()
	require.NoError(t, err)
	require.JSONEq(t, `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, string(public))
}

func TestAKeyShowsNothing(t *testing.T) {
	private := newEd(t)
	key, err := jws.NewKey(private, "")
	require.NoError(t, err)
	text, err := json.Marshal(key)
	require.NoError(t, err)
	for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s %x", key, key, key, key, key), string(text), key.LogValue().String()} {
		require.NotContains(t, shown, fmt.Sprintf("%x", private.Seed()))
		require.NotContains(t, shown, fmt.Sprint([]byte(private.Seed())))
		require.Contains(t, shown, "[key for EdDSA]")
	}
}

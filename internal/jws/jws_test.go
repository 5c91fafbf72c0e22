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
	"slices"
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
		{"EdDSA", newEd(t)}, {"Ed25519", newEd(t)},
		{"RS256", long}, {"RS384", long}, {"RS512", long},
		{"PS256", long}, {"PS384", long}, {"PS512", long},
	} {
		t.Run(tt.algorithm, func(t *testing.T) {
			key, err := jws.NewKey(service{Signer: tt.key}, "key 1")
			require.NoError(t, err)
			signed, err := key.Sign(jws.Header{Algorithm: tt.algorithm, Type: "test+jwt"}, map[string]string{"sub": "alice"})
			require.NoError(t, err)

			payload, err := verifiedByAnother(t, signed, tt.algorithm, tt.key.Public())
			require.NoError(t, err)
			require.JSONEq(t, `{"sub":"alice"}`, string(payload))
			require.JSONEq(t, `{"alg":"`+tt.algorithm+`","typ":"test+jwt","kid":"key 1"}`, header(t, signed))
			if strings.HasPrefix(tt.algorithm, "PS") {
				requireSaltOfHash(t, long, tt.algorithm, signed)
			}
		})
	}
}

// verifiedByAnother has a signature checked by go-jose or, where that does not know the algorithm's name, by the standard
// library.
func verifiedByAnother(t *testing.T, signed, algorithm string, public crypto.PublicKey) ([]byte, error) {
	t.Helper()
	parsed, err := jose.ParseSignedCompact(signed, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(algorithm)})
	require.NoError(t, err)
	if algorithm != "Ed25519" {
		return parsed.Verify(public)
	}
	input := signed[:strings.LastIndexByte(signed, '.')]
	require.True(t, ed25519.Verify(public.(ed25519.PublicKey), []byte(input), parsed.Signatures[0].Signature))
	return parsed.UnsafePayloadWithoutVerification(), nil
}

// RFC 9864 §2.2: EdDSA with Ed25519 has a name of its own, which is another name of the same.
func TestEd25519HasTwoNames(t *testing.T) {
	private := newEd(t)
	key, err := jws.NewKey(private, "key 1")
	require.NoError(t, err)
	for _, algorithm := range []string{"EdDSA", "Ed25519"} {
		signed, err := key.Sign(jws.Header{Algorithm: algorithm}, map[string]string{"sub": "alice"})
		require.NoError(t, err)
		for _, named := range []string{"", "EdDSA", "Ed25519"} {
			t.Run(algorithm+" by a key for "+named, func(t *testing.T) {
				set := keySet(t, jose.JSONWebKey{Key: private.Public(), KeyID: "key 1", Algorithm: named, Use: "sig"})
				payload, err := set.Verify(signed, jws.Algorithms)
				require.NoError(t, err)
				require.JSONEq(t, `{"sub":"alice"}`, string(payload))

				_, err = set.Verify(forged(signed), jws.Algorithms)
				require.ErrorIs(t, err, jws.ErrUnknownKey)
				_, err = set.Verify(signed, []string{"ES256", "RS256"})
				require.Error(t, err)
			})
		}
		t.Run(algorithm+" by keys for something else", func(t *testing.T) {
			set := keySet(t, jose.JSONWebKey{Key: private.Public(), Algorithm: "ES256"}, jose.JSONWebKey{Key: newEd(t).Public()},
				jose.JSONWebKey{Key: newEC(t, elliptic.P256()).Public()})
			_, err = set.Verify(signed, jws.Algorithms)
			require.ErrorIs(t, err, jws.ErrUnknownKey)
		})
	}
	t.Run("an extension that has to be understood", func(t *testing.T) {
		header := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"Ed25519","crit":["exp"],"exp":1}`))
		signed, err := key.Compact(header, []byte(`{}`), "Ed25519")
		require.NoError(t, err)
		_, err = keySet(t, jose.JSONWebKey{Key: private.Public()}).Verify(signed, jws.Algorithms)
		require.Error(t, err)
	})
}

// A header that names a key is believed in that: neither is it another key's signature, nor is work done for it.
func TestAKeyIsFoundByItsID(t *testing.T) {
	private := newEC(t, elliptic.P256())
	for _, tt := range []struct {
		name, signs, known string
		good               bool
	}{
		{"the same", "key 1", "key 1", true},
		{"another", "key 2", "key 1", false},
		{"in another case", "KEY 1", "key 1", false},
		{"none in the header", "", "key 1", true},
		{"none in the set", "key 1", "", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			key, err := jws.NewKey(private, tt.signs)
			require.NoError(t, err)
			signed, err := key.Sign(jws.Header{Algorithm: "ES256"}, struct{}{})
			require.NoError(t, err)
			_, err = keySet(t, jose.JSONWebKey{Key: private.Public(), KeyID: tt.known}).Verify(signed, jws.Algorithms)
			if tt.good {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, jws.ErrUnknownKey)
		})
	}
}

// Each key that a signature is tried with is work that somebody else has this program do.
func TestFewKeysAreTried(t *testing.T) {
	private := newEC(t, elliptic.P256())
	key, err := jws.NewKey(private, "")
	require.NoError(t, err)
	signed, err := key.Sign(jws.Header{Algorithm: "ES256"}, struct{}{})
	require.NoError(t, err)
	all := make([]jose.JSONWebKey, 16)
	for i := range all {
		all[i].Key = newEC(t, elliptic.P256()).Public()
	}
	for others, want := range map[int]error{15: nil, 16: jws.ErrUnknownKey} {
		set := keySet(t, append(slices.Clone(all[:others]), jose.JSONWebKey{Key: private.Public()})...)
		_, err := set.Verify(signed, jws.Algorithms)
		require.ErrorIs(t, err, want, "behind %d others", others)
	}

	for i := range all {
		all[i].Key = newEd(t).Public()
	}
	_, err = keySet(t, append(all, jose.JSONWebKey{Key: private.Public()})...).Verify(signed, jws.Algorithms)
	require.NoError(t, err, "keys for other algorithms cost nothing")
}

func keySet(t *testing.T, keys ...jose.JSONWebKey) jws.KeySet {
	t.Helper()
	document, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	require.NoError(t, err)
	set, err := jws.ParseKeySet(document)
	require.NoError(t, err)
	return set
}

// Who publishes a private key or a secret has no key that a signature could be trusted for.
func TestKeysThatAreNotPublicAreLeftOut(t *testing.T) {
	ec := newEC(t, elliptic.P256())
	set := keySet(t, jose.JSONWebKey{Key: ec}, jose.JSONWebKey{Key: newRSA(t, 2048)}, jose.JSONWebKey{Key: newEd(t)},
		jose.JSONWebKey{Key: []byte("a secret of more than 32 octets, which all can read")})
	require.Empty(t, set)
	require.Len(t, keySet(t, jose.JSONWebKey{Key: ec}, jose.JSONWebKey{Key: ec.Public()}), 1)
}

// RSA keys count from 2048 bits to 4096.
func TestLengthsOfRSAKeys(t *testing.T) {
	for bits, want := range map[int]int{2047: 0, 2048: 1, 4096: 1, 4097: 0, 16384: 0} {
		public := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), bits-1, 1), E: 65537}
		document, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: public, KeyID: "long"}}})
		require.NoError(t, err)
		set, err := jws.ParseKeySet(document)
		require.NoError(t, err)
		require.Len(t, set, want, "%d bits", bits)
	}
}

// forged is signed with another payload.
func forged(signed string) string {
	parts := strings.Split(signed, ".")
	parts[1] = base64.RawURLEncoding.EncodeToString([]byte(`{"sub":"mallory"}`))
	return strings.Join(parts, ".")
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
	ed, err := jws.NewKey(newEd(t), "")
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
		{name: "by the type of an Ed25519 key", key: ed, want: "EdDSA"},
		{name: "by the older name of Ed25519", key: ed, offered: []string{"Ed25519", "EdDSA"}, want: "EdDSA"},
		{name: "by the only name of Ed25519", key: ed, offered: []string{"ES256", "Ed25519"}, want: "Ed25519"},
		{name: "the name of another curve of EdDSA", key: ed, wanted: "Ed448"},
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

// R and S have a fixed length in a JWS (RFC 7518 §3.4), however small they are.
func TestSmallNumbersKeepTheirPlace(t *testing.T) {
	for algorithm, c := range map[string]struct {
		curve elliptic.Curve
		size  int
	}{"ES256": {elliptic.P256(), 32}, "ES384": {elliptic.P384(), 48}, "ES512": {elliptic.P521(), 66}} {
		key, err := jws.NewKey(service{Signer: newEC(t, c.curve), answer: []byte{0x30, 7, 2, 1, 5, 2, 2, 1, 7}}, "")
		require.NoError(t, err)
		signed, err := key.Sign(jws.Header{Algorithm: algorithm}, struct{}{})
		require.NoError(t, err)
		signature, err := base64.RawURLEncoding.DecodeString(signed[strings.LastIndexByte(signed, '.')+1:])
		require.NoError(t, err)
		want := make([]byte, 2*c.size)
		want[c.size-1], want[2*c.size-2], want[2*c.size-1] = 5, 1, 7
		require.Equal(t, want, signature, algorithm)
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
		require.Contains(t, shown, "[key for EdDSA, Ed25519]")
	}
}

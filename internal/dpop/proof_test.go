package dpop_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/dpop"
	"github.com/evergrant/evergrant/internal/jws"
)

func newKey(t testing.TB, signer crypto.Signer) *dpop.Key {
	t.Helper()
	inner, err := jws.NewKey(signer, "an id")
	require.NoError(t, err)
	key, err := dpop.NewKey(inner, "", nil)
	require.NoError(t, err)
	return key
}

func newEC(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

func newEd(t testing.TB) ed25519.PrivateKey {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	return key
}

func newRSA(t testing.TB) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return key
}

// decode reads a proof without checking its signature.
func decode(t testing.TB, proof string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(proof, ".")
	require.Len(t, parts, 3)
	for i, into := range []*map[string]any{&header, &claims} {
		text, err := base64.RawURLEncoding.DecodeString(parts[i])
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, into))
	}
	return header, claims
}

func TestR9449_4_2_1(t *testing.T) {
	for _, tt := range []struct {
		algorithm string
		members   []string
	}{
		{"ES256", []string{"kty", "crv", "x", "y"}},
		{"ES384", []string{"kty", "crv", "x", "y"}},
		{"ES512", []string{"kty", "crv", "x", "y"}},
		{"EdDSA", []string{"kty", "crv", "x"}},
		{"PS256", []string{"kty", "n", "e"}},
		{"RS256", []string{"kty", "n", "e"}},
	} {
		t.Run(tt.algorithm, func(t *testing.T) {
			private, err := dpop.Generate([]string{"none", "HS256", tt.algorithm})
			require.NoError(t, err)
			key, err := dpop.Parse(private)
			require.NoError(t, err)
			proof, err := key.Proof(dpop.Claims{URL: "https://h/a", Time: time.Now()})
			require.NoError(t, err)

			header, _ := decode(t, proof)
			require.ElementsMatch(t, []string{"typ", "alg", "jwk"}, names(header))
			require.Equal(t, "dpop+jwt", header["typ"])
			require.Equal(t, tt.algorithm, header["alg"])
			require.ElementsMatch(t, tt.members, names(header["jwk"].(map[string]any)))
			parsed, err := jose.ParseSignedCompact(proof, []jose.SignatureAlgorithm{jose.SignatureAlgorithm(tt.algorithm)})
			require.NoError(t, err)
			_, err = parsed.Verify(parsed.Signatures[0].Protected.JSONWebKey)
			require.NoError(t, err)
			sum, err := parsed.Signatures[0].Protected.JSONWebKey.Thumbprint(crypto.SHA256)
			require.NoError(t, err)
			require.Equal(t, base64.RawURLEncoding.EncodeToString(sum), key.Thumbprint())
		})
	}
	t.Run("a key's id is left out", func(t *testing.T) {
		proof, err := newKey(t, newEC(t)).Proof(dpop.Claims{URL: "https://h/a"})
		require.NoError(t, err)
		header, _ := decode(t, proof)
		require.NotContains(t, header, "kid")
		require.NotContains(t, header["jwk"], "kid")
	})
}

func names(members map[string]any) (all []string) {
	for name := range members {
		all = append(all, name)
	}
	return all
}

func TestR9449_4_2_2(t *testing.T) {
	key, ids := newKey(t, newEC(t)), map[string]bool{}
	for range 100 {
		proof, err := key.Proof(dpop.Claims{Method: "PUT", URL: "https://h/a", Time: time.Unix(1562262616, 5)})
		require.NoError(t, err)
		_, claims := decode(t, proof)
		require.ElementsMatch(t, []string{"jti", "htm", "htu", "iat"}, names(claims))
		require.Equal(t, "PUT", claims["htm"])
		require.Equal(t, "https://h/a", claims["htu"])
		require.Equal(t, 1562262616.0, claims["iat"])
		id := claims["jti"].(string)
		require.GreaterOrEqual(t, len(id)*5, 96, "bits, in base 32")
		require.False(t, ids[id])
		ids[id] = true
	}
	proof, err := key.Proof(dpop.Claims{URL: "https://h/a"})
	require.NoError(t, err)
	_, claims := decode(t, proof)
	require.Equal(t, "GET", claims["htm"])
}

// The token and its hash are those of the figures in RFC 9449 §7.1.
func TestR9449_4_2_3(t *testing.T) {
	key := newKey(t, newEC(t))
	proof, err := key.Proof(dpop.Claims{URL: "https://h/a", Token: "Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU"})
	require.NoError(t, err)
	_, claims := decode(t, proof)
	require.Equal(t, "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo", claims["ath"])
}

func TestR9449_4_2_4(t *testing.T) {
	proof, err := newKey(t, newEC(t)).Proof(dpop.Claims{URL: "https://h/a", Nonce: "n-1"})
	require.NoError(t, err)
	_, claims := decode(t, proof)
	require.Equal(t, "n-1", claims["nonce"])
}

func TestTarget(t *testing.T) {
	for _, tt := range []struct{ name, address, host, want string }{
		{name: "a query and a fragment", address: "https://h/a?b=1#c", want: "https://h/a"},
		{name: "a person", address: "https://alice:secret@h/a", want: "https://h/a"},
		{name: "capitals", address: "HTTPS://API.Example.com/A", want: "https://api.example.com/A"},
		{name: "the port that goes without saying", address: "https://h:443/a", want: "https://h/a"},
		{name: "the same of http", address: "http://127.0.0.1:80/a", want: "http://127.0.0.1/a"},
		{name: "another port", address: "https://h:8443/a", want: "https://h:8443/a"},
		{name: "a port of the other scheme", address: "https://h:80/a", want: "https://h:80/a"},
		{name: "an empty port", address: "https://h:/a", want: "https://h/a"},
		{name: "no path", address: "https://h", want: "https://h/"},
		{name: "an encoded path", address: "https://h/a%2Fb/%C3%BC", want: "https://h/a%2Fb/%C3%BC"},
		{name: "IPv6", address: "https://[::1]:443/a", want: "https://[::1]/a"},
		{name: "a host that lowers to another under Unicode", address: "https://AP%C4%B0.example.com/a", want: "https://ap\u0130.example.com/a"},
		{name: "a name of the program's own", address: "https://10.0.0.7/a", host: "Api.example.com", want: "https://api.example.com/a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u, err := url.Parse(tt.address)
			require.NoError(t, err)
			require.Equal(t, tt.want, dpop.Target(u, tt.host))
		})
	}
}

func TestR9449_5_1_1(t *testing.T) {
	t.Run("a key of one's own", func(t *testing.T) {
		for _, tt := range []struct {
			name    string
			signer  crypto.Signer
			wanted  string
			offered []string
			want    string // empty: an error
		}{
			{name: "nothing is offered", signer: newEC(t), want: "ES256"},
			{name: "it is offered", signer: newRSA(t), offered: []string{"ES256", "PS256"}, want: "PS256"},
			{name: "it is not offered", signer: newEC(t), offered: []string{"RS256", "HS256", "none"}},
			{name: "it is offered by its curve", signer: newEd(t), offered: []string{"RS256", "Ed25519"}, want: "Ed25519"},
			{name: "what is wanted is not offered", signer: newRSA(t), wanted: "PS512", offered: []string{"RS256"}},
			{name: "what is wanted is offered", signer: newRSA(t), wanted: "PS512", offered: []string{"RS256", "PS512"}, want: "PS512"},
		} {
			t.Run(tt.name, func(t *testing.T) {
				inner, err := jws.NewKey(tt.signer, "")
				require.NoError(t, err)
				key, err := dpop.NewKey(inner, tt.wanted, tt.offered)
				if tt.want == "" {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				proof, err := key.Proof(dpop.Claims{URL: "https://h/a"})
				require.NoError(t, err)
				header, _ := decode(t, proof)
				require.Equal(t, tt.want, header["alg"])
			})
		}
	})
	t.Run("a key made for the server", func(t *testing.T) {
		for _, tt := range []struct {
			name    string
			offered []string
			want    string // empty: an error
		}{
			{name: "nothing is offered", want: "ES256"},
			{name: "several are", offered: []string{"RS256", "ES256"}, want: "ES256"},
			{name: "ES256 is not", offered: []string{"RS256", "ES384"}, want: "ES384"},
			{name: "EdDSA is, by its curve", offered: []string{"RS256", "Ed25519"}, want: "Ed25519"},
			{name: "only unsound ones are", offered: []string{"HS256", "none"}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				private, err := dpop.Generate(tt.offered)
				if tt.want == "" {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				require.Contains(t, string(private), `"alg":"`+tt.want+`"`)
				key, err := dpop.Parse(private)
				require.NoError(t, err)
				proof, err := key.Proof(dpop.Claims{URL: "https://h/a"})
				require.NoError(t, err)
				header, _ := decode(t, proof)
				require.Equal(t, tt.want, header["alg"])
			})
		}
	})
}

func TestR9449_11_6_1(t *testing.T) {
	for name, signer := range map[string]crypto.Signer{
		"RSA of 1024 bits": &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), 1023), E: 65537}},
		"P-224":            newP224(t),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := jws.NewKey(signer, "")
			require.Error(t, err)
		})
	}
	for _, algorithm := range []string{"none", "HS256", "RS256"} {
		t.Run(algorithm, func(t *testing.T) {
			inner, err := jws.NewKey(newEC(t), "")
			require.NoError(t, err)
			_, err = dpop.NewKey(inner, algorithm, nil)
			require.Error(t, err)
		})
	}
	for name, stored := range map[string]string{
		"a shared secret": `{"kty":"oct","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA","alg":"HS256"}`,
		"a public key":    `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`,
		"no key":          `{}`,
		"not JSON":        `SECRET`,
		"nothing":         ``,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dpop.Parse(json.RawMessage(stored))
			require.Error(t, err)
			require.NotContains(t, err.Error(), "SECRET")
		})
	}
}

func newP224(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	require.NoError(t, err)
	return key
}

func TestAKeyShowsNothing(t *testing.T) {
	private, err := dpop.Generate(nil)
	require.NoError(t, err)
	key, err := dpop.Parse(private)
	require.NoError(t, err)
	var members map[string]string
	require.NoError(t, json.Unmarshal(private, &members))
	secret, err := base64.RawURLEncoding.DecodeString(members["d"])
	require.NoError(t, err)
	var shown strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&shown, verb, key)
		fmt.Fprintf(&shown, verb, *key)
	}
	slog.New(slog.NewTextHandler(&shown, nil)).Info("x", "key", key)
	text, err := json.Marshal(key)
	require.NoError(t, err)
	for _, form := range []string{members["d"], string(secret), fmt.Sprintf("%x", secret), fmt.Sprint(secret), new(big.Int).SetBytes(secret).String()} {
		require.NotContains(t, shown.String()+string(text), form)
	}
}

package interop_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// What a fixture signs, and what it is sent signed.

var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.ES384, jose.ES512, jose.EdDSA, jose.RS256}

// newSigningKey is a key for an algorithm of id tokens.
func newSigningKey(algorithm string) (crypto.Signer, error) {
	switch algorithm {
	case "RS256":
		return rsa.GenerateKey(rand.Reader, 2048)
	case "EdDSA":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	}
	return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
}

// keys is the answer at jwks_uri.
func (f *fixture) keys() answer {
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: f.key.Public(), KeyID: "key of the server", Use: "sig"}}})
	if err != nil {
		panic(err)
	}
	return answer{Status: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: string(set)}
}

// idToken is an id token that comes with an access token.
func (f *fixture) idToken(client, secret, accessToken, nonce string) string {
	how := f.recording.IDToken
	algorithm := how.Alg
	if client == "web" && how.AlgOfWeb != "" {
		algorithm = how.AlgOfWeb
	}
	now := time.Now()
	claims := map[string]any{
		"iss": f.issuer(), "sub": account, "aud": client, "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "auth_time": now.Unix(),
		"at_hash": half(algorithm, accessToken),
	}
	if how.AudienceList {
		claims["aud"] = []string{client}
	}
	if nonce != "" {
		claims["nonce"] = nonce
	}
	for name, value := range how.Claims {
		if text, ok := value.(string); ok {
			value = strings.ReplaceAll(text, "${client}", client)
		}
		claims[name] = value
	}
	body, err := json.Marshal(claims)
	if err != nil {
		panic(err)
	}
	token := f.sign(algorithm, secret, body)
	f.issued[token] = true
	return token
}

func (f *fixture) sign(algorithm, secret string, body []byte) string {
	if algorithm == "HS512" { // by hand, for a secret that is too short for it
		signed := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS512","typ":"JWT"}`)) + "." + base64.RawURLEncoding.EncodeToString(body)
		mac := hmac.New(sha512.New, []byte(secret))
		mac.Write([]byte(signed))
		return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: jose.SignatureAlgorithm(algorithm), Key: jose.JSONWebKey{Key: f.key, KeyID: "key of the server"},
	}, (&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		panic(err)
	}
	signature, err := signer.Sign(body)
	if err != nil {
		panic(err)
	}
	token, err := signature.CompactSerialize()
	if err != nil {
		panic(err)
	}
	return token
}

// half is at_hash (OpenID Connect Core §3.1.3.6).
func half(algorithm, accessToken string) string {
	sum := sha256.New()
	if algorithm == "EdDSA" || strings.HasSuffix(algorithm, "512") {
		sum = sha512.New()
	}
	sum.Write([]byte(accessToken))
	return base64.RawURLEncoding.EncodeToString(sum.Sum(nil)[:sum.Size()/2])
}

// checkAssertion checks how the client with a key authenticates (RFC 7523 §3).
func (f *fixture) checkAssertion(form url.Values) error {
	if form.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
		return errors.New("no type that is known")
	}
	token, err := jose.ParseSignedCompact(form.Get("client_assertion"), algorithms)
	if err != nil {
		return err
	}
	body, err := token.Verify(f.clientKey.Public())
	if err != nil {
		return err
	}
	var claims struct {
		Iss, Sub, JTI string
		Aud           any
		Exp           int64
	}
	if err := json.Unmarshal(body, &claims); err != nil {
		return err
	}
	audience, ok := claims.Aud.(string)
	if list, many := claims.Aud.([]any); many && len(list) == 1 {
		audience, ok = list[0].(string)
	}
	switch {
	case !ok || !slices.Contains(f.recording.Audiences, strings.Replace(audience, f.origin, "${origin}", 1)):
		return errors.New("it is for another")
	case claims.Iss != "keyed" || claims.Sub != "keyed":
		return errors.New("it is of another")
	case claims.JTI == "" || f.used[claims.JTI]:
		return errors.New("its jti is none, or used")
	case claims.Exp <= time.Now().Unix():
		return errors.New("it has ended")
	}
	f.used[claims.JTI] = true
	return nil
}

// checkProof checks a DPoP proof (RFC 9449 §4.3), and returns the thumbprint of its key.
func (f *fixture) checkProof(req *http.Request, accessToken string) (string, error) {
	token, err := jose.ParseSignedCompact(req.Header.Get("DPoP"), algorithms)
	if err != nil {
		return "", err
	}
	header := token.Signatures[0].Protected
	if header.JSONWebKey == nil || !header.JSONWebKey.IsPublic() || header.ExtraHeaders[jose.HeaderType] != "dpop+jwt" {
		return "", errors.New("no proof")
	}
	body, err := token.Verify(header.JSONWebKey)
	if err != nil {
		return "", err
	}
	var claims struct {
		JTI, HTM, HTU, ATH string
		IAT                int64
	}
	if err := json.Unmarshal(body, &claims); err != nil {
		return "", err
	}
	wanted := ""
	if accessToken != "" {
		sum := sha256.Sum256([]byte(accessToken))
		wanted = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	switch {
	case claims.HTM != req.Method || claims.HTU != req.URL.Scheme+"://"+req.URL.Host+req.URL.Path:
		return "", errors.New("it is for another request")
	case claims.ATH != wanted:
		return "", errors.New("it is for another token")
	case claims.JTI == "" || f.used[claims.JTI]:
		return "", errors.New("its jti is none, or used")
	case time.Since(time.Unix(claims.IAT, 0)).Abs() > time.Minute:
		return "", errors.New("it is not of now")
	}
	f.used[claims.JTI] = true
	thumbprint, err := header.JSONWebKey.Thumbprint(crypto.SHA256)
	return base64.RawURLEncoding.EncodeToString(thumbprint), err
}

package client

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"

	"golang.org/x/oauth2"
)

// googleToken is Google's token endpoint, for files that name none.
const googleToken = "https://oauth2.googleapis.com/token"

// GoogleServiceAccount makes a Config of a service account's key file, the JSON that Google gives out, for access
// tokens with scopes. subject is the person in whose name the account acts by domain-wide delegation; empty: it
// acts in its own. Set the Store and what else is wanted before New; leave Config.Scopes empty, because Google wants
// them inside the JWT. Whoever has the file has the key: read it from where nobody else can.
//
// An error is a *ConfigError and quotes nothing of the file.
func GoogleServiceAccount(file []byte, subject string, scopes ...string) (Config, error) {
	bad := func(reason string) (Config, error) {
		return Config{}, &ConfigError{"GoogleServiceAccount", reason}
	}
	var account struct {
		Type     string `json:"type"`
		Email    string `json:"client_email"`
		Key      string `json:"private_key"`
		KeyID    string `json:"private_key_id"`
		TokenURI string `json:"token_uri"`
	}
	if json.Unmarshal(file, &account) != nil {
		return bad("was given something other than JSON; give it the whole key file")
	}
	if account.Type != "service_account" || account.Email == "" {
		return bad("was given a file of another kind; it takes those whose type is service_account")
	}
	signer, err := parsePrivateKey(account.Key)
	if err != nil {
		return bad("was given a file whose private_key " + err.Error() + "; create a new key for the account")
	}
	endpoint := cmp.Or(account.TokenURI, googleToken)
	grant := JWTBearer{
		Key: &Key{Signer: signer, ID: account.KeyID}, Issuer: account.Email, Subject: subject, Audience: endpoint,
		impersonal: true, // to Google, a sub is a request for delegation
	}
	if len(scopes) > 0 {
		grant.Claims = map[string]any{"scope": strings.Join(scopes, " ")}
	}
	return Config{Endpoint: oauth2.Endpoint{TokenURL: endpoint}, Grant: grant}, nil
}

// parsePrivateKey reads a key in PEM, PKCS #8 or PKCS #1. Its errors quote nothing.
func parsePrivateKey(text string) (crypto.Signer, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("is not PEM")
	}
	if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
		return key, nil
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, errors.New("is no private key in PKCS #8 or PKCS #1")
	}
	return signer, nil
}

package client

import (
	"crypto"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/evergrant/evergrant/internal/jws"
)

// Key is a private key that a client signs with: assertions (RFC 7523) or DPoP proofs (RFC 9449). It shows nothing
// of itself.
type Key struct {
	// Signer is the key: ECDSA on P-256, P-384 or P-521, Ed25519, or RSA of 2048 bits or more. It may stay in a
	// hardware module or a key service. Signer knows no context: one that asks a network needs time-outs of its own.
	// It must be safe for concurrent use, as the standard library's keys are. Required.
	Signer crypto.Signer

	// ID is the key id by which the server finds the public key (RFC 7515 §4.1.4). Empty: it is not said.
	ID string

	// Certificate is one of the public key, for servers that find keys by their certificates, such as Entra ID: assertions name it
	// by its SHA-256 thumbprint (x5t#S256, RFC 7515 §4.1.8). It is not sent, and nothing of it but the key is looked at. Nil: it is not
	// said.
	Certificate *x509.Certificate

	// Algorithm is how to sign, such as "PS256" (RFC 7518 §3.1). Empty: the first of the key's type that the server's
	// metadata offers; where that offers none in particular, ES256, ES384, ES512, EdDSA or RS256. EdDSA is also called
	// Ed25519 (RFC 9864): it is the name that the server's metadata lists which counts.
	Algorithm string
}

// prepare makes k ready to sign; its error is a *ConfigError for field.
func (k *Key) prepare(field string) (*jws.Key, error) {
	ready, err := jws.NewKey(k.Signer, k.ID)
	if err != nil {
		return nil, &ConfigError{field + ".Signer", "cannot be used: " + err.Error()}
	}
	if k.Algorithm != "" {
		if _, err := ready.Algorithm(k.Algorithm, nil); err != nil {
			return nil, &ConfigError{field + ".Algorithm", "cannot be used: " + err.Error()}
		}
	}
	if k.Certificate != nil {
		if ready, err = ready.WithCertificate(k.Certificate); err != nil {
			return nil, &ConfigError{field + ".Certificate", "cannot be used: " + err.Error()}
		}
	}
	return ready, nil
}

// Format implements fmt.Formatter: a Key shows its id under every verb, and nothing of the key.
func (k Key) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "client.Key(id %q)", k.ID) }

// LogValue implements slog.LogValuer.
func (k Key) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(k)) }

// MarshalJSON implements json.Marshaler: it writes the description that Format shows.
func (k Key) MarshalJSON() ([]byte, error) { return json.Marshal(fmt.Sprint(k)) }

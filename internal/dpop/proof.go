// Package dpop proves the possession of a key to servers (RFC 9449), and remembers what each of them has said about
// proofs.
//
// # Secrets
//
// A [Key] shows nothing of itself; [Generate] gives a private key as text, for a store. A proof is good for
// one request, within a minute or so, and is treated as a secret.
//
// # Concurrency
//
// A [Key] is immutable, a [Servers] is guarded by a lock that is never held for long.
package dpop

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/evergrant/evergrant/internal/origin"
)

// Claims are what a proof says of its request (RFC 9449 §4.2).
type Claims struct {
	Method string    // empty: GET, as net/http has it
	URL    string    // made by Target
	Token  string    // the access token that goes along; empty at the authorization server
	Nonce  string    // that the server has asked for; empty: none
	Time   time.Time // by the server's clock, as far as it is known
}

// Proof makes a proof with an id of its own, good for one send of one request. It takes as long as the signer does.
func (k *Key) Proof(c Claims) (string, error) {
	said := struct {
		ID     string `json:"jti"`
		Method string `json:"htm"`
		URL    string `json:"htu"`
		Time   int64  `json:"iat"`
		Token  string `json:"ath,omitempty"`
		Nonce  string `json:"nonce,omitempty"`
	}{rand.Text(), c.Method, c.URL, c.Time.Unix(), "", c.Nonce}
	if c.Method == "" {
		said.Method = http.MethodGet
	}
	if c.Token != "" {
		sum := sha256.Sum256([]byte(c.Token))
		said.Token = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	payload, err := json.Marshal(said)
	if err != nil {
		return "", err
	}
	return k.key.Compact(k.header, payload, k.algorithm)
}

// Target is the htu of a request to u: without user, query and fragment, for servers that compare text. Of the normal forms
// of RFC 3986 it has scheme and host in lower case (§6.2.2.1), no port that goes without saying and "/" for no path
// (§6.2.3); dot segments, percent-encodings and a host beyond ASCII stay as they are. host, if not empty, is the request's
// own, which the server takes for its name.
func Target(u *url.URL, host string) string {
	scheme := strings.ToLower(u.Scheme)
	if host == "" {
		host = u.Host
	}
	host = origin.Lower(host)
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	path := u.EscapedPath()
	if path == "" {
		path = "/"
	}
	return scheme + "://" + strings.TrimSuffix(host, ":") + path
}

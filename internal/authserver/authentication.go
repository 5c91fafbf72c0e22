package authserver

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"strings"
)

// Method is how a client authenticates (RFC 7591 §2).
type Method string

const (
	// MethodNone: a public client, which only says its client_id.
	MethodNone Method = "none"
	// MethodBasic: an Authorization header (RFC 6749 §2.3.1).
	MethodBasic Method = "client_secret_basic"
	// MethodPost: client_id and client_secret in the form.
	MethodPost Method = "client_secret_post"
	// MethodSecretJWT: a JWT under an HMAC with the client secret (OpenID Connect Core §9).
	MethodSecretJWT Method = "client_secret_jwt"
	// MethodKeyJWT: a JWT signed with a private key (RFC 7523 §2.2).
	MethodKeyJWT Method = "private_key_jwt"
	// MethodTLS: a client certificate of an authority that the server knows (RFC 8705 §2.1). It is the
	// connection's; in the form there is the client_id.
	MethodTLS Method = "tls_client_auth"
	// MethodSelfSignedTLS: a client certificate that is registered itself (RFC 8705 §2.2).
	MethodSelfSignedTLS Method = "self_signed_tls_client_auth"

	// methodBearer: the token that is to be revoked, in the secret's place.
	methodBearer Method = "bearer"
)

// Methods are all that a Client can authenticate by.
var Methods = []Method{MethodNone, MethodBasic, MethodPost, MethodSecretJWT, MethodKeyJWT, MethodTLS, MethodSelfSignedTLS}

// credentials are a form to which client authentication was added, and those of an Authorization header.
type credentials struct {
	form   url.Values // a copy
	header string     // Authorization; empty: none
}

// authenticate adds exactly one kind of client authentication (RFC 6749 §2.3), an assertion made for this request
// alone.
func (c *Client) authenticate(ctx context.Context, endpoint string, form url.Values) (credentials, *Failure) {
	shown := credentials{form: make(url.Values, len(form)+3)}
	maps.Copy(shown.form, form)
	if separator := c.Dialect.RequestSeparator; separator != "" && form.Has("scope") {
		shown.form.Set("scope", strings.ReplaceAll(form.Get("scope"), " ", separator))
	}
	switch c.Method {
	case MethodBasic:
		// RFC 6749 §2.3.1: both are form-encoded before they are joined.
		pair := url.QueryEscape(c.ID) + ":" + url.QueryEscape(c.Secret.Reveal())
		if c.Dialect.RawBasic {
			pair = c.ID + ":" + c.Secret.Reveal()
		}
		shown.header = "Basic " + base64.StdEncoding.EncodeToString([]byte(pair))
		return shown, nil
	case methodBearer:
		shown.header = "Bearer " + c.Secret.Reveal()
		return shown, nil
	case MethodPost:
		if !c.Secret.IsEmpty() {
			shown.form.Set("client_secret", c.Secret.Reveal())
		}
	case MethodSecretJWT, MethodKeyJWT:
		if c.Method == MethodKeyJWT && c.Key == nil && c.Foreign == nil {
			return credentials{}, &Failure{Outcome: Misconfigured, Err: errors.New("nothing was sent; there is no key to sign the client's assertion with")}
		}
		assertion, err := c.assertion(ctx, endpoint)
		if err != nil {
			// A key service may be back for the next try.
			return credentials{}, &Failure{Outcome: NotProcessed, Err: fmt.Errorf("nothing was sent; the client's assertion cannot be had: %w", err)}
		}
		shown.form.Set("client_assertion_type", assertionType)
		shown.form.Set("client_assertion", assertion)
	case MethodNone, MethodTLS, MethodSelfSignedTLS:
	default:
		return credentials{}, &Failure{Outcome: Misconfigured, Err: fmt.Errorf("nothing was sent; there is no way to authenticate by %q: use one of %v", string(c.Method), Methods)}
	}
	if c.ID != "" {
		shown.form.Set(cmp.Or(c.Dialect.IDParam, "client_id"), c.ID) // RFC 8705 §2 wants it; beside an assertion it names the same client (RFC 7521 §4.2)
	}
	return shown, nil
}

// advice says what to look at when the server does not accept a client that authenticated by m.
func (m Method) advice() string {
	check := "ClientID"
	switch m {
	case MethodBasic, MethodPost, MethodSecretJWT:
		check += ", ClientSecret"
	case MethodKeyJWT:
		check += ", ClientKey or ClientAssertion, this machine's clock"
	case MethodTLS, MethodSelfSignedTLS:
		check += ", ClientCertificate"
	}
	if m == "" {
		return "check " + check + " and AuthMethod"
	}
	return fmt.Sprintf("the client authenticated by %s: check %s, or set AuthMethod (or Endpoint.AuthStyle) to what the server wants", m, check)
}

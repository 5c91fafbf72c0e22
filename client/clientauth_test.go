package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	profiles "github.com/evergrant/evergrant/client/provider"
	"github.com/evergrant/evergrant/internal/jws"
	"github.com/evergrant/evergrant/tokenstore"
)

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

const longSecret = "p%+é, and long enough for a hash of 32 bytes"

func withSecret(c *client.Config) { c.ClientSecret = longSecret }

// Shows R8414-2-2, O21-2.4.1-1, OIDCD-3-2.
func TestTheMethodIsChosenByWhatTheServerOffersAndTheClientHas(t *testing.T) {
	key, certificate := &client.Key{Signer: newKey(t)}, selfSigned(t, "app")
	withClientKey := func(c *client.Config) { c.ClientKey = key }
	withCertificate := func(c *client.Config) { c.ClientCertificate = &certificate }
	both := func(first, second func(*client.Config)) func(*client.Config) {
		return func(c *client.Config) { first(c); second(c) }
	}
	method := func(name string) func(*client.Config) { return func(c *client.Config) { c.AuthMethod = name } }
	every := []string{
		"client_secret_post", "client_secret_basic", "client_secret_jwt", "private_key_jwt", "tls_client_auth",
		"self_signed_tls_client_auth", "none",
	}
	for _, tt := range []struct {
		name    string
		set     func(*client.Config)
		offered []string // nil: the metadata does not say
		want    string   // empty: an error
	}{
		{"R6749-2.3.1-2 Basic before the form", withSecret, every, "client_secret_basic"},
		{"R6749-2.3.1-2 Basic where nothing is said", withSecret, nil, "client_secret_basic"},
		{"R6749-2.3.1-2 the form where Basic is not offered", withSecret, []string{"private_key_jwt", "client_secret_post"}, "client_secret_post"},
		{"OIDC-9-2 an assertion where a secret is taken in no other way", withSecret, []string{"client_secret_jwt"}, "client_secret_jwt"},
		{"R9700-2.5-1 a key before a secret's ways", withClientKey, every, "private_key_jwt"},
		{"R9700-2.5-1 a key where nothing is said", withClientKey, nil, "private_key_jwt"},
		{"R9700-2.5-1 a certificate before a secret", both(withSecret, withCertificate), every, "client_id alone"},
		{"R9700-2.5-1 a key before a certificate", both(withClientKey, withCertificate), every, "private_key_jwt"},
		{"R8705-2.1.1-1 a certificate", withCertificate, []string{"tls_client_auth", "client_secret_basic"}, "client_id alone"},
		{"R8705-2.1.1-1 a self-signed certificate", withCertificate, []string{"self_signed_tls_client_auth"}, "client_id alone"},
		{"R8705-2.1.1-1 no certificate at hand", withSecret, []string{"tls_client_auth", "client_secret_basic"}, "client_secret_basic"},
		{"R8705-4-1 a public client with a certificate", withCertificate, []string{"client_secret_basic", "none"}, "client_id alone"},
		{"a secret whose tokens are bound to a certificate", both(withSecret, withCertificate), []string{"client_secret_basic"}, "client_secret_basic"},
		{"R6749-3.2.1-2 a public client", nil, every, "client_id alone"},
		{"a style given", both(withSecret, func(c *client.Config) { c.Endpoint.AuthStyle = oauth2.AuthStyleInParams }), every, "client_secret_post"},
		{"a method given, over what is offered", both(withSecret, method("client_secret_post")), []string{"client_secret_basic"}, "client_secret_post"},
		{"a method given, over the style", both(both(withSecret, method("client_secret_jwt")), func(c *client.Config) { c.Endpoint.AuthStyle = oauth2.AuthStyleInParams }), nil, "client_secret_jwt"},
		{"a method given, over a key", both(both(withCertificate, withClientKey), method("tls_client_auth")), every, "client_id alone"},
		{"nothing offered that a secret does", withSecret, []string{"private_key_jwt", "tls_client_auth"}, ""},
		{"nothing offered that a key does", withClientKey, []string{"client_secret_basic"}, ""},
		{"R6749-4.4-1 client credentials of a client that would be public here", func(c *client.Config) {
			withCertificate(c)
			c.Grant = client.ClientCredentials{}
		}, []string{"client_secret_basic", "none"}, ""},
		{"a secret too short for what is offered", func(c *client.Config) { c.ClientSecret = "short" }, []string{"client_secret_jwt"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk(tt.offered...)
			s := d.session(t, tt.set)
			_, err := s.Token(t.Context())
			if tt.want == "" {
				_, ok := errors.AsType[*client.ConfigError](err)
				require.True(t, ok, "%v", err)
				require.Empty(t, d.letters(), "a credential is not shown to a server that has no use for it")
				return
			}
			require.NoError(t, err)
			require.NoError(t, s.Logout(t.Context()))
			require.Len(t, d.letters(), 3, "one request for a token, and one for each that is revoked: nothing is probed")
			for _, l := range d.letters() {
				require.Equal(t, tt.want, l.method(), "at %s", l.url.Path) // R7009-2.1-2
			}
		})
	}
}

// What a server offers is shown to people, and it may offer anything.
func TestOffersInErrorsAreShort(t *testing.T) {
	offered := []string{strings.Repeat("\x1b[2J\n\u202emethod", 20_000)}
	for name, set := range map[string]func(*client.Config){
		"nothing that the client does": withSecret,
		"client credentials of a public client": func(c *client.Config) {
			certificate := selfSigned(t, "app")
			c.ClientCertificate, c.Grant = &certificate, client.ClientCredentials{}
		},
		"no proofs that can be made": func(c *client.Config) { c.DPoP = &client.DPoP{} },
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(offered...)
			d.metadata["dpop_signing_alg_values_supported"] = offered
			_, err := d.session(t, set).Token(t.Context())
			require.ErrorContains(t, err, "method")
			require.Less(t, len(err.Error()), 1000)
			require.NotContains(t, err.Error(), "\x1b")
			require.NotContains(t, err.Error(), "\n")
			require.NotContains(t, err.Error(), "\u202e")
		})
	}
}

// Shows R6749-3.2.1-1, R6749-6-1.
// Shows R8628-4-1, OIDC-12.1-1.
func TestEveryTokenRequestAuthenticates(t *testing.T) {
	key := newKey(t)
	synctest.Test(t, func(t *testing.T) {
		d := newDesk("private_key_jwt")
		d.metadata["authorization_endpoint"] = "https://as.test/authorize"
		d.answer = func(n int, form url.Values) (int, string) {
			if form.Has("client_assertion") && !form.Has("grant_type") {
				return 200, `{"device_code":"DC","user_code":"UC","verification_uri":"https://as.test/v","interval":1}`
			}
			return 200, fmt.Sprintf(`{"access_token":"AT%d","token_type":"Bearer","refresh_token":"RT","expires_in":3600}`, n)
		}
		s := open(t, d.config(func(c *client.Config) {
			c.ClientKey, c.RedirectURL = &client.Key{Signer: key}, "https://app.test/callback"
		})).Session("alice")
		p, err := s.Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		asked, err := url.Parse(p.URL)
		require.NoError(t, err)
		require.NoError(t, s.Finish(t.Context(), p, url.Values{"code": {"C"}, "state": {asked.Query().Get("state")}}))
		require.NoError(t, s.Login(t.Context(), client.Device{Prompt: shrug}))
		_, err = s.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, s.Logout(t.Context()))

		var asks []string
		for _, l := range d.letters() {
			asks = append(asks, l.url.Path+" "+l.form.Get("grant_type"))
			require.Equal(t, "private_key_jwt", l.method())
			_, claims := verified(t, l.form.Get("client_assertion"), &key.PublicKey)
			require.Equal(t, "https://as.test", claims["aud"], "the issuer, at every endpoint")
		}
		require.Equal(t, []string{
			"/token authorization_code", "/device ", "/token urn:ietf:params:oauth:grant-type:device_code", "/token refresh_token", "/revoke ", "/revoke ",
		}, asks)
	})
}

// Okta wants every assertion for the very URL that it is sent to.
func TestAssertionForTheURLThatItIsSentTo(t *testing.T) {
	key := newKey(t)
	synctest.Test(t, func(t *testing.T) {
		d := newDesk("private_key_jwt")
		d.metadata["authorization_endpoint"] = "https://as.test/authorize"
		d.metadata["pushed_authorization_request_endpoint"] = "https://as.test/par"
		d.metadata["introspection_endpoint"] = "https://as.test/introspect"
		d.answer = func(n int, form url.Values) (int, string) {
			switch {
			case form.Has("response_type"):
				return 201, `{"request_uri":"urn:example:1","expires_in":60}`
			case !form.Has("grant_type"):
				return 200, `{"active":true,"device_code":"DC","user_code":"UC","verification_uri":"https://as.test/v","interval":1}`
			}
			return 200, fmt.Sprintf(`{"access_token":"AT%d","token_type":"Bearer","refresh_token":"RT","expires_in":3600}`, n)
		}
		s := open(t, d.config(func(c *client.Config) {
			c.ClientKey, c.RedirectURL, c.Provider = &client.Key{Signer: key}, "https://app.test/callback", profiles.Okta
		})).Session("alice")
		_, err := s.Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		require.NoError(t, s.Login(t.Context(), client.Device{Prompt: shrug}))
		_, err = s.Renew(t.Context(), nil)
		require.NoError(t, err)
		_, err = s.Introspect(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, s.Logout(t.Context()))

		asked := map[string]bool{}
		for _, l := range d.letters() {
			asked[l.url.Path] = true
			_, claims := verified(t, l.form.Get("client_assertion"), &key.PublicKey)
			require.Equal(t, l.url.String(), claims["aud"])
		}
		require.Equal(t, map[string]bool{"/par": true, "/device": true, "/token": true, "/introspect": true, "/revoke": true}, asked)
	})
}

// Entra ID finds a key by its certificate, and knows one type of JWTs.
func TestAssertionForEntraID(t *testing.T) {
	certificate := selfSigned(t, "app")
	signer := certificate.PrivateKey.(*ecdsa.PrivateKey)
	parsed, err := x509.ParseCertificate(certificate.Certificate[0])
	require.NoError(t, err)
	sum := sha256.Sum256(certificate.Certificate[0])
	d := newDesk("private_key_jwt")
	s := d.session(t, func(c *client.Config) {
		c.ClientKey, c.Provider = &client.Key{Signer: signer, Certificate: parsed}, profiles.Microsoft
	})
	token(t, s)
	header, claims := verified(t, d.letters()[0].form.Get("client_assertion"), &signer.PublicKey)
	require.Equal(t, map[string]any{"alg": "ES256", "typ": "JWT", "x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}, header)
	require.Equal(t, "https://as.test/token", claims["aud"])
}

// A platform's token that says who the workload is: asked for at every request, and shown nowhere.
func TestAssertionThatSomebodyElseHasSigned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		foreign := func(context.Context) (string, error) {
			if asked++; asked == 1 {
				return "", errors.New("the platform is away")
			}
			return fmt.Sprintf("platform-%d", asked), nil
		}
		d := newDesk("private_key_jwt")
		s := open(t, d.config(func(c *client.Config) { c.ClientAssertion, c.Grant = foreign, client.ClientCredentials{} })).Session("")
		require.Equal(t, "AT1", token(t, s))
		l := d.letters()[0]
		require.Equal(t, "platform-2", l.form.Get("client_assertion"))
		require.Equal(t, "urn:ietf:params:oauth:client-assertion-type:jwt-bearer", l.form.Get("client_assertion_type"))
		require.Equal(t, "app/1", l.form.Get("client_id"))

		d.answer = func(int, url.Values) (int, string) {
			return 401, `{"error":"invalid_client","error_description":"not platform-3"}`
		}
		_, err := s.Renew(t.Context(), nil)
		require.ErrorContains(t, err, "ClientAssertion")
		require.NotContains(t, err.Error(), "platform-3")

		other := newDesk("client_secret_basic", "none")
		_, err = open(t, other.config(func(c *client.Config) { c.ClientAssertion, c.Grant = foreign, client.ClientCredentials{} })).Session("").Token(t.Context())
		requireConfigError(t, err, "Config.AuthMethod")
		require.Empty(t, other.letters())
	})
}

// TestAssertion holds an assertion against RFC 7523 and its update.
// Shows O21-2.4-1.
func TestAssertion(t *testing.T) {
	key := newKey(t)
	d := newDesk("private_key_jwt")
	s := d.session(t, func(c *client.Config) { c.ClientKey = &client.Key{Signer: key, ID: "key 1"} })
	before := time.Now()
	require.Equal(t, "AT1", token(t, s))
	form := d.letters()[0].form
	header, claims := verified(t, form.Get("client_assertion"), &key.PublicKey)
	number := func(name string) time.Time {
		seconds, ok := claims[name].(float64)
		require.True(t, ok, name)
		return time.Unix(int64(seconds), 0)
	}
	for id, hold := range map[string]func(t *testing.T){
		"R7523-2.2-1": func(t *testing.T) {
			require.Equal(t, []string{"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}, form["client_assertion_type"])
			require.Len(t, form["client_assertion"], 1)
			require.NotContains(t, form, "client_secret")
		},
		"R7521-4.2-1": func(t *testing.T) { require.Equal(t, claims["sub"], form.Get("client_id")) },
		"R7523-3-1":   func(t *testing.T) { require.Equal(t, "app/1", claims["iss"]) },
		"R7523-3-2":   func(t *testing.T) { require.Equal(t, "app/1", claims["sub"]) },
		"R7523-3-3":   func(t *testing.T) { require.Equal(t, "https://as.test", claims["aud"]) },
		"R7523b-4-1":  func(t *testing.T) { require.IsType(t, "", claims["aud"], "a string, not an array") },
		"R7523-3-4":   func(t *testing.T) { require.Equal(t, time.Minute, number("exp").Sub(number("iat"))) },
		"R7523-3-7":   func(t *testing.T) { require.Equal(t, "ES256", header["alg"]); require.Equal(t, "key 1", header["kid"]) },
		"R7523b-4-2":  func(t *testing.T) { require.Equal(t, "client-authentication+jwt", header["typ"]) },
		"OIDC-9-1":    func(t *testing.T) { require.NotEmpty(t, claims["jti"]); require.True(t, number("exp").After(before)) },
		"OIDC-9-2":    func(t *testing.T) { require.True(t, form.Has("client_assertion")) },
		"R6749-2.3-1": func(t *testing.T) { require.NotContains(t, d.letters()[0].header, "Authorization") },
		"R6749-3.2-1": func(t *testing.T) { require.Contains(t, d.letters()[0].header.Get("Content-Type"), "form-urlencoded") },
		"R6749-2.3.1-3": func(t *testing.T) {
			require.Empty(t, d.letters()[0].url.RawQuery)
		},
		"R7523-3-5": func(t *testing.T) {
			require.NotContains(t, claims, "nbf")
			require.WithinRange(t, number("iat"), before.Add(-time.Second), time.Now())
		},
	} {
		t.Run(id, hold)
	}
}

// The metadata's spelling of the issuer counts: a slash more or less is another audience.
func TestR7523_3_3_TheIssuerAsTheServerWritesIt(t *testing.T) {
	d := newDesk("private_key_jwt")
	d.metadata["issuer"] = "https://as.test/"
	s := d.session(t, func(c *client.Config) { c.Issuer, c.ClientKey = "https://as.test/", &client.Key{Signer: newKey(t)} })
	token(t, s)
	require.Contains(t, decoded(d.letters()[0].form.Get("client_assertion"), 1), `"aud":"https://as.test/"`)
}

// Without an issuer the token endpoint is all that is known of the server.
// Shows R7523b-4-3.
func TestR7523_3_3_NoIssuer(t *testing.T) {
	d := newDesk()
	s := d.session(t, func(c *client.Config) {
		c.Issuer, c.Endpoint.TokenURL = "", "https://as.test/token"
		c.ClientKey = &client.Key{Signer: newKey(t)}
	})
	token(t, s)
	require.Contains(t, decoded(d.letters()[0].form.Get("client_assertion"), 1), `"aud":"https://as.test/token"`)
}

// A try of the same renewal has an assertion of its own: a server that looks for replays would refuse the first one's.
func TestR7523_3_6(t *testing.T) {
	key := newKey(t)
	synctest.Test(t, func(t *testing.T) {
		d := newDesk("private_key_jwt")
		d.answer = func(n int, _ url.Values) (int, string) {
			if n < 4 {
				return 503, ""
			}
			return 0, ""
		}
		s := d.session(t, func(c *client.Config) { c.ClientKey = &client.Key{Signer: key} })
		require.Equal(t, "AT4", token(t, s))
		seen := map[any]bool{}
		for _, l := range d.letters() {
			_, claims := verified(t, l.form.Get("client_assertion"), &key.PublicKey)
			seen[claims["jti"]] = true
		}
		require.Len(t, seen, 4)
	})
}

// A platform that has no assertion gives an error, or nothing: the client is not shown without one.
func TestNothingIsSentWithoutAnAssertion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk("private_key_jwt")
		s := open(t, d.config(func(c *client.Config) {
			c.ClientAssertion, c.Grant = func(context.Context) (string, error) { return "", nil }, client.ClientCredentials{}
		})).Session("")
		_, err := s.Token(t.Context())
		require.Error(t, err)
		require.Empty(t, d.letters())
	})
}

// Shows R7523-3.2-1, R6749-5.2-1.
func TestARefusedAssertionCostsNoGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk("private_key_jwt")
		d.answer = func(n int, _ url.Values) (int, string) {
			if n == 1 {
				return 401, `{"error":"invalid_client"}`
			}
			return 0, ""
		}
		s := d.session(t, func(c *client.Config) { c.ClientKey = &client.Key{Signer: newKey(t)} })
		_, err := s.Token(t.Context())
		e, ok := errors.AsType[*client.Error](err)
		require.True(t, ok)
		require.Equal(t, "invalid_client", e.Code)
		require.NotErrorIs(t, err, client.ErrLoginRequired)
		require.ErrorContains(t, err, "ClientKey")
		require.ErrorContains(t, err, "AuthMethod")
		time.Sleep(time.Minute)
		require.Equal(t, "AT2", token(t, s))
		require.Equal(t, "RT", d.letters()[1].form.Get("refresh_token"))
	})
}

// A wrong local clock is made up for once an answer has told the server's.
func TestR7523_3_5_ByTheServersClock(t *testing.T) {
	key := newKey(t)
	for method, c := range map[string]struct {
		set   func(*client.Config)
		check any
	}{
		"private_key_jwt":   {func(c *client.Config) { c.ClientKey = &client.Key{Signer: key} }, &key.PublicKey},
		"client_secret_jwt": {func(c *client.Config) { c.ClientSecret = idSecret }, []byte(idSecret)},
	} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const ahead = time.Hour
				d := newDesk(method)
				refuse := dated{d, ahead}
				d.answer = func(n int, _ url.Values) (int, string) {
					if n == 1 {
						return 401, `{"error":"invalid_client"}`
					}
					return 0, ""
				}
				s := d.session(t, func(config *client.Config) {
					c.set(config)
					config.AuthServerClient = &http.Client{Transport: refuse}
				})
				_, err := s.Token(t.Context())
				require.Error(t, err)
				time.Sleep(time.Minute)
				token(t, s)
				require.Equal(t, method, d.letters()[1].method())
				_, claims := verified(t, d.letters()[1].form.Get("client_assertion"), c.check)
				require.InDelta(t, float64(time.Now().Add(ahead).Unix()), claims["iat"], 2)
			})
		})
	}
}

// The JWT that is the grant itself is dated by the server's clock, too.
func TestR7523_3_5_OfTheJWTBearerGrant(t *testing.T) {
	key := newKey(t)
	synctest.Test(t, func(t *testing.T) {
		const ahead = time.Hour
		d := newDesk()
		d.answer = func(n int, _ url.Values) (int, string) {
			if n == 1 {
				return 400, `{"error":"invalid_grant"}`
			}
			return 0, ""
		}
		s := open(t, d.config(func(c *client.Config) {
			c.Grant, c.AuthServerClient = client.JWTBearer{Key: &client.Key{Signer: key}}, &http.Client{Transport: dated{d, ahead}}
		})).Session("alice")
		_, err := s.Token(t.Context())
		require.Error(t, err)
		time.Sleep(time.Minute)
		token(t, s)
		_, claims := verified(t, d.letters()[1].form.Get("assertion"), &key.PublicKey)
		require.InDelta(t, float64(time.Now().Add(ahead).Unix()), claims["iat"], 2)
		require.Greater(t, claims["exp"], float64(time.Now().Add(ahead).Unix()))
	})
}

// dated answers with a clock of its own.
type dated struct {
	next  http.RoundTripper
	ahead time.Duration
}

func (d dated) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := d.next.RoundTrip(req)
	if err == nil {
		resp.Header.Set("Date", time.Now().Add(d.ahead).UTC().Format(http.TimeFormat))
	}
	return resp, err
}

func TestTheAlgorithmIsTheKeysAndTheServers(t *testing.T) {
	long, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	_, short, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	for _, tt := range []struct {
		name    string
		key     client.Key
		offered []string
		want    string // empty: an error
	}{
		{"the key's own", client.Key{Signer: long}, nil, "RS256"},
		{"the server's", client.Key{Signer: long}, []string{"ES256", "PS256"}, "PS256"},
		{"the program's", client.Key{Signer: long, Algorithm: "PS256"}, []string{"RS256"}, "PS256"},
		{"the only name of Ed25519", client.Key{Signer: short}, nil, "EdDSA"},
		{"the server's name of Ed25519", client.Key{Signer: short}, []string{"Ed25519"}, "Ed25519"},
		{"none in common", client.Key{Signer: long}, []string{"ES256", "HS256"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk("private_key_jwt")
			if tt.offered != nil {
				d.metadata["token_endpoint_auth_signing_alg_values_supported"] = tt.offered
			}
			s := d.session(t, func(c *client.Config) { c.ClientKey = &tt.key })
			_, err := s.Token(t.Context())
			if tt.want == "" {
				_, ok := errors.AsType[*client.ConfigError](err)
				require.True(t, ok, "%v", err)
				return
			}
			require.NoError(t, err)
			assertion := d.letters()[0].form.Get("client_assertion")
			require.Contains(t, decoded(assertion, 0), `"alg":"`+tt.want+`"`)
			keys := must(jws.ParseKeySet(must(json.Marshal(map[string]any{"keys": []any{publicKey(t, tt.key.Signer, "")}}))))
			_, err = keys.Verify(assertion, []string{tt.want})
			require.NoError(t, err)
		})
	}
}

// Shows OIDC-9-1, R7523-3-7.
func TestAnAssertionUnderTheSecret(t *testing.T) {
	for _, tt := range []struct {
		offered []string
		want    string
	}{{nil, "HS256"}, {[]string{"RS256", "HS256", "HS512"}, "HS256"}, {[]string{"HS512"}, "HS512"}} {
		d := newDesk("client_secret_jwt")
		if tt.offered != nil {
			d.metadata["token_endpoint_auth_signing_alg_values_supported"] = tt.offered
		}
		secret := strings.Repeat(longSecret, 2)
		s := d.session(t, func(c *client.Config) { c.ClientSecret = secret })
		token(t, s)
		header, claims := verified(t, d.letters()[0].form.Get("client_assertion"), []byte(secret))
		require.Equal(t, tt.want, header["alg"])
		require.Equal(t, "app/1", claims["iss"])
		require.Equal(t, "app/1", claims["sub"])
		require.Equal(t, "https://as.test", claims["aud"])
	}
}

// Shows R7009-2.1-2.
// Shows R8414-2-4.
func TestTheRevocationEndpointMayWantAnotherMethod(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		offered    []string
	}{
		{"the same", "client_secret_basic", []string{"client_secret_post", "client_secret_basic"}},
		{"another", "client_secret_post", []string{"client_secret_post"}},
		{"none that the client can do", "client_secret_basic", []string{"private_key_jwt"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDesk("client_secret_basic")
			d.metadata["revocation_endpoint_auth_methods_supported"] = tt.offered
			s := d.session(t, withSecret)
			token(t, s)
			require.NoError(t, s.Logout(t.Context()))
			require.Equal(t, "client_secret_basic", d.letters()[0].method())
			require.Equal(t, tt.want, d.letters()[1].method())
		})
	}
}

func TestNewRefusesCredentialsThatCannotBe(t *testing.T) {
	elsewhere := func(context.Context) (string, error) { return "", nil }
	key, certificate := newKey(t), selfSigned(t, "app")
	parsed, err := x509.ParseCertificate(certificate.Certificate[0])
	require.NoError(t, err)
	for name, row := range map[string]struct {
		field string
		spoil func(*client.Config)
	}{
		"R7521-4.2-2 a key and a secret": {"Config.ClientKey", func(c *client.Config) { withSecret(c); c.ClientKey = &client.Key{Signer: key} }},
		"no such method":                 {"Config.AuthMethod", func(c *client.Config) { c.AuthMethod = "client_secret" }},
		"none with a secret":             {"Config.AuthMethod", func(c *client.Config) { withSecret(c); c.AuthMethod = "none" }},
		"Basic without a secret":         {"Config.ClientSecret", func(c *client.Config) { c.AuthMethod = "client_secret_basic" }},
		"an HMAC with a short secret": {"Config.ClientSecret", func(c *client.Config) {
			c.AuthMethod, c.ClientSecret = "client_secret_jwt", "short"
		}},
		"an assertion without a key":            {"Config.ClientKey", func(c *client.Config) { c.AuthMethod = "private_key_jwt" }},
		"R8705-2-1 no certificate":              {"Config.ClientCertificate", func(c *client.Config) { c.AuthMethod = "tls_client_auth" }},
		"R8705-2-1 no self-signed one":          {"Config.ClientCertificate", func(c *client.Config) { c.AuthMethod = "self_signed_tls_client_auth" }},
		"R8705-2-1 a certificate without a key": {"Config.ClientCertificate", func(c *client.Config) { c.ClientCertificate = &tls.Certificate{Certificate: certificate.Certificate} }},
		"a key that is none":                    {"Config.ClientKey.Signer", func(c *client.Config) { c.ClientKey = &client.Key{} }},
		"R7523-3-7 alg none":                    {"Config.ClientKey.Algorithm", func(c *client.Config) { c.ClientKey = &client.Key{Signer: key, Algorithm: "none"} }},
		"an HMAC of a private key":              {"Config.ClientKey.Algorithm", func(c *client.Config) { c.ClientKey = &client.Key{Signer: key, Algorithm: "HS256"} }},
		"a certificate of another key":          {"Config.ClientKey.Certificate", func(c *client.Config) { c.ClientKey = &client.Key{Signer: key, Certificate: parsed} }},
		"a certificate of no key":               {"Config.ClientKey.Certificate", func(c *client.Config) { c.ClientKey = &client.Key{Signer: key, Certificate: new(x509.Certificate)} }},
		"R7521-4.2-2 two assertions":            {"Config.ClientAssertion", func(c *client.Config) { c.ClientKey, c.ClientAssertion = &client.Key{Signer: key}, elsewhere }},
		"R7521-4.2-2 an assertion and a secret": {"Config.ClientAssertion", func(c *client.Config) { withSecret(c); c.ClientAssertion = elsewhere }},
		"none with an assertion":                {"Config.AuthMethod", func(c *client.Config) { c.AuthMethod, c.ClientAssertion = "none", elsewhere }},
		"an assertion for whichever server": {"Config.ClientAssertion", func(c *client.Config) {
			*c = client.Config{Resource: "https://api.example", ClientAssertion: elsewhere}
		}},
		"R6749-4.4-1 nothing to show": {"Config.ClientSecret", func(c *client.Config) { c.Grant = client.ClientCredentials{} }},
		"R6749-4.4-1 a public client": {"Config.ClientSecret", func(c *client.Config) {
			c.AuthMethod, c.ClientCertificate, c.Grant = "none", &certificate, client.ClientCredentials{}
		}},
		"a reserved parameter of refreshes": {"Config.TokenParams", func(c *client.Config) { c.TokenParams = url.Values{"refresh_token": {"x"}} }},
		"parameters of refreshes that never come": {"Config.TokenParams", func(c *client.Config) {
			withSecret(c)
			c.Grant, c.TokenParams = client.ClientCredentials{}, url.Values{"audience": {"x"}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			config := good()
			row.spoil(&config)
			_, err := client.New(config)
			e, ok := errors.AsType[*client.ConfigError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, row.field, e.Field)
		})
	}
}

// Shows R6749-2.2-1. A client id has any length, and is one server's.
func TestR6749_2_2_1(t *testing.T) {
	long, store := strings.Repeat("client id: %&+é", 300), tokenstore.NewMemory()
	for _, issuer := range []string{"https://as.test", "https://other.test"} {
		d := newDesk()
		d.metadata["issuer"] = issuer
		c := open(t, d.config(func(c *client.Config) { c.ClientID, c.Issuer, c.Store = long, issuer, store }))
		_, err := c.Session("alice").Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired, "what another server gave is not at hand")
		require.NoError(t, c.Session("alice").Adopt(t.Context(), &oauth2.Token{RefreshToken: "RT of " + issuer}))
		token(t, c.Session("alice"))
		require.Equal(t, long, d.letters()[0].form.Get("client_id"))
		require.Equal(t, "RT of "+issuer, d.letters()[0].form.Get("refresh_token"))
	}
}

func shrug(context.Context, client.Verification) error { return nil }

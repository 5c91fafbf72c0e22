package client_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/transport"
)

// Shows R6749-4.4.3-1.
func TestClientCredentialsWithoutASecret(t *testing.T) {
	key := newKey(t)
	synctest.Test(t, func(t *testing.T) {
		d := newDesk("private_key_jwt")
		s := open(t, d.config(func(c *client.Config) {
			c.ClientKey, c.Grant, c.Scopes = &client.Key{Signer: key}, client.ClientCredentials{}, []string{"read"}
		})).Session("")
		require.Equal(t, "AT1", token(t, s))
		time.Sleep(2 * time.Hour)
		require.Equal(t, "AT2", token(t, s), "the grant is run again")
		for _, l := range d.letters() {
			require.Equal(t, "private_key_jwt", l.method())
			require.Equal(t, "client_credentials", l.form.Get("grant_type"))
		}
	})
}

// Shows R6749-4.5-1.
func TestExtensionGrant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, failure := 0, error(nil)
		d := newDesk()
		s := open(t, d.config(func(c *client.Config) {
			c.Scopes = []string{"read"}
			c.Grant = client.ExtensionGrant{Type: "urn:example:grant", Params: func(context.Context) (url.Values, error) {
				asked++
				return url.Values{"card": {fmt.Sprint(asked), "&= +"}}, failure
			}}
		})).Session("")
		require.Equal(t, "AT1", token(t, s))
		require.Equal(t, url.Values{
			"grant_type": {"urn:example:grant"}, "card": {"1", "&= +"}, "scope": {"read"}, "client_id": {"app/1"},
		}, d.letters()[0].form)
		_, err := s.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, "2", d.letters()[1].form.Get("card"))
		failure = errors.New("no card")
		_, err = s.Renew(t.Context(), nil)
		require.ErrorIs(t, err, failure)
		require.Len(t, d.letters(), 2)
	})
}

// TestJWTBearer holds the request against RFC 7521 and RFC 7523.
// What every token request says is not for a grant's own parameters, which come at any time, to say.
func TestParametersThatAnExtensionGrantCannotSet(t *testing.T) {
	for _, name := range []string{"grant_type", "scope", "client_id", "client_secret", "client_assertion", "client_assertion_type"} {
		synctest.Test(t, func(t *testing.T) {
			d := newDesk()
			s := open(t, d.config(func(c *client.Config) {
				c.Grant = client.ExtensionGrant{Type: "urn:example:grant", Params: func(context.Context) (url.Values, error) {
					return url.Values{name: {"x"}}, nil
				}}
			})).Session("")
			_, err := s.Token(t.Context())
			requireConfigError(t, err, "ExtensionGrant.Params")
			require.Empty(t, d.letters())
		})
	}
	config := good()
	config.Grant = client.ExtensionGrant{}
	_, err := client.New(config)
	requireConfigError(t, err, "ExtensionGrant.Type")
}

func TestJWTBearer(t *testing.T) {
	key := newKey(t)
	d := newDesk()
	s := open(t, d.config(func(c *client.Config) {
		c.ClientID, c.Scopes = "", []string{"read"}
		c.Grant = client.JWTBearer{
			Key: &client.Key{Signer: key, ID: "key 1"}, Issuer: "https://sts.example/", Subject: "alice",
			Claims: map[string]any{"department": "X"},
		}
	})).Session("")
	require.Equal(t, "AT1", token(t, s))
	l := d.letters()[0]
	header, claims := verified(t, l.form.Get("assertion"), &key.PublicKey)
	for id, hold := range map[string]func(t *testing.T){
		"R7521-4.1-1": func(t *testing.T) {
			require.Equal(t, url.Values{
				"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {l.form.Get("assertion")}, "scope": {"read"},
			}, l.form)
		},
		"R7523-2.1-1": func(t *testing.T) { require.Len(t, l.form["assertion"], 1) },
		"R7523-2.1-2": func(t *testing.T) {
			require.NotContains(t, l.form, "client_id")
			require.NotContains(t, l.header, "Authorization")
		},
		"R7523-3-1": func(t *testing.T) { require.Equal(t, "https://sts.example/", claims["iss"]) },
		"R7523-3-2": func(t *testing.T) { require.Equal(t, "alice", claims["sub"]) },
		"R7523-3-3": func(t *testing.T) { require.Equal(t, "https://as.test", claims["aud"]) },
		"R7523-3-4": func(t *testing.T) {
			require.InDelta(t, claims["exp"], claims["iat"], (5 * time.Minute).Seconds())
			require.Greater(t, claims["exp"], claims["iat"])
		},
		"R7523-3-6":      func(t *testing.T) { require.NotEmpty(t, claims["jti"]) },
		"R7523-3-7":      func(t *testing.T) { require.Equal(t, "key 1", header["kid"]); require.Equal(t, "ES256", header["alg"]) },
		"further claims": func(t *testing.T) { require.Equal(t, "X", claims["department"]) },
	} {
		t.Run(id, hold)
	}
}

// What is not said is taken from the Config; the client authenticates beside the grant.
func TestJWTBearerByTheClientsKey(t *testing.T) {
	key := newKey(t)
	d := newDesk("private_key_jwt")
	s := open(t, d.config(func(c *client.Config) {
		c.ClientKey = &client.Key{Signer: key}
		c.Grant = client.JWTBearer{Audience: "urn:aud", Lifetime: time.Minute}
	})).Session("")
	token(t, s)
	l := d.letters()[0]
	require.Equal(t, "private_key_jwt", l.method())
	_, claims := verified(t, l.form.Get("assertion"), &key.PublicKey)
	require.Equal(t, "app/1", claims["iss"])
	require.Equal(t, "app/1", claims["sub"])
	require.Equal(t, "urn:aud", claims["aud"])
	require.InDelta(t, 60, claims["exp"].(float64)-claims["iat"].(float64), 0)
}

// Whoever finds a JWT can use it until it ends.
func TestAJWTThatLivesLongIsRefused(t *testing.T) {
	for life, ok := range map[time.Duration]bool{-time.Second: false, 0: true, time.Hour: true, time.Hour + time.Second: false} {
		config := good()
		config.Grant = client.JWTBearer{Key: &client.Key{Signer: newKey(t)}, Lifetime: life}
		_, err := client.New(config)
		if ok {
			require.NoError(t, err, life)
			continue
		}
		requireConfigError(t, err, "JWTBearer.Lifetime")
	}
}

// A pointer to a grant is as good as the grant, and no way to change it.
func TestAGrantByItsPointer(t *testing.T) {
	d := exchangeDesk(accessType)
	grant := &client.TokenExchange{Subject: constant("x"), SubjectType: "jwt", Audiences: []string{"a"}}
	s := open(t, d.config(func(c *client.Config) { c.Grant = grant })).Session("")
	grant.Subject, grant.Audiences[0] = nil, "b"
	require.Equal(t, "AT1", token(t, s))
	require.Equal(t, "a", d.letters()[0].form.Get("audience"))

	key := newKey(t)
	bearer := &client.JWTBearer{Key: &client.Key{Signer: key, ID: "key 1"}, Issuer: "robot", Claims: map[string]any{"department": "X"}}
	d = newDesk()
	s = open(t, d.config(func(c *client.Config) { c.ClientID, c.Grant = "", bearer })).Session("")
	bearer.Key.Signer, bearer.Key.ID, bearer.Claims["department"] = newKey(t), "key 2", "Y"
	require.Equal(t, "AT1", token(t, s))
	header, claims := verified(t, d.letters()[0].form.Get("assertion"), &key.PublicKey)
	require.Equal(t, "key 1", header["kid"])
	require.Equal(t, "X", claims["department"])
}

// What a JWT is for and how long it is good is said by the fields alone.
func TestClaimsOfAJWTThatAreFields(t *testing.T) {
	for _, name := range []string{"iss", "sub", "aud", "jti", "iat", "exp"} {
		config := good()
		config.Grant = client.JWTBearer{Key: &client.Key{Signer: newKey(t)}, Claims: map[string]any{name: 1}}
		_, err := client.New(config)
		requireConfigError(t, err, "JWTBearer.Claims")
	}
}

func TestR7523_3_1_1(t *testing.T) {
	key := newKey(t)
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		d.answer = func(n int, _ url.Values) (int, string) {
			if n == 1 {
				return 400, `{"error":"invalid_grant"}`
			}
			return 0, ""
		}
		s := open(t, d.config(func(c *client.Config) { c.Grant = client.JWTBearer{Key: &client.Key{Signer: key}} })).Session("")
		_, err := s.Token(t.Context())
		e, ok := errors.AsType[*client.Error](err)
		require.True(t, ok)
		require.Equal(t, "invalid_grant", e.Code)
		require.NotErrorIs(t, err, client.ErrLoginRequired)
		time.Sleep(time.Minute)
		require.Equal(t, "AT2", token(t, s))
		_, first := verified(t, d.letters()[0].form.Get("assertion"), &key.PublicKey)
		_, second := verified(t, d.letters()[1].form.Get("assertion"), &key.PublicKey)
		require.NotEqual(t, first["jti"], second["jti"])
		require.Greater(t, second["iat"], first["iat"])
	})
}

// One person's token is never another's, though clients, server, session and store be the same.
func TestSubjectsLieApart(t *testing.T) {
	key, d, store := newKey(t), newDesk(), tokenstore.NewMemory()
	seen := map[string]bool{}
	for _, subject := range []string{"", "alice", "bob"} {
		s := open(t, d.config(func(c *client.Config) {
			c.Grant, c.Store = client.JWTBearer{Key: &client.Key{Signer: key}, Subject: subject}, store
		})).Session("")
		seen[token(t, s)] = true
	}
	require.Len(t, seen, 3)
}

// What is asked for differently is another token, though client, server, store and session be the same.
func TestGrantsLieApart(t *testing.T) {
	key := &client.Key{Signer: newKey(t)}
	bearer := func(change func(*client.JWTBearer)) client.Grant {
		g := client.JWTBearer{Key: key, Subject: "alice"}
		change(&g)
		return g
	}
	exchange := func(change func(*client.TokenExchange)) client.Grant {
		g := client.TokenExchange{Subject: constant("x"), SubjectType: "jwt"}
		change(&g)
		return g
	}
	for name, grants := range map[string][]client.Grant{
		"ClientCredentials": {
			client.ClientCredentials{},
			client.ClientCredentials{Params: url.Values{"audience": {"readonly"}}},
			client.ClientCredentials{Params: url.Values{"audience": {"admin"}}},
			client.ClientCredentials{Params: url.Values{"audience": {"admin", "readonly"}}},
		},
		"JWTBearer": {
			bearer(func(*client.JWTBearer) {}),
			bearer(func(g *client.JWTBearer) { g.Subject = "bob" }),
			bearer(func(g *client.JWTBearer) { g.Issuer = "https://sts.example" }),
			bearer(func(g *client.JWTBearer) { g.Audience = "urn:admin" }),
			bearer(func(g *client.JWTBearer) { g.Claims = map[string]any{"scope": "read"} }),
			bearer(func(g *client.JWTBearer) { g.Claims = map[string]any{"scope": "admin"} }),
			bearer(func(g *client.JWTBearer) { g.Params = url.Values{"audience": {"admin"}} }),
		},
		"TokenExchange": {
			exchange(func(*client.TokenExchange) {}),
			exchange(func(g *client.TokenExchange) { g.SubjectType = "access_token" }),
			exchange(func(g *client.TokenExchange) { g.Actor, g.ActorType = constant("y"), "jwt" }),
			exchange(func(g *client.TokenExchange) { g.RequestedType = "access_token" }),
			exchange(func(g *client.TokenExchange) { g.Audiences = []string{"a"} }),
			exchange(func(g *client.TokenExchange) { g.Resources = []string{"https://a.example"} }),
			exchange(func(g *client.TokenExchange) { g.Params = url.Values{"further": {"1"}} }),
		},
		"ExtensionGrant": {client.ExtensionGrant{Type: "urn:example:a"}, client.ExtensionGrant{Type: "urn:example:b"}},
	} {
		t.Run(name, func(t *testing.T) {
			d, store := exchangeDesk(accessType), tokenstore.NewMemory()
			of := func(g client.Grant, scopes ...string) string {
				return token(t, open(t, d.config(func(c *client.Config) {
					c.ClientSecret, c.Grant, c.Scopes, c.Store = "hush", g, scopes, store
				})).Session(""))
			}
			seen := map[string]bool{}
			for _, grant := range grants {
				seen[of(grant)] = true
			}
			require.Len(t, seen, len(grants))
			read := of(grants[0], "read")
			require.NotContains(t, seen, read)
			require.NotEqual(t, read, of(grants[0], "read", "admin"))
			asked := len(d.letters())
			require.Equal(t, of(grants[0], "read", "admin"), of(grants[0], "admin", "read", "admin"), "no other order is another token")
			require.Equal(t, read, of(grants[0], "read"))
			require.Len(t, d.letters(), asked, "what is asked for alike is shared")
		})
	}
}

// A service never goes on with what a person has logged in for, nor the other way round.
func TestAGrantAndAPersonLieApart(t *testing.T) {
	d, store := newDesk(), tokenstore.NewMemory()
	config := func(c *client.Config) { c.ClientSecret, c.Store = "hush", store }
	person := open(t, d.config(config))
	require.NoError(t, person.Session("").Adopt(t.Context(), &oauth2.Token{AccessToken: "a person's", RefreshToken: "RT"}))
	service := open(t, d.config(func(c *client.Config) { config(c); c.Grant = client.ClientCredentials{} }))
	require.Equal(t, "AT1", token(t, service.Session("")))
	require.Equal(t, "AT2", token(t, service.Session("robot")))
	require.Equal(t, "a person's", token(t, person.Session("")))
	var keys []string
	for key, err := range service.Keys(t.Context()) {
		require.NoError(t, err)
		keys = append(keys, key)
	}
	require.ElementsMatch(t, []string{"", "robot"}, keys)
	_, err := person.Session("robot").Token(t.Context())
	require.ErrorIs(t, err, client.ErrLoginRequired)
}

// With the version of the program that comes next, what is stored is found again.
func TestTheStoreKeyOfAGrantIsStable(t *testing.T) {
	store := tokenstore.NewMemory()
	token(t, open(t, newDesk().config(func(c *client.Config) {
		c.ClientSecret, c.Scopes, c.Store = "hush", []string{"read"}, store
		c.Grant = client.ClientCredentials{Params: url.Values{"audience": {"admin"}}}
	})).Session("robot"))
	sum := sha256.Sum256([]byte("audience=admin&client_id=app%2F1&grant_type=client_credentials&scope=read"))
	_, _, err := store.Load(t.Context(), tokenstore.Key("https://as.test", "app/1/"+hex.EncodeToString(sum[:8]), "robot"))
	require.NoError(t, err)
}

// serviceAccount is a key file as Google gives it out.
func serviceAccount(t *testing.T, change func(map[string]any)) ([]byte, *rsa.PrivateKey) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	file := map[string]any{
		"type": "service_account", "project_id": "p", "private_key_id": "0123", "client_id": "1234567890",
		"private_key":  string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
		"client_email": "robot@p.iam.gserviceaccount.com", "token_uri": "https://as.test/token",
		"auth_uri": "https://accounts.google.com/o/oauth2/auth", "universe_domain": "googleapis.com",
	}
	if change != nil {
		change(file)
	}
	data, err := json.Marshal(file)
	require.NoError(t, err)
	return data, key
}

func TestGoogleServiceAccount(t *testing.T) {
	for _, subject := range []string{"", "alice@example.com"} {
		t.Run("for "+subject, func(t *testing.T) {
			file, key := serviceAccount(t, nil)
			config, err := client.GoogleServiceAccount(file, subject, "scope-a", "scope-b")
			require.NoError(t, err)
			d := newDesk()
			config.AuthServerClient = &http.Client{Transport: d}
			require.Equal(t, "AT1", token(t, open(t, config).Session("")))
			l := d.letters()[0]
			require.Equal(t, "https://as.test/token", l.url.String())
			require.Equal(t, url.Values{
				"grant_type": {"urn:ietf:params:oauth:grant-type:jwt-bearer"}, "assertion": {l.form.Get("assertion")},
			}, l.form)
			header, claims := verified(t, l.form.Get("assertion"), &key.PublicKey)
			require.Equal(t, map[string]any{"alg": "RS256", "kid": "0123", "typ": "JWT"}, header)
			want := map[string]any{
				"iss": "robot@p.iam.gserviceaccount.com", "aud": "https://as.test/token", "scope": "scope-a scope-b",
				"jti": claims["jti"], "iat": claims["iat"], "exp": claims["exp"],
			}
			if subject != "" {
				want["sub"] = subject
			}
			require.Equal(t, want, claims)
		})
	}
}

func TestGoogleServiceAccountRefusesOtherFiles(t *testing.T) {
	for name, change := range map[string]func(map[string]any){
		"a person's": func(f map[string]any) { f["type"] = "authorized_user" },
		"nobody's":   func(f map[string]any) { delete(f, "client_email") },
		"no key":     func(f map[string]any) { delete(f, "private_key") },
		"a key that is none": func(f map[string]any) {
			f["private_key"] = "-----BEGIN PRIVATE KEY-----\naGVsbG8=\n-----END PRIVATE KEY-----\n"
		},
	} {
		t.Run(name, func(t *testing.T) {
			file, _ := serviceAccount(t, change)
			_, err := client.GoogleServiceAccount(file, "")
			_, ok := errors.AsType[*client.ConfigError](err)
			require.True(t, ok, "%v", err)
		})
	}
	_, err := client.GoogleServiceAccount([]byte("path/to/file.json"), "")
	require.Error(t, err)
	file, _ := serviceAccount(t, func(f map[string]any) { f["token_uri"] = "http://elsewhere.test/token" })
	config, err := client.GoogleServiceAccount(file, "")
	require.NoError(t, err)
	_, err = client.New(config)
	require.Error(t, err, "a key's assertion goes over TLS only")
}

// exchangeDesk is a desk that exchanges tokens.
func exchangeDesk(members string) *desk {
	d := newDesk()
	d.answer = func(n int, _ url.Values) (int, string) {
		return 200, fmt.Sprintf(`{"access_token":"AT%d","expires_in":3600,%s}`, n, members)
	}
	return d
}

const accessType = `"token_type":"Bearer","issued_token_type":"urn:ietf:params:oauth:token-type:access_token"`

// constant is a source of one token.
func constant(text string) func(string) transport.Source {
	return func(string) transport.Source {
		return client.TokenFunc(func(context.Context) (*oauth2.Token, error) { return &oauth2.Token{AccessToken: text}, nil })
	}
}

// Shows R8693-2.1-1, R8693-2.1-2, R8693-2.1-3, R8693-3-1, R8693-5-1, R8693-2.2.1-3.
func TestTokenExchange(t *testing.T) {
	d := exchangeDesk(accessType + `,"scope":"read"`)
	s := open(t, d.config(func(c *client.Config) {
		c.Scopes = []string{"read", "write"}
		c.Grant = client.TokenExchange{
			Subject: constant("subject's"), SubjectType: "access_token", Actor: constant("actor's"), ActorType: "urn:example:own",
			RequestedType: "access_token", Audiences: []string{"b", "a"}, Resources: []string{"https://y.example", "https://x.example"},
			Params: url.Values{"further": {"1"}},
		}
	})).Session("")
	got, err := s.Token(t.Context())
	require.NoError(t, err)
	const types = "urn:ietf:params:oauth:token-type:"
	require.Equal(t, url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {"app/1"}, "scope": {"read write"},
		"subject_token": {"subject's"}, "subject_token_type": {types + "access_token"},
		"actor_token": {"actor's"}, "actor_token_type": {"urn:example:own"},
		"requested_token_type": {types + "access_token"}, "audience": {"b", "a"},
		"resource": {"https://y.example", "https://x.example"}, "further": {"1"},
	}, d.letters()[0].form)
	require.Equal(t, types+"access_token", got.Extra("issued_token_type"), "R8693-2.2.1-1: told to the caller")
	require.Equal(t, "read", got.Extra("scope"))

	impersonation := exchangeDesk(accessType)
	token(t, open(t, impersonation.config(func(c *client.Config) {
		c.Grant = client.TokenExchange{Subject: constant("subject's"), SubjectType: "jwt"}
	})).Session(""))
	require.Equal(t, url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:token-exchange"}, "client_id": {"app/1"},
		"subject_token": {"subject's"}, "subject_token_type": {types + "jwt"},
	}, impersonation.letters()[0].form)
}

// RFC 8693 §2.1 leaves it to the server whether the client has to be known: Google's token service wants none.
func TestTokenExchangeWithoutAClient(t *testing.T) {
	exchange := client.TokenExchange{Subject: constant("S"), SubjectType: "jwt"}
	d := exchangeDesk(accessType)
	s := open(t, d.config(func(c *client.Config) { c.ClientID, c.Grant = "", exchange })).Session("alice")
	token(t, s)
	l := d.letters()[0]
	require.NotContains(t, l.form, "client_id")
	require.NotContains(t, l.header, "Authorization")

	_, err := client.New(d.config(func(c *client.Config) { c.ClientID, c.ClientSecret, c.Grant = "", "of somebody", exchange }))
	requireConfigError(t, err, "Config.ClientID")
}

func TestTokenExchangeRefusesLocally(t *testing.T) {
	for name, row := range map[string]struct {
		field string
		spoil func(*client.TokenExchange)
	}{
		"no subject":                    {"Subject", func(g *client.TokenExchange) { g.Subject = nil }},
		"R8693-2.1-1 no subject type":   {"SubjectType", func(g *client.TokenExchange) { g.SubjectType = "" }},
		"R8693-2.1-2 no actor type":     {"ActorType", func(g *client.TokenExchange) { g.Actor = constant("x") }},
		"R8693-2.1-2 no actor":          {"ActorType", func(g *client.TokenExchange) { g.ActorType = "jwt" }},
		"R8693-2.1-3 a relative URI":    {"Resources", func(g *client.TokenExchange) { g.Resources = []string{"/api"} }},
		"R8693-2.1-3 a fragment":        {"Resources", func(g *client.TokenExchange) { g.Resources = []string{"https://a.example/#"} }},
		"a parameter that is a field's": {"Params", func(g *client.TokenExchange) { g.Params = url.Values{"audience": {"a"}} }},
	} {
		t.Run(name, func(t *testing.T) {
			grant := client.TokenExchange{Subject: constant("x"), SubjectType: "jwt"}
			row.spoil(&grant)
			config := good()
			config.Grant = grant
			_, err := client.New(config)
			e, ok := errors.AsType[*client.ConfigError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, "TokenExchange."+row.field, e.Field)
		})
	}
}

func TestR8693_2_2_1_1(t *testing.T) {
	for name, row := range map[string]struct{ members, requested string }{
		"missing":                             {`"token_type":"Bearer"`, "access_token"},
		"missing, where nothing is asked for": {`"token_type":"Bearer"`, ""},
		"empty":                               {`"token_type":"Bearer","issued_token_type":""`, ""},
		"another kind":                        {`"token_type":"N_A","issued_token_type":"urn:ietf:params:oauth:token-type:jwt"`, "access_token"},
	} {
		t.Run(name, func(t *testing.T) {
			d := exchangeDesk(row.members)
			s := open(t, d.config(func(c *client.Config) {
				c.Grant = client.TokenExchange{Subject: constant("x"), SubjectType: "jwt", RequestedType: row.requested}
			})).Session("")
			_, err := s.Token(t.Context())
			_, ok := errors.AsType[*client.Error](err)
			require.True(t, ok, "%v", err)
			require.Len(t, d.letters(), 1)
		})
	}
}

// A token that is none for resource servers is handed out and goes nowhere.
func TestR8693_2_2_1_2(t *testing.T) {
	d := exchangeDesk(`"token_type":"N_A","issued_token_type":"urn:ietf:params:oauth:token-type:saml2"`)
	s := open(t, d.config(func(c *client.Config) {
		c.Grant = client.TokenExchange{Subject: constant("x"), SubjectType: "jwt", RequestedType: "saml2"}
	})).Session("")
	got, err := s.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "AT1", got.AccessToken)
	require.Equal(t, "N_A", got.TokenType)
	_, err = s.Wrap(&http.Client{Transport: d}).Get("https://api.test/")
	require.ErrorIs(t, err, transport.ErrToken)
	require.Len(t, d.letters(), 1, "it went nowhere")
}

// Every exchange takes the subject's token as it is then, and no refresh token.
//
// Shows R8693-2.1-4.
func TestR8693_2_2_1_4(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		person := newDesk()
		alice := person.session(t, nil)
		d := exchangeDesk(accessType + `,"refresh_token":"not wanted"`)
		s := open(t, d.config(func(c *client.Config) {
			c.Grant = client.TokenExchange{Subject: func(string) transport.Source { return alice }, SubjectType: "access_token"}
		})).Session("")
		for n := 1; n <= 3; n++ {
			token(t, s)
			time.Sleep(2 * time.Hour)
		}
		for i, l := range d.letters() {
			require.Equal(t, "urn:ietf:params:oauth:grant-type:token-exchange", l.form.Get("grant_type"))
			require.Equal(t, fmt.Sprintf("AT%d", i+1), l.form.Get("subject_token"))
		}
		require.Len(t, d.letters(), 3)
		require.Len(t, person.letters(), 3, "R8693-2.1-4: what goes in is renewed at its own pace")
	})
}

// Each session has the subject of its own key, and each target a place of its own.
func TestR8693_2_1_4(t *testing.T) {
	d, store := exchangeDesk(accessType), tokenstore.NewMemory()
	seen := map[string]bool{}
	for _, audience := range []string{"mail", "files"} {
		c := open(t, d.config(func(c *client.Config) {
			c.Store = store
			c.Grant = client.TokenExchange{
				Subject: func(key string) transport.Source { return constant("token of " + key)(key) }, SubjectType: "jwt",
				Audiences: []string{audience},
			}
		}))
		for _, key := range []string{"alice", "bob", "alice"} {
			seen[token(t, c.Session(key))] = true
			last := d.letters()[len(d.letters())-1].form
			require.Equal(t, audience, last.Get("audience"))
		}
	}
	require.Len(t, seen, 4)
	require.Equal(t, "token of bob", d.letters()[1].form.Get("subject_token"))
}

// Shows R8693-2.2.2-1.
func TestR8693_2_2_2_1(t *testing.T) {
	for _, code := range []string{"invalid_request", "invalid_grant", "invalid_token"} {
		t.Run(code, func(t *testing.T) {
			person := newDesk()
			alice := person.session(t, nil)
			d := exchangeDesk(accessType)
			good := d.answer
			d.answer = func(n int, form url.Values) (int, string) {
				if form.Get("subject_token") != "AT2" {
					return 400, `{"error":"` + code + `"}`
				}
				return good(n, form)
			}
			s := open(t, d.config(func(c *client.Config) {
				c.Grant = client.TokenExchange{Subject: func(string) transport.Source { return alice }, SubjectType: "access_token"}
			})).Session("")
			require.Equal(t, "AT2", token(t, s))
			require.Len(t, d.letters(), 2)
		})
	}
	t.Run("once", func(t *testing.T) {
		d := newDesk()
		d.answer = func(int, url.Values) (int, string) { return 400, `{"error":"invalid_request"}` }
		asked := 0
		s := open(t, d.config(func(c *client.Config) {
			c.Grant = client.TokenExchange{SubjectType: "jwt", Subject: func(string) transport.Source {
				return client.TokenFunc(func(context.Context) (*oauth2.Token, error) {
					asked++
					return &oauth2.Token{AccessToken: fmt.Sprint(asked)}, nil
				})
			}}
		})).Session("")
		_, err := s.Token(t.Context())
		e, ok := errors.AsType[*client.Error](err)
		require.True(t, ok)
		require.Equal(t, "invalid_request", e.Code)
		require.NotErrorIs(t, err, client.ErrLoginRequired)
		require.Len(t, d.letters(), 2)
		require.Equal(t, 2, asked)
	})
	t.Run("of the subject, for an actor that stays", func(t *testing.T) {
		person := newDesk()
		alice := person.session(t, nil)
		d := exchangeDesk(accessType)
		good := d.answer
		d.answer = func(n int, form url.Values) (int, string) {
			if form.Get("subject_token") != "AT2" {
				return 400, `{"error":"invalid_grant"}`
			}
			return good(n, form)
		}
		s := open(t, d.config(func(c *client.Config) {
			c.Grant = client.TokenExchange{
				Subject: func(string) transport.Source { return alice }, SubjectType: "access_token", Actor: constant("actor's"), ActorType: "jwt",
			}
		})).Session("")
		require.Equal(t, "AT2", token(t, s))
		require.Len(t, d.letters(), 2)
		require.Equal(t, "actor's", d.letters()[1].form.Get("actor_token"))
	})
	t.Run("not for the same token", func(t *testing.T) {
		d := newDesk()
		d.answer = func(int, url.Values) (int, string) { return 400, `{"error":"invalid_request"}` }
		s := open(t, d.config(func(c *client.Config) { c.Grant = client.TokenExchange{SubjectType: "jwt", Subject: constant("x")} })).Session("")
		_, err := s.Token(t.Context())
		require.Error(t, err)
		require.Len(t, d.letters(), 1)
	})
}

// Shows R8693-2.1.1-1.
func TestR8693_2_2_2_2(t *testing.T) {
	d := newDesk()
	d.answer = func(int, url.Values) (int, string) { return 400, `{"error":"invalid_target"}` }
	s := open(t, d.config(func(c *client.Config) {
		c.Grant = client.TokenExchange{SubjectType: "jwt", Subject: constant("x"), Audiences: []string{"nowhere"}}
	})).Session("")
	for range 2 {
		_, err := s.Token(t.Context())
		e, ok := errors.AsType[*client.Error](err)
		require.True(t, ok)
		require.Equal(t, "invalid_target", e.Code)
	}
	require.Len(t, d.letters(), 1, "no retry, and it is remembered")
}

// A subject that is not logged in is told as such, asks this server nothing, and is looked at again at once.
func TestExchangeForASubjectWithoutAGrant(t *testing.T) {
	person := newDesk()
	alice := open(t, person.config(nil)).Session("alice")
	d := exchangeDesk(accessType)
	s := open(t, d.config(func(c *client.Config) {
		c.Grant = client.TokenExchange{Subject: func(string) transport.Source { return alice }, SubjectType: "access_token"}
	})).Session("")
	_, err := s.Token(t.Context())
	require.ErrorIs(t, err, client.ErrLoginRequired)
	require.Empty(t, d.letters())
	require.NoError(t, alice.Adopt(t.Context(), &oauth2.Token{RefreshToken: "RT"}))
	require.Equal(t, "AT1", token(t, s))
}

// An id token that a session has is exchanged as such.
func TestExchangeOfAnIDToken(t *testing.T) {
	person := newDesk()
	id := signedBy(t, newKey(t), map[string]any{"iss": "https://as.test", "aud": "app/1", "sub": "alice", "iat": time.Now().Unix(), "exp": time.Now().Unix() + 60})
	person.answer = func(int, url.Values) (int, string) {
		return 200, `{"access_token":"AT","token_type":"Bearer","expires_in":3600,"id_token":"` + id + `"}`
	}
	alice := person.session(t, nil)
	d := exchangeDesk(accessType)
	token(t, open(t, d.config(func(c *client.Config) {
		c.Grant = client.TokenExchange{Subject: func(string) transport.Source { return alice }, SubjectType: "id_token"}
	})).Session(""))
	require.Equal(t, id, d.letters()[0].form.Get("subject_token"))
}

// tokenSource is a source that is no TokenFunc.
type tokenSource struct{ client.TokenFunc }

// What goes in is what the type says, or nothing does: an access token is never sent as something else.
func TestExchangeSendsWhatTheTypeSays(t *testing.T) {
	with := func(members map[string]any) *oauth2.Token {
		return (&oauth2.Token{AccessToken: "AT"}).WithExtra(members)
	}
	issued := func(kind string) *oauth2.Token {
		return with(map[string]any{"issued_token_type": "urn:ietf:params:oauth:token-type:" + kind})
	}
	both := with(map[string]any{"id_token": "ID"})
	both.RefreshToken = "RT"
	for name, row := range map[string]struct {
		token                 *oauth2.Token
		kind                  string
		ofSource, ofTokenFunc string // "": an error
	}{
		"an access token":             {both, "access_token", "AT", "AT"},
		"a JWT":                       {both, "jwt", "AT", "AT"},
		"an id token":                 {both, "id_token", "ID", "ID"},
		"a refresh token":             {both, "refresh_token", "RT", "RT"},
		"no id token":                 {with(nil), "id_token", "", "AT"},
		"no id token, by the URI":     {with(nil), "urn:ietf:params:oauth:token-type:id_token", "", "AT"},
		"no refresh token":            {with(nil), "refresh_token", "", "AT"},
		"an id token by exchange":     {issued("id_token"), "id_token", "AT", "AT"},
		"a refresh token by exchange": {issued("refresh_token"), "refresh_token", "AT", "AT"},
		"another one by exchange":     {issued("access_token"), "id_token", "", "AT"},
		"nothing at all":              {&oauth2.Token{}, "access_token", "", ""},
	} {
		f := client.TokenFunc(func(context.Context) (*oauth2.Token, error) { return row.token, nil })
		for kind, of := range map[string]struct {
			source transport.Source
			want   string
		}{"a source": {tokenSource{f}, row.ofSource}, "a TokenFunc": {f, row.ofTokenFunc}} {
			t.Run(name+" of "+kind, func(t *testing.T) {
				d := exchangeDesk(accessType)
				party := func(string) transport.Source { return of.source }
				_, err := open(t, d.config(func(c *client.Config) {
					c.Grant = client.TokenExchange{Subject: party, SubjectType: row.kind, Actor: party, ActorType: row.kind}
				})).Session("").Token(t.Context())
				if of.want == "" {
					require.Error(t, err)
					require.Empty(t, d.letters(), "nothing was sent")
					return
				}
				require.NoError(t, err)
				require.Equal(t, of.want, d.letters()[0].form.Get("subject_token"))
				require.Equal(t, of.want, d.letters()[0].form.Get("actor_token"))
			})
		}
	}
}

// A session without an id token says what to do.
func TestExchangeOfWhatASessionDoesNotHave(t *testing.T) {
	for kind, advice := range map[string]string{"id_token": `log in with the scope "openid"`, "refresh_token": "give a TokenFunc"} {
		t.Run(kind, func(t *testing.T) {
			alice, d := newDesk().session(t, nil), exchangeDesk(accessType)
			_, err := open(t, d.config(func(c *client.Config) {
				c.Grant = client.TokenExchange{Subject: func(string) transport.Source { return alice }, SubjectType: kind}
			})).Session("").Token(t.Context())
			require.ErrorContains(t, err, advice)
			_, ok := errors.AsType[*client.Error](err)
			require.True(t, ok, "%v", err)
			require.NotErrorIs(t, err, client.ErrLoginRequired)
			require.Empty(t, d.letters())
		})
	}
}

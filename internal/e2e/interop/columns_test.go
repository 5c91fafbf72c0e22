package interop_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/glewlwyd"
	"github.com/evergrant/evergrant/internal/e2e/googleapi"
	"github.com/evergrant/evergrant/internal/e2e/leeway"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/internal/e2e/zitadelop"
	"github.com/evergrant/evergrant/transport"
)

const (
	resource = "https://api.example.com" // that tokens can be asked for
	account  = "alice"
)

const bareForbidden = "its userinfo answers 403 without a challenge to a bad token, which is a rejection only to who " +
	"says so in `transport.Transport.Rejected`"

// Where the servers send the browser back to; nothing listens there.
const callback = "http://127.0.0.1:5555/callback"

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	return key
}

// browsing is an http.Client of the test's own.
func browsing(t *testing.T, config *tls.Config) *http.Client {
	base := &http.Transport{TLSClientConfig: config}
	t.Cleanup(base.CloseIdleConnections)
	return &http.Client{Transport: base}
}

func startOIDCProvider(t *testing.T) *server {
	_, s := onOIDCProvider(t, false)
	return s
}

func startOIDCProviderTLS(t *testing.T) *server {
	_, s := onOIDCProvider(t, true)
	return s
}

// startGoogle is an oidc-provider whose tokens Google's library uses.
func startGoogle(t *testing.T) *server {
	p, s := onOIDCProvider(t, false)
	e := googleapi.Start(t, p.Issuer+"/token/introspection", oidcprovider.WebPost, oidcprovider.Secret)
	s.call = func(t *testing.T, session *client.Session) int {
		require.NoError(t, e.Use(t.Context(), session.Wrap(s.http)))
		return http.StatusOK
	}
	s.own[codeAndPKCE] = func(t *testing.T, s *server) verdict {
		v := showCode(t, s)
		// Where a library wants an oauth2.TokenSource.
		session, _ := s.login(t, person)
		over := context.WithValue(t.Context(), oauth2.HTTPClient, s.http)
		require.NoError(t, e.Use(t.Context(), oauth2.NewClient(over, session.TokenSource())))
		return v
	}
	s.own[revocation] = func(t *testing.T, s *server) verdict {
		v := showRevocation(t, s)
		session, _ := s.login(t, person)
		require.NoError(t, session.Logout(t.Context()))
		require.ErrorIs(t, e.Use(t.Context(), session.Wrap(s.http)), client.ErrLoginRequired, "the library passes it on")
		return v
	}
	return s
}

func onOIDCProvider(t *testing.T, secured bool) (*oidcprovider.Provider, *server) {
	key := newKey(t)
	machine := func(id, method string, further map[string]any) map[string]any {
		registration := map[string]any{
			"client_id": id, "token_endpoint_auth_method": method, "grant_types": []string{"client_credentials"},
			"response_types": []string{}, "redirect_uris": []string{},
		}
		for name, value := range further {
			registration[name] = value
		}
		return registration
	}
	own := oidcprovider.Config{
		Rotate: true, AlwaysRefreshToken: true, TLS: secured, DPoPNonces: true, Resources: []string{resource},
		Clients: []map[string]any{machine("keyed", "private_key_jwt", map[string]any{
			"token_endpoint_auth_signing_alg": "ES256", "jwks": publicKeys(t, key),
		})},
	}
	if secured {
		own.Clients = append(own.Clients, machine("bearing", "tls_client_auth", map[string]any{
			"tls_client_auth_san_dns": "app.example", "tls_client_certificate_bound_access_tokens": true,
		}))
	}
	p := oidcprovider.Start(t, own)
	base := func(id, secret string, scopes ...string) client.Config {
		return client.Config{Issuer: p.Issuer, ClientID: id, ClientSecret: secret, Scopes: scopes, RedirectURL: callback}
	}
	s := &server{
		metadata: p.Issuer + "/.well-known/openid-configuration",
		http:     browsing(t, &tls.Config{RootCAs: p.CA}),
		clients: map[role]client.Config{
			person: base(oidcprovider.Native, "", "openid", "offline_access"),
			web:    base(oidcprovider.WebBasic, oidcprovider.Secret, "openid", "offline_access"),
			daemon: needsNobody(base(oidcprovider.Daemon, oidcprovider.Secret, "api:read")),
			keyed: with(needsNobody(base("keyed", "", "api:read")), func(c *client.Config) {
				c.ClientKey = &client.Key{Signer: key, ID: "key 1"}
			}),
		},
		api:      p.API(),
		signIn:   func(_ *testing.T, address string) *url.URL { return p.SignIn(address, account) },
		approve:  func(_ *testing.T, v client.Verification) { p.Approve(v.URIComplete, account) },
		end:      func(_ *testing.T, token string) { p.DestroyAccessToken(token) },
		replayed: replayed{http.StatusBadRequest, "invalid_grant", true},
		own: map[string]func(*testing.T, *server) verdict{
			mutualTLS: lacksCertificates,
			resources: func(t *testing.T, s *server) verdict {
				return showResources(t, s, func(t *testing.T, session *client.Session) any {
					_, body := read(t, session.Wrap(s.http), p.API())
					var said struct{ Aud any }
					require.NoError(t, json.Unmarshal(body, &said))
					s.requireWorks(t, session)
					return said.Aud
				}, nil)
			},
			proofs: func(t *testing.T, s *server) verdict {
				userinfo := *s
				userinfo.api = p.Issuer + "/me" // which checks proofs
				return showDPoP(t, &userinfo)
			},
		},
	}
	if secured {
		certificate := p.Certificate("app.example")
		s.clients[bearing] = with(needsNobody(base("bearing", "", "api:read")), func(c *client.Config) { c.ClientCertificate = &certificate })
		s.own[mutualTLS] = func(t *testing.T, s *server) verdict { return showCertificate(t, s, p.BoundAPI()) }
	}
	return p, s
}

func publicKeys(t *testing.T, key *ecdsa.PrivateKey) any {
	t.Helper()
	data, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "key 1", Use: "sig"}}})
	require.NoError(t, err)
	return json.RawMessage(data)
}

// payload is what a JWT says.
func payload(t *testing.T, token string) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	require.Len(t, parts, 3)
	data, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var claims map[string]any
	require.NoError(t, json.Unmarshal(data, &claims))
	return claims
}

func with(c client.Config, set func(*client.Config)) client.Config {
	set(&c)
	return c
}

// showResources has one refresh token serve a resource and the rest. audience is whom a session's token is for, and rest
// whom those are for that are asked for without a resource.
func showResources(t *testing.T, s *server, audience func(*testing.T, *client.Session) any, rest any) verdict {
	session, w := s.open(t, web)
	pending, err := session.Start(t.Context(), client.AuthCode{Params: url.Values{"resource": {resource}}})
	require.NoError(t, err)
	require.NoError(t, session.Finish(t.Context(), pending, s.signIn(t, pending.URL).Query()))
	at := session.Resource(resource)
	require.Equal(t, resource, audience(t, at))
	require.Equal(t, resource, w.of("refresh_token")[0].form.Get("resource"))
	require.Equal(t, rest, audience(t, session))
	return pass()
}

// showCertificate has a client authenticate by its certificate, and use a token that is bound to it.
func showCertificate(t *testing.T, s *server, api string) verdict {
	session, _ := s.open(t, bearing, func(c *client.Config) { c.AuthServerClient = s.http })
	hc := session.Wrap(s.http)
	t.Cleanup(hc.CloseIdleConnections)
	require.Equal(t, http.StatusOK, get(t, hc, api))
	renew(t, session)
	require.Equal(t, http.StatusOK, get(t, hc, api))
	// Without the certificate the token is of no use.
	thief := &http.Client{Transport: &transport.Transport{Source: oauth2Source{current(t, session)}, Base: s.http.Transport}}
	require.Equal(t, http.StatusUnauthorized, get(t, thief, api))
	return pass()
}

func startZitadel(t *testing.T) *server {
	p := zitadelop.Start(t, 0)
	key, err := rsa.GenerateKey(rand.Reader, 2048) // it takes RS256 only
	require.NoError(t, err)
	p.Trust(zitadelop.Keyed, "key 1", key.Public())
	base := func(id, secret string, scopes ...string) client.Config {
		return client.Config{Issuer: p.Issuer, ClientID: id, ClientSecret: secret, Scopes: scopes, RedirectURL: zitadelop.Callback}
	}
	return &server{
		metadata: p.Issuer + "/.well-known/openid-configuration",
		http:     browsing(t, nil),
		clients: map[role]client.Config{
			person: base(zitadelop.Native, "", "openid", "offline_access"),
			web:    base(zitadelop.Web, zitadelop.Secret, "openid", "offline_access"),
			gadget: base(zitadelop.Device, zitadelop.Secret, "openid"),
			daemon: needsNobody(base(zitadelop.Service, zitadelop.ServiceSecret, "openid")),
			keyed: with(base(zitadelop.Keyed, "", "openid", "offline_access"), func(c *client.Config) {
				c.ClientKey = &client.Key{Signer: key, ID: "key 1"}
			}),
		},
		signIn:  func(_ *testing.T, address string) *url.URL { return p.SignIn(address) },
		approve: func(_ *testing.T, v client.Verification) { p.Approve(v.UserCode) },
		end: func(t *testing.T, token string) {
			resp, err := http.PostForm(p.Issuer+"/revoke", url.Values{
				"token": {token}, "token_type_hint": {"access_token"}, "client_id": {zitadelop.Native},
			})
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, http.StatusOK, resp.StatusCode)
		},
		replayed: replayed{http.StatusBadRequest, "invalid_grant", false},
		call: func(t *testing.T, session *client.Session) int {
			return get(t, &http.Client{Transport: &transport.Transport{
				Source: session, Rejected: func(r *http.Response) bool { return r.StatusCode == http.StatusForbidden },
			}}, p.UserInfo())
		},
		own: map[string]func(*testing.T, *server) verdict{
			revokedEarly: func(t *testing.T, s *server) verdict {
				showEarlyRevocation(person)(t, s)
				return pass(bareForbidden)
			},
			machine: func(t *testing.T, s *server) verdict {
				session, w := s.open(t, daemon)
				first := current(t, session)
				require.NotEqual(t, first.AccessToken, renew(t, session).AccessToken)
				require.Len(t, w.of("client_credentials"), 2)
				return pass()
			},
			exchange: func(t *testing.T, s *server) verdict {
				subject, _ := s.login(t, web)
				session, _ := s.open(t, web, func(c *client.Config) {
					c.Scopes = []string{"openid"}
					c.Grant = client.TokenExchange{
						Subject: func(string) transport.Source { return subject }, SubjectType: "access_token", RequestedType: "access_token",
					}
				})
				s.requireWorks(t, session)
				require.NotEqual(t, current(t, subject).AccessToken, current(t, session).AccessToken)
				return pass()
			},
			keyJWT: func(t *testing.T, s *server) verdict {
				session, w := s.login(t, keyed)
				renew(t, session)
				s.requireWorks(t, session)
				require.True(t, w.of("refresh_token")[0].form.Has("client_assertion"))
				return pass()
			},
			pushed:    lacksMember("pushed_authorization_request_endpoint"),
			proofs:    lacksBinding,
			mutualTLS: lacksMethod("tls_client_auth", "self_signed_tls_client_auth"),
			resources: lacksResources,
		},
	}
}

func startGlewlwyd(t *testing.T) *server {
	key := newKey(t)
	p := glewlwyd.Start(t, key.Public())
	base := func(id, secret string, scopes ...string) client.Config {
		return client.Config{Issuer: p.Issuer, ClientID: id, ClientSecret: secret, Scopes: scopes, RedirectURL: glewlwyd.Callback}
	}
	return &server{
		metadata: p.Metadata(),
		http:     browsing(t, nil),
		clients: map[role]client.Config{
			person: base(glewlwyd.Native, "", "openid", glewlwyd.Scope),
			web:    base(glewlwyd.Web, glewlwyd.Secret, "openid", glewlwyd.Scope),
			daemon: needsNobody(base(glewlwyd.Web, glewlwyd.Secret, glewlwyd.Scope)),
			keyed: with(needsNobody(base(glewlwyd.Keyed, "", glewlwyd.Scope)), func(c *client.Config) {
				c.ClientKey = &client.Key{Signer: key, ID: "key 1"}
			}),
		},
		api:      p.UserInfo(),
		signIn:   func(_ *testing.T, address string) *url.URL { return p.SignIn(address) },
		approve:  func(_ *testing.T, v client.Verification) { p.Approve(v.URIComplete) },
		end:      func(_ *testing.T, token string) { p.DestroyAccessToken(token) },
		replayed: replayed{http.StatusBadRequest, "", true},
		own: map[string]func(*testing.T, *server) verdict{
			revokedEarly: showEarlyRevocation(web),
			revocation: func(t *testing.T, s *server) verdict {
				showRevocation(t, s)
				public, _ := s.login(t, person)
				err := public.Logout(t.Context())
				refusal, ok := errors.AsType[*client.Error](err)
				require.True(t, ok, "%v", err)
				require.Equal(t, http.StatusUnauthorized, refusal.StatusCode)
				_, err = public.Token(t.Context())
				require.ErrorIs(t, err, client.ErrLoginRequired, "deleted all the same")
				return pass("a client without a secret may not revoke there: an empty 401; Logout deletes the grant and says so")
			},
			machine: func(t *testing.T, s *server) verdict {
				session, _ := s.open(t, daemon)
				first := current(t, session)
				p.RequireActive(first.AccessToken)
				second := renew(t, session)
				require.NotEqual(t, first.AccessToken, second.AccessToken)
				p.RequireActive(second.AccessToken)
				return pass()
			},
			keyJWT: func(t *testing.T, s *server) verdict {
				session, w := s.open(t, keyed)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, err := session.Token(ctx)
				require.Error(t, err)
				require.Equal(t, http.StatusForbidden, w.of("client_credentials")[0].status)
				return verdict{broken, "it wants the token endpoint for the audience of an assertion; the client's are for the " +
					"issuer, as RFC 7523 has it after its revision. It answers an empty 403, which is tried again as a proxy's would be"}
			},
			mutualTLS: lacksCertificates,
			resources: func(t *testing.T, s *server) verdict {
				return showResources(t, s, func(t *testing.T, session *client.Session) any {
					return payload(t, current(t, session).AccessToken)["aud"]
				}, resource)
			},
			exchange: lacksGrant(exchangeGrant, url.Values{
				"subject_token": {"none"}, "subject_token_type": {"urn:ietf:params:oauth:token-type:access_token"},
			}, ""),
		},
	}
}

func startDjango(t *testing.T) *server {
	p := leeway.Django{}.Start(t)
	s := onLeeway(t, p, func(c *client.Config) { c.Issuer, c.RevocationURL = p.Issuer, p.RevocationURL() })
	s.metadata = p.Issuer + "/.well-known/openid-configuration/"
	s.own = map[string]func(*testing.T, *server) verdict{
		garbage: func(t *testing.T, s *server) verdict {
			showGarbage(t, s)
			protected := *s
			protected.call = func(t *testing.T, session *client.Session) int {
				return get(t, &http.Client{Transport: &transport.Transport{
					Source: session, Base: s.http.Transport, Rejected: func(r *http.Response) bool { return r.StatusCode == http.StatusForbidden },
				}}, p.Protected())
			}
			showGarbage(t, &protected)
			return pass("its ProtectedResourceView answers an empty 403, which is a rejection only to who says so in " +
				"`transport.Transport.Rejected`; other resources answer 401")
		},
		device:    lacksGrant(deviceGrant, url.Values{"device_code": {"none"}}, "unsupported_grant_type"),
		keyJWT:    lacksMethod("private_key_jwt"),
		pushed:    lacksMember("pushed_authorization_request_endpoint"),
		proofs:    lacksBinding,
		mutualTLS: lacksMethod("tls_client_auth", "self_signed_tls_client_auth"),
		resources: lacksResources,
		logout:    lacksLogout,
	}
	return s
}

func startDoorkeeper(t *testing.T) *server {
	p := leeway.Doorkeeper{}.Start(t)
	s := onLeeway(t, p, func(c *client.Config) { c.Endpoint, c.RevocationURL = p.Endpoint(), p.RevocationURL() })
	absent := func(path string) func(*testing.T, *server) verdict {
		return func(t *testing.T, s *server) verdict {
			require.Equal(t, http.StatusNotFound, get(t, s.http, "http://"+p.Address+path))
			return verdict{lacks, "404 at `" + path + "`"}
		}
	}
	refuses := func(set func(*testing.T, *client.Config)) func(*testing.T, *server) verdict {
		return func(t *testing.T, s *server) verdict {
			session, _ := s.open(t, daemon, func(c *client.Config) {
				c.ClientSecret = ""
				set(t, c)
			})
			_, err := session.Token(t.Context())
			refusal, ok := errors.AsType[*client.Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, "invalid_client", refusal.Code)
			return verdict{lacks, "it answers 401 `invalid_client` to a client that shows no secret"}
		}
	}
	s.own = map[string]func(*testing.T, *server) verdict{
		device: lacksGrant(deviceGrant, url.Values{"device_code": {"none"}}, "unsupported_grant_type"),
		keyJWT: refuses(func(t *testing.T, c *client.Config) { c.ClientKey = &client.Key{Signer: newKey(t)} }),
		pushed: absent("/oauth/par"),
		proofs: lacksBinding,
		mutualTLS: refuses(func(t *testing.T, c *client.Config) {
			key := newKey(t)
			c.ClientCertificate = &tls.Certificate{Certificate: [][]byte{{0}}, PrivateKey: key}
			c.AuthMethod = "tls_client_auth"
		}),
		discovery: func(t *testing.T, s *server) verdict {
			session, _ := s.open(t, person, func(c *client.Config) { c.Issuer, c.Endpoint = "http://"+p.Address, oauth2.Endpoint{} })
			_, err := session.Start(t.Context(), client.AuthCode{})
			refusal, ok := errors.AsType[*client.Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, "discover", refusal.Op)
			require.Equal(t, http.StatusNotFound, refusal.StatusCode)
			return verdict{lacks, "404 at every address of metadata"}
		},
		resources: lacksResources,
		logout:    lacksLogout,
		identity: func(t *testing.T, s *server) verdict {
			session, _ := s.open(t, daemon, func(c *client.Config) { c.Scopes = []string{"openid"} })
			_, err := session.Token(t.Context())
			refusal, ok := errors.AsType[*client.Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, "invalid_scope", refusal.Code)
			return verdict{lacks, "it answers 400 `invalid_scope` to `openid`"}
		},
	}
	return s
}

func onLeeway(t *testing.T, p *leeway.Provider, set func(*client.Config)) *server {
	base := func(id, secret string) client.Config {
		c := client.Config{ClientID: id, ClientSecret: secret, Scopes: []string{leeway.Scope}, RedirectURL: leeway.Callback}
		set(&c)
		return c
	}
	return &server{
		http: browsing(t, nil),
		clients: map[role]client.Config{
			person: base(leeway.ClientID, ""),
			web:    base(leeway.Web, leeway.Secret),
			daemon: needsNobody(base(leeway.Daemon, leeway.Secret)),
		},
		api:      p.API(),
		signIn:   func(_ *testing.T, address string) *url.URL { return p.SignIn(address, account) },
		end:      func(_ *testing.T, token string) { p.ExpireAccessToken(token) },
		replayed: replayed{http.StatusBadRequest, "invalid_grant", false},
	}
}

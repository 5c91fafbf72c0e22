package interop_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/googleapi"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/transport"
)

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
	registered := func(id, method string, further map[string]any) map[string]any {
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
		Clients: []map[string]any{registered("keyed", "private_key_jwt", map[string]any{
			"token_endpoint_auth_signing_alg": "ES256", "jwks": publicKeys(t, key),
		})},
	}
	if secured {
		own.Clients = append(own.Clients, registered("bearing", "tls_client_auth", map[string]any{
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
	thief := &http.Client{Transport: &transport.Transport{Source: fixedSource{current(t, session)}, Base: s.http.Transport}}
	require.Equal(t, http.StatusUnauthorized, get(t, thief, api))
	return pass()
}

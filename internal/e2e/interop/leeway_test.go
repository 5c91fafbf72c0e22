package interop_test

import (
	"crypto/tls"
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/leeway"
	"github.com/evergrant/evergrant/transport"
)

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

package interop_test

import (
	"crypto/rand"
	"crypto/rsa"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/zitadelop"
	"github.com/evergrant/evergrant/transport"
)

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

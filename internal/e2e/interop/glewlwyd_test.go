package interop_test

import (
	"errors"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/provider"
	"github.com/evergrant/evergrant/internal/e2e/glewlwyd"
)

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
				c.Provider = &provider.Provider{AssertionForEndpoint: true}
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
				require.NotEqual(t, current(t, session).AccessToken, renew(t, session).AccessToken)
				require.True(t, w.of("client_credentials")[0].form.Has("client_assertion"))
				return pass(assertionForEndpoint)
			},
			mutualTLS: lacksCertificates,
			resources: func(t *testing.T, s *server) verdict {
				return showResources(t, s, func(t *testing.T, session *client.Session) any {
					return payload(t, current(t, session).AccessToken)["aud"]
				}, resource)
			},
			exchange: lacksGrant(exchangeGrant, url.Values{
				"subject_token": {"none"}, "subject_token_type": {accessTokenType},
			}, ""),
		},
	}
}

package client_test

import (
	"errors"
	"maps"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore"
)

// split has the provider say of OAuth and of OpenID Connect what belongs there, in two documents. change is made to the
// second one.
func (p *provider) split(change func(map[string]any)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.openID = maps.Clone(p.metadata)
	for _, name := range []string{"jwks_uri", "userinfo_endpoint", "end_session_endpoint", "id_token_signing_alg_values_supported"} {
		delete(p.metadata, name)
	}
	if change != nil {
		change(p.openID)
	}
}

const openIDPath = "/.well-known/openid-configuration"

// TestWhatOnlyTheOpenIDDocumentSays is asked for when it is needed, and once.
func TestWhatOnlyTheOpenIDDocumentSays(t *testing.T) {
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		p.split(nil)
		require.NoError(t, p.login(alice, client.AuthCode{}))
		require.Equal(t, 1, p.count(openIDPath), "for the keys")
		require.Equal(t, 1, p.count("/jwks"))
		p.tells("application/json", `{"sub":"alice","email":"a"}`)
		require.NoError(t, alice.UserInfo(t.Context(), new(whom)))
		address, err := alice.EndSessionURL(t.Context(), nil)
		require.NoError(t, err)
		require.Contains(t, address, "https://as.test/end?")
		_, err = alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.NotContains(t, p.kinds(), "id token refused")
		require.Equal(t, 1, p.count(openIDPath))

		time.Sleep(2 * time.Hour)
		p.says(func(claims map[string]any) string { return signedBy(p.t, newKey(t), claims, "kid", "key 1") })
		_, err = alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Contains(t, p.kinds(), "id token refused", "the keys are those that this document names")
		require.Equal(t, 2, p.count(openIDPath))
	})
	t.Run("not when nothing is lacking", func(t *testing.T) {
		openID(t, func(t *testing.T, p *provider, alice *client.Session) {
			p.tells("application/json", `{"sub":"alice"}`)
			require.NoError(t, p.login(alice, client.AuthCode{}))
			require.NoError(t, alice.UserInfo(t.Context(), new(whom)))
			require.Zero(t, p.count(openIDPath))
		})
	})
	t.Run("not without an id token", func(t *testing.T) {
		openID(t, func(t *testing.T, p *provider, alice *client.Session) {
			p.split(nil)
			p.says(func(map[string]any) string { return "" })
			require.NoError(t, p.login(alice, client.AuthCode{}))
			_, err := alice.Renew(t.Context(), nil)
			require.NoError(t, err)
			require.Zero(t, p.count(openIDPath))
		}, func(c *client.Config) { c.Scopes = []string{"read"} })
	})
}

// TestOpenIDDocumentThatDoesNotCount: of another issuer, without the member, or none at all. What is asked for is not
// supported then, and of id tokens TLS vouches for the signature.
func TestOpenIDDocumentThatDoesNotCount(t *testing.T) {
	for name, split := range map[string]func(*provider){
		"another issuer": func(p *provider) {
			p.split(func(m map[string]any) { m["issuer"], m["jwks_uri"] = "https://as.test/", "https://as.test/other" })
		},
		"without them": func(p *provider) {
			p.split(func(m map[string]any) {
				maps.DeleteFunc(m, func(name string, _ any) bool { return p.metadata[name] == nil })
			})
		},
		"none": func(p *provider) { p.split(nil); p.openID = nil },
	} {
		t.Run(name, func(t *testing.T) {
			openID(t, func(t *testing.T, p *provider, alice *client.Session) {
				split(p)
				require.NoError(t, p.login(alice, client.AuthCode{}))
				require.Zero(t, p.count("/jwks"))
				require.Zero(t, p.count("/other"))
				err := alice.UserInfo(t.Context(), new(whom))
				require.ErrorIs(t, err, errors.ErrUnsupported)
				require.ErrorContains(t, err, "userinfo_endpoint")
				require.Zero(t, p.count("/me"))
				_, err = alice.EndSessionURL(t.Context(), nil)
				require.ErrorIs(t, err, errors.ErrUnsupported)
			})
		})
	}
}

// TestUnusableEndpoint: an address that nothing may be sent to costs what needs it, which says so, and nothing else. Where the
// OpenID document has a better one, it is taken.
func TestUnusableEndpoint(t *testing.T) {
	for _, split := range []bool{false, true} {
		openID(t, func(t *testing.T, p *provider, alice *client.Session) {
			for member, address := range map[string]string{
				"userinfo_endpoint": "http://as.test/me", "end_session_endpoint": "javascript:alert(1)", "revocation_endpoint": "http://as.test/revoke",
				"introspection_endpoint": "//as.test/introspect", "device_authorization_endpoint": "http://127.0.0.1/device",
				"registration_endpoint": "http://as.test/register", "pushed_authorization_request_endpoint": "ftp://as.test/par",
			} {
				p.metadata[member] = address
			}
			if split {
				p.openID = maps.Clone(p.metadata)
				p.openID["userinfo_endpoint"] = "https://as.test/me"
			}
			p.tells("application/json", `{"sub":"alice"}`)
			require.NoError(t, p.login(alice, client.AuthCode{}))
			unusable := func(err error, member string) {
				t.Helper()
				require.ErrorContains(t, err, "the "+member+" in the server's metadata cannot be used")
			}
			if err := alice.UserInfo(t.Context(), new(whom)); split {
				require.NoError(t, err)
				require.Equal(t, 1, p.count("/me"))
			} else {
				require.ErrorIs(t, err, errors.ErrUnsupported)
				unusable(err, "userinfo_endpoint")
			}
			_, err := alice.EndSessionURL(t.Context(), nil)
			unusable(err, "end_session_endpoint")
			_, err = alice.Introspect(t.Context(), nil)
			unusable(err, "introspection_endpoint")
			unusable(alice.Login(t.Context(), client.Device{Prompt: shown}), "device_authorization_endpoint")
			unusable(alice.Logout(t.Context()), "revocation_endpoint")
			p.metadata["require_pushed_authorization_requests"] = true
			time.Sleep(2 * time.Hour)
			_, err = alice.Start(t.Context(), client.AuthCode{})
			unusable(err, "pushed_authorization_request_endpoint")
		})
	}
}

// TestUnusableKeys: a server that names keys which cannot be asked for vouches for its id tokens by no other means.
func TestUnusableKeys(t *testing.T) {
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		require.NoError(t, p.login(alice, client.AuthCode{}))
		p.metadata["jwks_uri"] = "http://as.test/jwks"
		time.Sleep(2 * time.Hour)
		_, err := alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Contains(t, p.kinds(), "id token refused")
		began := time.Now()
		err = p.login(alice, client.AuthCode{})
		require.ErrorIs(t, err, client.ErrIDToken)
		require.ErrorContains(t, err, "jwks_uri")
		require.Less(t, time.Since(began), time.Second, "trying again is of no use")
		require.Equal(t, 1, p.count("/jwks"))
	})
}

// TestUnusableAlias: a client with a certificate does without an endpoint rather than without its certificate.
func TestUnusableAlias(t *testing.T) {
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		p.metadata["mtls_endpoint_aliases"] = map[string]string{"token_endpoint": "http://as.test/mtls"}
		_, err := alice.Start(t.Context(), client.AuthCode{})
		require.ErrorContains(t, err, "the token_endpoint in the server's metadata cannot be used")
	}, func(c *client.Config) {
		certificate := selfSigned(t, "app")
		c.ClientCertificate = &certificate
	})
}

// TestOpenIDDocumentThatCannotBeHad: nothing is known of the keys, so that no id token is believed, and none of a refresh costs
// its tokens.
func TestOpenIDDocumentThatCannotBeHad(t *testing.T) {
	store := tokenstore.NewMemory()
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		p.split(nil)
		down := func(yes bool) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.openIDStatus = http.StatusOK
			if yes {
				p.openIDStatus = http.StatusServiceUnavailable
			}
		}
		down(true)
		began := time.Now()
		require.Error(t, p.login(alice, client.AuthCode{}))
		require.Greater(t, time.Since(began), 5*time.Second, "the person is there, so it is tried again")
		require.NotZero(t, p.count("/revoke"))

		down(false)
		require.NoError(t, p.login(alice, client.AuthCode{}))
		other := open(t, p.config(func(c *client.Config) { c.Store = store })).Session("alice")
		down(true)
		_, err := other.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Contains(t, p.kinds(), "id token refused")
		var failed *client.Error
		require.ErrorAs(t, other.UserInfo(t.Context(), new(whom)), &failed)
		require.Equal(t, http.StatusServiceUnavailable, failed.StatusCode)
	}, func(c *client.Config) { c.Store = store })
}

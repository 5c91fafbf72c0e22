package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	profiles "github.com/evergrant/evergrant/client/provider"
)

// Shows MCP25-REG-1, MCP25-REG-3, CIMD-5-1.
func TestAsWhichClientOneLogsIn(t *testing.T) {
	const documented = "https://app.test/client.json"
	for _, tt := range []struct {
		name, clientID string
		documents      bool
		registers      bool
		want           string // client_id
	}{
		{name: "registered beforehand", clientID: "app", documents: true, registers: true, want: "app"},
		{name: "described by a document", clientID: documented, documents: true, registers: true, want: documented},
		{name: "registered now, where no documents are read", clientID: documented, registers: true, want: "dynamic-1"},
		{name: "registered now", documents: true, registers: true, want: "dynamic-1"},
		{name: "a document and nowhere to go with it", clientID: documented},
		{name: "nothing at all", documents: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := newUnknown(t)
			u.server.Policy.Registration = tt.registers
			if tt.documents {
				u.server.Policy.Metadata = map[string]any{"client_id_metadata_document_supported": true}
			}
			u.server.Register(documented, "", "none", appCallback)
			config := u.config()
			config.ClientID = tt.clientID
			if tt.clientID == "app" {
				config.Issuer, config.ClientSecret = u.server.Issuer, u.server.Config().ClientSecret
			}
			s := u.client(config).Session("")
			err := u.login(s)
			if tt.want == "" {
				wrong, ok := errors.AsType[*client.ConfigError](err)
				require.True(t, ok, "%v", err)
				require.Equal(t, "Config.ClientID", wrong.Field)
				require.Nil(t, u.asked, "nobody was asked in vain")
				return
			}
			require.NoError(t, err)
			require.Equal(t, tt.want, u.asked.Get("client_id"))
			_, err = s.Renew(t.Context(), nil)
			require.NoError(t, err)
			require.Equal(t, tt.want, u.server.Renewals()[0].ClientID)
		})
	}
}

// Shows MCP26-BIND-2, R9728-7.6-1.
func TestCredentialsOfAnotherIssuerStayAtHome(t *testing.T) {
	u := newUnknown(t)
	config := u.config()
	config.Issuer, config.ClientID, config.ClientSecret = "https://other.test", "app", "a secret of another server"
	err := u.login(u.client(config).Session(""))
	wrong, ok := errors.AsType[*client.ConfigError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "Config.Issuer", wrong.Field)
	require.Len(t, u.seen, 2, "nothing was asked but the resource")

	for name, change := range map[string]func(*client.Config){
		"a client":                func(c *client.Config) { c.ClientID, c.ClientSecret = "app", "a secret of some server" },
		"an initial access token": func(c *client.Config) { c.Registration = &client.Registration{AccessToken: "of some server"} },
	} {
		t.Run(name+" that is of no issuer", func(t *testing.T) {
			config := u.config()
			change(&config)
			_, err := client.New(config)
			wrong, ok := errors.AsType[*client.ConfigError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, "Config.Issuer", wrong.Field)
		})
	}
}

// Shows R7591-3.2.1-3, MCP26-BIND-1.
func TestRegistrationThatIsGone(t *testing.T) {
	for _, code := range []string{"invalid_client", "unauthorized_client"} {
		t.Run(code, func(t *testing.T) { testRegistrationThatIsGone(t, code) })
	}
}

func testRegistrationThatIsGone(t *testing.T, code string) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnknown(t)
		c := u.client(u.config())
		s := c.Session("alice")
		require.NoError(t, u.login(s))
		u.server.Forget("")
		u.server.Fail("/token", clienttest.Fault{Status: http.StatusUnauthorized, Body: `{"error":"` + code + `"}`})
		_, err := s.Renew(t.Context(), nil)
		require.ErrorIs(t, err, client.ErrLoginRequired)
		e, ok := errors.AsType[*client.Error](err)
		require.True(t, ok)
		require.Equal(t, []string{"client gone", code}, []string{e.Cause, e.Code})
		status, err := u.client(u.config()).Session("alice").Status(t.Context())
		require.NoError(t, err)
		require.False(t, status.LoggedIn)
		require.NoError(t, u.login(s))
		require.Equal(t, []string{"dynamic-2"}, u.server.Registered(), "once")
		_, err = s.Renew(t.Context(), nil)
		require.NoError(t, err)
	})
}

// Shows R7591-3.2.1-3.
func TestSecretThatHasExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnknown(t)
		u.server.Policy.Metadata = map[string]any{"token_endpoint_auth_methods_supported": []string{"client_secret_basic"}}
		u.server.Policy.Registered = map[string]any{"client_secret_expires_at": time.Now().Add(3 * time.Hour).Unix()}
		s := u.client(u.config()).Session("bob")
		require.NoError(t, u.login(s))
		time.Sleep(2 * time.Hour)
		_, err := s.Token(t.Context())
		require.NoError(t, err)
		asked := len(u.server.Requests())
		time.Sleep(2 * time.Hour)
		_, err = s.Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired)
		require.Len(t, u.server.Requests(), asked, "it is not shown any more")
		require.NoError(t, u.login(s))
	})
}

// Servers of the MCP Python SDK say when the secret will have ended to clients that have none.
func TestExpiryOfASecretThatIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnknown(t)
		u.server.Policy.Registered = map[string]any{"client_secret_expires_at": time.Now().Add(time.Minute).Unix()}
		s := u.client(u.config()).Session("bob")
		require.NoError(t, u.login(s))
		time.Sleep(2 * time.Hour)
		_, err := s.Token(t.Context())
		require.NoError(t, err)
	})
}

// Shows R7592-2.3-1.
func TestRegistrationIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnknown(t)
		u.server.Policy.Management = true
		s := u.client(u.config()).Session("alice")
		require.NoError(t, u.login(s))
		require.NoError(t, u.login(s))
		synctest.Wait()
		require.Equal(t, []string{"dynamic-2"}, u.server.Registered(), "the one before went with its grant")
		_, err := s.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, s.Logout(t.Context()))
		synctest.Wait()
		require.Empty(t, u.server.Registered())

		u.server.Policy.Subject = "bob"
		require.NoError(t, u.login(s))
		u.server.Fail("/register", clienttest.Fault{Status: http.StatusInternalServerError})
		require.NoError(t, s.Logout(t.Context()), "it is a courtesy")
	})
}

// TestRegistrationOfALoginThatFails: nobody will ever use it.
func TestRegistrationOfALoginThatFails(t *testing.T) {
	no := clienttest.Fault{Status: http.StatusBadRequest, Body: `{"error":"invalid_grant"}`}
	for name, login := range map[string]func(*unknown, *client.Session) error{
		"a device that is refused": func(u *unknown, s *client.Session) error {
			return s.Login(u.t.Context(), client.Device{Prompt: func(_ context.Context, v client.Verification) error { return u.server.Deny(v.UserCode) }})
		},
		"a code that cannot be shown": func(u *unknown, s *client.Session) error {
			return s.Login(u.t.Context(), client.Device{Prompt: func(context.Context, client.Verification) error { return errors.New("no paper") }})
		},
		"a code that is refused": func(u *unknown, s *client.Session) error {
			u.server.Fail("/token", no)
			return u.login(s)
		},
		"a request that cannot be pushed": func(u *unknown, s *client.Session) error {
			u.server.Policy.Metadata = map[string]any{"pushed_authorization_request_endpoint": "https://as.test/nothing"}
			return u.login(s)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := newUnknown(t)
				u.server.Policy.Management = true
				s := u.client(u.config()).Session("alice")
				require.Error(t, login(u, s))
				synctest.Wait()
				require.Empty(t, u.server.Registered())
				require.Equal(t, http.MethodDelete, u.seen[len(u.seen)-1].Method)
			})
		})
	}
	t.Run("a browser that cannot be opened", func(t *testing.T) {
		u := newUnknown(t)
		u.server.Policy.Management = true
		config, errNone := u.config(), errors.New("no browser here")
		config.RedirectURL = ""
		c := u.client(config)
		require.ErrorIs(t, c.Session("alice").Login(t.Context(), client.Browser{Open: func(string) error { return errNone }}), errNone)
		require.NoError(t, c.Close(t.Context()))
		require.Equal(t, "127.0.0.1", must(url.Parse(u.registered()["redirect_uris"].([]any)[0].(string))).Hostname())
		require.Empty(t, u.server.Registered())
	})
	t.Run("but not of one that somebody else disturbs", func(t *testing.T) {
		u := newUnknown(t)
		u.server.Policy.Management = true
		s := u.client(u.config()).Session("alice")
		begun, err := s.Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		require.ErrorIs(t, s.Finish(t.Context(), begun, url.Values{"state": {"x"}, "code": {"x"}}), client.ErrPending)
		back, err := u.server.Browse(t.Context(), begun.URL)
		require.NoError(t, err)
		require.NoError(t, s.Finish(t.Context(), begun, back.Query()))
		require.ErrorIs(t, s.Finish(t.Context(), begun, back.Query()), client.ErrPending)
		_, err = s.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Len(t, u.server.Registered(), 1)
	})
}

// registered is what the last client has said of itself.
func (u *unknown) registered() map[string]any {
	u.t.Helper()
	for _, req := range slices.Backward(u.seen) {
		if req.URL.Path == "/register" {
			var members map[string]any
			require.NoError(u.t, json.Unmarshal(req.body, &members))
			return members
		}
	}
	u.t.Fatal("no client was registered")
	return nil
}

// Shows R8705-3.3-1, R9449-5.2-1, MCP26-RT-1.
func TestWhatIsRegistered(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*unknown, *client.Config)
		want   map[string]any
	}{
		{"a web server", func(*unknown, *client.Config) {}, map[string]any{
			"client_name": "client.test", "application_type": "web", "redirect_uris": []any{appCallback}, "token_endpoint_auth_method": "none",
			"grant_types": []any{"authorization_code", "refresh_token"}, "response_types": []any{"code"},
		}},
		{"a native program", func(u *unknown, c *client.Config) {
			c.RedirectURL = "http://127.0.0.1:7777/callback"
			c.Registration = &client.Registration{Name: "Tools", URI: "https://tools.example/about", SoftwareID: "tools"}
		}, map[string]any{
			"client_name": "Tools", "client_uri": "https://tools.example/about", "software_id": "tools", "application_type": "native",
			"redirect_uris": []any{"http://127.0.0.1:7777/callback"},
		}},
		{"one whose tokens are bound to a key", func(u *unknown, c *client.Config) {
			u.server.Policy.DPoP = true
			c.DPoP = &client.DPoP{}
		}, map[string]any{"dpop_bound_access_tokens": true}},
		{"one whose tokens are bound to its certificate", func(u *unknown, c *client.Config) {
			certificate := selfSigned(u.t, "app.test")
			c.ClientCertificate = &certificate
		}, map[string]any{"tls_client_certificate_bound_access_tokens": true}},
		{"one that has to have a secret", func(u *unknown, c *client.Config) {
			u.server.Policy.Metadata = map[string]any{"token_endpoint_auth_methods_supported": []string{"client_secret_post"}}
		}, map[string]any{"token_endpoint_auth_method": "client_secret_post"}},
		{"one of a server that does not say how clients authenticate", func(u *unknown, c *client.Config) {
			u.server.Policy.Metadata = map[string]any{"token_endpoint_auth_methods_supported": nil}
		}, map[string]any{"token_endpoint_auth_method": "client_secret_basic"}},
		{"one that has to show a token", func(u *unknown, c *client.Config) {
			u.server.Policy.InitialAccessToken = "an initial access token"
			c.Issuer, c.Registration = u.server.Issuer, &client.Registration{AccessToken: "an initial access token"}
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := newUnknown(t)
			config := u.config()
			tt.change(u, &config)
			s := u.client(config).Session("")
			require.NoError(t, u.login(s))
			said := u.registered()
			for name, want := range tt.want {
				require.Equal(t, want, said[name], name)
			}
			_, err := s.Renew(t.Context(), nil)
			require.NoError(t, err)
		})
	}
}

func TestRegistrationThatIsRefused(t *testing.T) {
	u := newUnknown(t)
	u.server.Fail("/register", clienttest.Fault{Status: http.StatusBadRequest, Body: `{"error":"invalid_redirect_uri"}`})
	err := u.login(u.client(u.config()).Session(""))
	e, ok := errors.AsType[*client.Error](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "invalid_redirect_uri", e.Code)
	require.ErrorContains(t, err, "set another RedirectURL")
}

// Shows MCP25-REG-2, CIMD-4.1-1, CIMD-4.1-2, CIMD-6.2-1.
func TestDocumentThatDescribesTheClient(t *testing.T) {
	const id = "https://app.test/client.json"
	u := newUnknown(t)
	u.server.Policy.Metadata = map[string]any{"client_id_metadata_document_supported": true, "token_endpoint_auth_methods_supported": []string{"client_secret_basic", "none"}}
	u.server.Register(id, "", "none", appCallback)
	config := u.config()
	config.ClientID, config.Registration = id, &client.Registration{Name: "Tools", URI: "https://tools.example"}
	read := func(config client.Config) map[string]any {
		text, err := u.client(config).MetadataDocument()
		require.NoError(t, err)
		var members map[string]any
		require.NoError(t, json.Unmarshal(text, &members))
		require.NotContains(t, members, "client_secret")
		return members
	}
	require.Equal(t, map[string]any{
		"client_id": id, "client_name": "Tools", "client_uri": "https://tools.example", "redirect_uris": []any{appCallback},
		"application_type": "web", "token_endpoint_auth_method": "none", "response_types": []any{"code"},
		"grant_types": []any{"authorization_code", "refresh_token"},
	}, read(config))
	require.NoError(t, u.login(u.client(config).Session("")))
	require.Equal(t, id, u.asked.Get("client_id"))

	for redirectURL, want := range map[string]string{ // any port
		"": "http://127.0.0.1/callback", "http://127.0.0.1:0": "http://127.0.0.1", "http://localhost:0": "http://localhost",
		"http://[::1]:0/cb?at=:0/": "http://[::1]/cb?at=:0/", "http://127.0.0.1:8080/cb": "http://127.0.0.1:8080/cb",
		"https://app.test/cb:0/": "https://app.test/cb:0/",
	} {
		native := config
		native.RedirectURL = redirectURL
		require.Equal(t, []any{want}, read(native)["redirect_uris"])
	}

	t.Run("with a key it authenticates by that, whatever the server offers", func(t *testing.T) {
		keyed := config
		key := newKey(t)
		keyed.ClientKey = &client.Key{Signer: key, ID: "k1"}
		members := read(keyed)
		require.Equal(t, "private_key_jwt", members["token_endpoint_auth_method"])
		published := members["jwks"].(map[string]any)["keys"].([]any)[0].(map[string]any)
		require.Equal(t, "k1", published["kid"])
		require.NotContains(t, published, "d")
		s := u.client(keyed).Session("keyed")
		begun, err := s.Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		back, err := u.server.Browse(t.Context(), begun.URL)
		require.NoError(t, err)
		u.seen = nil
		require.NoError(t, s.Finish(t.Context(), begun, back.Query()), "a server of tests that looks at no assertions")
		require.Contains(t, string(u.seen[0].body), "client_assertion=")
	})
	for name, change := range map[string]func(*client.Config){
		"everybody can read it": func(c *client.Config) { c.ClientSecret = "a secret" },
		"a query":               func(c *client.Config) { c.ClientID = id + "?v=1" },
		"no path":               func(c *client.Config) { c.ClientID = "https://app.test" },
	} {
		t.Run(name, func(t *testing.T) {
			config := config
			change(&config)
			_, err := client.New(config)
			_, ok := errors.AsType[*client.ConfigError](err)
			require.True(t, ok, "%v", err)
		})
	}
	t.Run("of nobody", func(t *testing.T) {
		_, err := u.client(u.config()).MetadataDocument()
		wrong, ok := errors.AsType[*client.ConfigError](err)
		require.True(t, ok)
		require.Equal(t, "Config.ClientID", wrong.Field)
	})
}

// A server that any resource may have named gets no assertion that another one would take, whatever it says its endpoints are.
func TestAssertionIsForTheServerThatGetsIt(t *testing.T) {
	const id = "https://app.test/client.json"
	u := newUnknown(t)
	u.server.Policy.Metadata = map[string]any{
		"client_id_metadata_document_supported": true, "token_endpoint": "https://honest.test/token",
		"pushed_authorization_request_endpoint": "https://as.test/par",
	}
	for _, known := range []bool{false, true} {
		config := u.config()
		config.ClientID, config.ClientKey = id, &client.Key{Signer: newKey(t)}
		config.Provider = &profiles.Provider{AssertionForEndpoint: true}
		want := u.server.Issuer
		if known {
			config.Issuer, want = u.server.Issuer, "https://honest.test/token"
		}
		require.Error(t, u.login(u.client(config).Session("")), "a server of tests that takes no pushed requests")
		last := u.seen[len(u.seen)-1]
		require.Equal(t, "/par", last.URL.Path)
		form, err := url.ParseQuery(string(last.body))
		require.NoError(t, err)
		require.Contains(t, decoded(form.Get("client_assertion"), 1), `"aud":"`+want+`"`)
	}
}

// A client that was registered beforehand, with a token from elsewhere, and as another one later.
func TestClientOfTheConfigAtAResource(t *testing.T) {
	u := newUnknown(t)
	config := u.config()
	config.Issuer, config.ClientID, config.ClientSecret = u.server.Issuer, "app", u.server.Config().ClientSecret
	s := u.client(config).Session("")
	require.NoError(t, s.Adopt(t.Context(), u.server.Login("read")))
	status, err := u.get(s)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	_, err = s.Renew(t.Context(), nil)
	require.NoError(t, err)

	asked := len(u.server.Requests())
	u.server.Register("other", "another secret", "client_secret_basic", appCallback)
	config.ClientID, config.ClientSecret = "other", "another secret"
	other := u.client(config).Session("")
	_, err = other.Renew(t.Context(), nil)
	require.ErrorIs(t, err, client.ErrLoginRequired)
	require.Len(t, u.server.Requests(), asked, "nobody's refresh token is shown by another client")
	require.NoError(t, u.login(other))

	t.Run("that needs no person", func(t *testing.T) {
		config := config
		config.Grant = client.ClientCredentials{}
		s := u.client(config).Session("")
		status, err := u.get(s)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
		_, err = s.Renew(t.Context(), nil)
		require.NoError(t, err)
	})
	t.Run("without which no token can be adopted", func(t *testing.T) {
		err := u.client(u.config()).Session("").Adopt(t.Context(), u.server.Login("read"))
		wrong, ok := errors.AsType[*client.ConfigError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, "Config.ClientID", wrong.Field)
	})
}

package client_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
)

// tells makes UserInfo answer with body.
func (p *provider) tells(kind, body string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.info = func() (string, string) { return kind, body }
}

type whom struct{ Sub, Email string }

// Shows OIDC-5.3.1-1, OIDC-5.3.2-2.
func TestUserInfo(t *testing.T) {
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		p.tells("application/json; charset=utf-8", `{"sub":"alice","email":"a@example.com","more":{}}`)
		require.ErrorIs(t, alice.UserInfo(t.Context(), new(whom)), client.ErrLoginRequired)
		require.Zero(t, p.count("/me"))
		require.NoError(t, p.login(alice, client.AuthCode{}))
		var got whom
		require.NoError(t, alice.Resource("https://api.test").UserInfo(t.Context(), &got))
		require.Equal(t, whom{"alice", "a@example.com"}, got)
		require.Equal(t, []string{"Bearer AT1"}, p.headers[0]["Authorization"], "the account's own token, not the resource's")

		require.Error(t, alice.UserInfo(t.Context(), new(int)))
		p.tells("application/json", `{"sub":"alice","email":"a","sub":"alice"}`)
		require.Error(t, alice.UserInfo(t.Context(), new(whom)))
		p.tells("text/html", "<html>")
		require.Error(t, alice.UserInfo(t.Context(), new(whom)))
		p.tells("application/json", `{"sub":"alice","email":"`+strings.Repeat("x", 1<<20)+`"}`)
		require.Error(t, alice.UserInfo(t.Context(), new(whom)), "an answer without an end is not read")
	})
}

// TestUserInfoThatIsNotBelieved: no claim of it comes through.
func TestUserInfoThatIsNotBelieved(t *testing.T) {
	for name, tell := range map[string]func(p *provider) (kind, body string){
		"OIDC-5.3.2-1 somebody else": func(*provider) (string, string) { return "application/json", `{"sub":"mallory","email":"m"}` },
		"OIDC-5.3.2-1 another case":  func(*provider) (string, string) { return "application/json", `{"sub":"Alice","email":"m"}` },
		"OIDC-5.3.2-1 nobody":        func(*provider) (string, string) { return "application/json", `{"email":"m"}` },
		"OIDC-5.3.2-1 in capitals":   func(*provider) (string, string) { return "application/json", `{"SUB":"alice","email":"m"}` },
		"OIDC-5.3.2-2 another key": func(p *provider) (string, string) {
			return "application/jwt", signedBy(p.t, newKey(p.t), whom{"alice", "m"}, "kid", "key 1")
		},
		"OIDC-5.3.2-2 unsigned": func(p *provider) (string, string) {
			return "application/jwt", unsigned(p.t, map[string]any{"sub": "alice", "email": "m"})
		},
		"OIDC-5.3.2-2 another issuer": func(p *provider) (string, string) {
			return "application/jwt", p.sign(map[string]any{"sub": "alice", "email": "m", "iss": "https://evil.test"})
		},
		"OIDC-5.3.2-2 another client": func(p *provider) (string, string) {
			return "application/jwt", p.sign(map[string]any{"sub": "alice", "email": "m", "aud": "other"})
		},
		"OIDC-5.3.2-2 signed, about somebody else": func(p *provider) (string, string) {
			return "application/jwt", p.sign(map[string]any{"sub": "mallory", "email": "m"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			openID(t, func(t *testing.T, p *provider, alice *client.Session) {
				require.NoError(t, p.login(alice, client.AuthCode{}))
				p.tells(tell(p))
				var got whom
				require.ErrorIs(t, alice.UserInfo(t.Context(), &got), client.ErrIDToken)
				require.Zero(t, got)
			})
		})
	}
}

// Shows OIDC-5.3.2-2.
func TestSignedUserInfo(t *testing.T) {
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		require.NoError(t, p.login(alice, client.AuthCode{}))
		for _, claims := range []map[string]any{
			{"sub": "alice", "email": "a"},
			{"sub": "alice", "email": "a", "iss": "https://as.test", "aud": []string{"other", "app"}},
		} {
			p.tells("application/jwt", p.sign(claims))
			var got whom
			require.NoError(t, alice.UserInfo(t.Context(), &got))
			require.Equal(t, whom{"alice", "a"}, got)
		}
	})
}

// TestSignedUserInfoThatCannotBeChecked: nothing but the signature vouches for it.
func TestSignedUserInfoThatCannotBeChecked(t *testing.T) {
	for name, spoil := range map[string]func(p *provider){
		"no keys":               func(p *provider) { delete(p.metadata, "jwks_uri") },
		"another algorithm":     func(p *provider) { p.metadata["userinfo_signing_alg_values_supported"] = []string{"RS256"} },
		"the algorithm is none": func(p *provider) { p.metadata["userinfo_signing_alg_values_supported"] = []string{"none"} },
	} {
		t.Run(name, func(t *testing.T) {
			openID(t, func(t *testing.T, p *provider, alice *client.Session) {
				spoil(p)
				require.NoError(t, p.login(alice, client.AuthCode{}))
				p.tells("application/jwt", p.sign(map[string]any{"sub": "alice", "email": "m"}))
				var got whom
				require.ErrorIs(t, alice.UserInfo(t.Context(), &got), client.ErrIDToken)
				require.Zero(t, got)
			})
		})
	}
}

// TestAQuestionHasItsTime: a server that does not answer holds up nobody for ever.
func TestAQuestionHasItsTime(t *testing.T) {
	for name, ask := range map[string]func(*client.Session) error{
		"UserInfo": func(s *client.Session) error { return s.UserInfo(context.Background(), new(any)) },
		"Introspect": func(s *client.Session) error {
			_, err := s.Introspect(context.Background(), nil)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			openID(t, func(t *testing.T, p *provider, alice *client.Session) {
				p.metadata["introspection_endpoint"] = "https://as.test/introspect"
				require.NoError(t, p.login(alice, client.AuthCode{}))
				begun := time.Now()
				require.ErrorIs(t, ask(alice), context.DeadlineExceeded)
				require.Equal(t, 2*time.Minute, time.Since(begun))
			}, func(c *client.Config) {
				c.AuthServerClient = &http.Client{Transport: mute{c.AuthServerClient.Transport, []string{"/me", "/introspect"}}}
			})
		})
	}
}

// mute does not answer at these paths.
type mute struct {
	next  http.RoundTripper
	paths []string
}

func (m mute) RoundTrip(req *http.Request) (*http.Response, error) {
	if slices.Contains(m.paths, req.URL.Path) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	return m.next.RoundTrip(req)
}

// TestAnswersOfUserInfoAreClosed: whatever is in them.
func TestAnswersOfUserInfoAreClosed(t *testing.T) {
	for name, status := range map[string]int{"good": http.StatusOK, "a refusal": http.StatusTeapot, "a redirect": http.StatusFound} {
		t.Run(name, func(t *testing.T) {
			openID(t, func(t *testing.T, p *provider, alice *client.Session) {
				require.NoError(t, p.login(alice, client.AuthCode{}))
				err := alice.UserInfo(t.Context(), new(any))
				require.Equal(t, status == http.StatusOK, err == nil, "%v", err)
			}, func(c *client.Config) {
				body := &closing{Reader: strings.NewReader(`{"sub":"alice"}`)}
				t.Cleanup(func() { require.True(t, body.closed) })
				c.AuthServerClient = &http.Client{Transport: meFirst{c.AuthServerClient.Transport, func(string) *http.Response {
					return &http.Response{StatusCode: status, Header: http.Header{}, Body: body}
				}}}
			})
		})
	}
}

func TestUserInfoThatCannotBeHad(t *testing.T) {
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		require.NoError(t, p.login(alice, client.AuthCode{}))
		p.tells("application/json", `{}`)
		p.metadata["userinfo_endpoint"] = "https://as.test/nothing-there"
		time.Sleep(25 * time.Hour) // the metadata is asked for again
		require.Error(t, alice.UserInfo(t.Context(), new(whom)))
		delete(p.metadata, "userinfo_endpoint")
		time.Sleep(25 * time.Hour)
		require.ErrorIs(t, alice.UserInfo(t.Context(), new(whom)), errors.ErrUnsupported)
	})
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		p.says(func(map[string]any) string { return "" })
		require.NoError(t, p.login(alice, client.AuthCode{}))
		require.ErrorIs(t, alice.UserInfo(t.Context(), new(whom)), client.ErrIDToken, "there is nobody to compare with")
		require.Zero(t, p.count("/me"))
	}, func(c *client.Config) { c.Scopes = nil })
}

// meFirst answers requests for UserInfo by itself, as long as it has an answer.
type meFirst struct {
	next    http.RoundTripper
	answers func(token string) *http.Response
}

func (m meFirst) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == "/me" {
		if resp := m.answers(req.Header.Get("Authorization")); resp != nil {
			return resp, nil
		}
	}
	return m.next.RoundTrip(req)
}

// TestUserInfoSaysForbidden: zitadel and Dex say 403 of a token that is dead, and nothing more.
func TestUserInfoSaysForbidden(t *testing.T) {
	scope := http.Header{"Www-Authenticate": {`Bearer error="insufficient_scope", scope="email"`}}
	for name, c := range map[string]struct {
		answers func(token string) *http.Response
		want    int // status; 0: none
		renewed int
	}{
		"of the first token": {func(token string) *http.Response {
			if token == "Bearer AT1" {
				return answer(http.StatusForbidden, nil, "{}")
			}
			return nil
		}, 0, 1},
		"of every token": {func(string) *http.Response { return answer(http.StatusForbidden, nil, "{}") }, http.StatusForbidden, 1},
		"for a scope":    {func(string) *http.Response { return answer(http.StatusForbidden, scope, "") }, http.StatusForbidden, 0},
	} {
		t.Run(name, func(t *testing.T) {
			openID(t, func(t *testing.T, p *provider, alice *client.Session) {
				p.tells("application/json", `{"sub":"alice","email":"a"}`)
				require.NoError(t, p.login(alice, client.AuthCode{}))
				time.Sleep(time.Minute)
				var got whom
				err := alice.UserInfo(t.Context(), &got)
				require.Equal(t, 1+c.renewed, p.count("/token"))
				if c.want == 0 {
					require.NoError(t, err)
					require.Equal(t, whom{"alice", "a"}, got)
					return
				}
				for range 2 {
					var failed *client.Error
					require.ErrorAs(t, err, &failed)
					require.Equal(t, c.want, failed.StatusCode)
					err = alice.UserInfo(t.Context(), &got)
				}
				require.Equal(t, 1+c.renewed, p.count("/token"), "a fresh token that is rejected is not renewed")
			}, func(config *client.Config) {
				config.AuthServerClient.Transport = meFirst{config.AuthServerClient.Transport, c.answers}
			})
		})
	}
}

// Shows OIDC-5.3.4-1, OIDC-16.17-1. The token goes to nobody whose certificate is not good, and along no redirect.
func TestUserInfoOfAnImpostor(t *testing.T) {
	asked := 0
	impostor := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	impostor.TLS = &tls.Config{}
	impostor.Config.ErrorLog = log.New(io.Discard, "", 0)
	impostor.StartTLS()
	defer impostor.Close()
	var as *httptest.Server
	as = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/oauth-authorization-server":
			_ = json.NewEncoder(w).Encode(map[string]any{
				"issuer": as.URL, "token_endpoint": as.URL + "/token", "userinfo_endpoint": impostor.URL, "authorization_endpoint": as.URL + "/authorize",
			})
		case "/token":
			id := signedBy(t, newKey(t), map[string]any{"iss": as.URL, "aud": "app", "sub": "alice", "iat": time.Now().Unix(), "exp": time.Now().Unix() + 60, "nonce": r.FormValue("code")})
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "AT", "token_type": "Bearer", "expires_in": 3600, "id_token": id})
		}
	}))
	defer as.Close()
	c, err := client.New(client.Config{Issuer: as.URL, ClientID: "app", Scopes: []string{"openid"}, RedirectURL: "https://app.test/callback"})
	require.NoError(t, err)
	defer c.Close(t.Context())
	alice := c.Session("alice")
	pending, err := alice.Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	query := must(url.Parse(pending.URL)).Query()
	require.NoError(t, alice.Finish(t.Context(), pending, url.Values{"state": query["state"], "code": query["nonce"]}))
	err = alice.UserInfo(t.Context(), new(whom))
	_, ok := errors.AsType[*tls.CertificateVerificationError](err)
	require.True(t, ok, "%v", err)
	require.Zero(t, asked)
}

// EndSessionURL gives what RP-Initiated Logout 1.0 §2 and §3 ask for.
func TestEndSessionURL(t *testing.T) {
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		_, err := alice.EndSessionURL(t.Context(), nil)
		require.ErrorIs(t, err, client.ErrLoginRequired)
		require.NoError(t, p.login(alice, client.AuthCode{}))
		params := url.Values{"post_logout_redirect_uri": {"https://app.test/bye"}, "state": {"s"}, "ui_locales": {"de en"}}
		address, err := alice.EndSessionURL(t.Context(), params)
		require.NoError(t, err)
		require.Len(t, params, 3, "the caller's own are not changed")
		got := must(url.Parse(address))
		require.Equal(t, "https://as.test/end", got.Scheme+"://"+got.Host+got.Path)
		query := got.Query()
		hint := query.Get("id_token_hint")
		query.Del("id_token_hint")
		require.Equal(t, url.Values{
			"tenant": {"1"}, "client_id": {"app"}, "post_logout_redirect_uri": {"https://app.test/bye"}, "state": {"s"}, "ui_locales": {"de en"},
		}, query)
		require.Contains(t, decoded(hint, 1), `"sub":"alice"`)

		for _, wrong := range []url.Values{
			{"post_logout_redirect_uri": {"http://app.test/bye"}}, {"id_token_hint": {"x"}}, {"client_id": {"other"}},
		} {
			_, err = alice.EndSessionURL(t.Context(), wrong)
			e, ok := errors.AsType[*client.ConfigError](err)
			require.True(t, ok, "%v", err)
			require.NotEmpty(t, e.Field)
		}
		require.NoError(t, alice.Logout(t.Context()))
		_, err = alice.EndSessionURL(t.Context(), nil)
		require.ErrorIs(t, err, client.ErrLoginRequired)
	})
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		p.says(func(map[string]any) string { return "" })
		require.NoError(t, p.login(alice, client.AuthCode{}))
		address, err := alice.EndSessionURL(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, "https://as.test/end?client_id=app&tenant=1", address, "without an id token the server asks the person")
	}, func(c *client.Config) { c.Scopes = nil })
	openID(t, func(t *testing.T, p *provider, alice *client.Session) {
		delete(p.metadata, "end_session_endpoint")
		require.NoError(t, p.login(alice, client.AuthCode{}))
		_, err := alice.EndSessionURL(t.Context(), nil)
		require.ErrorIs(t, err, errors.ErrUnsupported)
	})
}

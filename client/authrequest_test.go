package client_test

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	profiles "github.com/evergrant/evergrant/client/provider"
)

// newOffice is a desk with an authorization endpoint, whose address has a query of its own.
func newOffice() *desk {
	d := newDesk()
	d.metadata["authorization_endpoint"] = "https://as.test/authorize?tenant=7&scope=all"
	return d
}

// web is the session of a web backend at d.
func (d *desk) web(t *testing.T, set func(*client.Config)) *client.Session {
	t.Helper()
	return open(t, d.config(func(c *client.Config) {
		c.RedirectURL, c.Scopes = "https://app.test/callback?app=1", []string{"b", "a", "b"}
		if set != nil {
			set(c)
		}
	})).Session("alice")
}

// begin begins a login; asked is the query of its URL.
func begin(t *testing.T, s *client.Session, params url.Values) (p *client.Pending, asked url.Values) {
	t.Helper()
	p, err := s.Start(t.Context(), client.AuthCode{Params: params})
	require.NoError(t, err)
	u, err := url.Parse(p.URL)
	require.NoError(t, err)
	asked, err = url.ParseQuery(u.RawQuery)
	require.NoError(t, err)
	return p, asked
}

// back is an authorization response to asked.
func back(asked url.Values, more ...string) url.Values {
	response := url.Values{"code": {"C"}, "state": {asked.Get("state")}}
	for i := 0; i < len(more); i += 2 {
		response.Add(more[i], more[i+1])
	}
	return response
}

// Shows R8414-2-3.
func TestAuthorizationRequest(t *testing.T) {
	d := newOffice()
	s := d.web(t, nil)
	_, asked := begin(t, s, url.Values{"login_hint": {"a&b=c é"}, "display": {""}, "acr_values": {"x y"}})
	for id, hold := range map[string]func(t *testing.T){
		"R6749-3.1-1": func(t *testing.T) { require.Equal(t, []string{"7"}, asked["tenant"]) },
		"R6749-3.1-2": func(t *testing.T) {
			require.NotContains(t, asked, "display")
			for name, values := range asked {
				require.Len(t, values, 1, name)
			}
			for _, params := range []url.Values{{"scope": {"x"}}, {"state": {"x"}}, {"prompt": {"login", "consent"}}} {
				_, err := s.Start(t.Context(), client.AuthCode{Params: params})
				requireConfigError(t, err, "AuthCode.Params")
			}
		},
		"R6749-3.1.2.3-1": func(t *testing.T) {
			require.Equal(t, []string{"https://app.test/callback?app=1"}, asked["redirect_uri"])
		},
		"R6749-3.3-1": func(t *testing.T) { require.Equal(t, []string{"b a"}, asked["scope"]) },
		"R6749-4.1.1-1": func(t *testing.T) {
			require.Equal(t, []string{"code"}, asked["response_type"])
			require.Equal(t, []string{"app/1"}, asked["client_id"])
		},
		"R6749-4.1.1-2": func(t *testing.T) {
			_, again := begin(t, s, nil)
			require.NotEqual(t, asked.Get("state"), again.Get("state"))
		},
		"R6749-10.12-2": func(t *testing.T) { require.GreaterOrEqual(t, len(asked.Get("state")), 26, "130 bits of base32") },
		"R6749-10.8-1":  func(t *testing.T) { require.Regexp(t, "^[A-Z2-7]+$", asked.Get("state"), "nothing is in it") },
		"R6749-B-1": func(t *testing.T) {
			p, _ := begin(t, s, url.Values{"login_hint": {" %&+£€"}})
			require.Contains(t, p.URL, "login_hint=+%25%26%2B%C2%A3%E2%82%AC&")
			require.Equal(t, "a&b=c é", asked.Get("login_hint"))
		},
		"R6749-10.3-3": func(t *testing.T) {
			d := newOffice()
			d.metadata["scopes_supported"] = []string{"everything"}
			_, asked := begin(t, d.web(t, func(c *client.Config) { c.Scopes = nil }), nil)
			require.Equal(t, []string{"all"}, asked["scope"], "the endpoint's own query, and nothing of ours")
		},
		"R7636-4.3-1": func(t *testing.T) { require.Equal(t, []string{"S256"}, asked["code_challenge_method"]) },
		"R7636-5-1, R8414-2-3": func(t *testing.T) {
			d := newOffice()
			s := d.web(t, func(c *client.Config) {
				c.Issuer, c.Endpoint = "", oauth2.Endpoint{AuthURL: "https://as.test/authorize", TokenURL: "https://as.test/token"}
			})
			_, asked := begin(t, s, nil)
			require.NotEmpty(t, asked.Get("code_challenge"))
		},
		"R9700-2.1.1-2": func(t *testing.T) {
			_, asked := begin(t, d.web(t, func(c *client.Config) { c.ClientSecret = "s" }), nil)
			require.NotEmpty(t, asked.Get("code_challenge"))
		},
		"R6749-2.3.1-3": func(t *testing.T) {
			for _, name := range []string{"client_secret", "client_assertion"} {
				_, err := s.Start(t.Context(), client.AuthCode{Params: url.Values{name: {"x"}}})
				requireConfigError(t, err, "AuthCode.Params")
			}
		},
		"R9101-5-1": func(t *testing.T) { // neither is offered
			for _, name := range []string{"request", "request_uri"} {
				_, err := s.Start(t.Context(), client.AuthCode{Params: url.Values{name: {"x"}}})
				requireConfigError(t, err, "AuthCode.Params")
			}
		},
		"OIDC-3.1.2.1-2": func(t *testing.T) {
			s := d.web(t, func(c *client.Config) { c.Scopes = []string{"openid"} })
			_, one := begin(t, s, nil)
			_, two := begin(t, s, nil)
			require.GreaterOrEqual(t, len(one.Get("nonce")), 26, "130 bits of base32")
			require.NotEqual(t, one.Get("nonce"), two.Get("nonce"))
			require.NotEqual(t, one.Get("nonce"), one.Get("state"))
		},
		"OIDC-3.1.2.1-3": func(t *testing.T) { require.NotContains(t, asked, "response_mode") },
		"OIDC-5.5-1": func(t *testing.T) {
			claims := `{"id_token":{"auth_time":{"essential":true}}}`
			_, asked := begin(t, s, url.Values{"claims": {claims}})
			require.Equal(t, []string{claims}, asked["claims"])
		},
	} {
		t.Run(id, hold)
	}
}

func requireConfigError(t *testing.T, err error, field string) {
	t.Helper()
	e, ok := errors.AsType[*client.ConfigError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, field, e.Field)
}

// Every login has a verifier of its own, whose hash the authorization request carries and which the exchange sends.
// Shows R9700-2.1.1-4.
func TestPKCE(t *testing.T) {
	d := newOffice()
	s := d.web(t, nil)
	seen := map[string]bool{}
	finish := func(p *client.Pending, asked url.Values) string {
		require.NoError(t, s.Finish(t.Context(), p, back(asked)))
		all := d.letters()
		verifier := all[len(all)-1].form["code_verifier"]
		require.Len(t, verifier, 1)
		sum := sha256.Sum256([]byte(verifier[0]))
		require.Equal(t, base64.RawURLEncoding.EncodeToString(sum[:]), asked.Get("code_challenge"))
		seen[verifier[0]] = true
		return verifier[0]
	}
	one, askedOne := begin(t, s, nil)
	two, askedTwo := begin(t, s, nil)
	for id, hold := range map[string]func(t *testing.T){
		"R7636-4.5-1, R7636-4.2-1, O21-4.1.1-1": func(t *testing.T) {
			finish(two, askedTwo)
			finish(one, askedOne)
		},
		"R7636-4.1-1, R7636-4.1-2, R7636-7.1-1, R9700-2.1.1-3": func(t *testing.T) {
			unreserved := regexp.MustCompile(`^[A-Za-z0-9._~-]{43,128}$`)
			for range 100 {
				verifier := finish(begin(t, s, nil))
				require.Regexp(t, unreserved, verifier)
				raw, err := base64.RawURLEncoding.DecodeString(verifier)
				require.NoError(t, err)
				require.Len(t, raw, 32)
			}
			require.GreaterOrEqual(t, len(seen), 100)
		},
		"R7636-4.6-1, O21-4.1.2-1, O21-7.5.1.1-1": func(t *testing.T) { // a verifier that does not fit
			d.answer = func(int, url.Values) (int, string) { return http.StatusBadRequest, `{"error":"invalid_grant"}` }
			defer func() { d.answer = nil }()
			p, asked := begin(t, s, nil)
			sent := len(d.letters())
			err := s.Finish(t.Context(), p, back(asked))
			require.Equal(t, "invalid_grant", requireError(t, err).Code)
			require.Len(t, d.letters(), sent+1, "a code is not sent again")
			_, again := begin(t, s, nil)
			require.NotEqual(t, asked.Get("code_challenge"), again.Get("code_challenge"))
		},
		"R7636-4.4.1-1, R7636-7.2-1": func(t *testing.T) { // the server refuses S256
			p, asked := begin(t, s, nil)
			sent := len(d.letters())
			refusal := url.Values{"error": {"invalid_request"}, "state": {asked.Get("state")}}
			require.Equal(t, "invalid_request", requireError(t, s.Finish(t.Context(), p, refusal)).Code)
			require.Len(t, d.letters(), sent)
			_, again := begin(t, s, nil)
			require.Equal(t, "S256", again.Get("code_challenge_method"))
		},
		"R7636-4.2-2, R9700-2.1.1-4, O21-4.1.1-2, R9700-2.1.1-5, O21-7.10-1": func(t *testing.T) {
			weak := newOffice()
			weak.metadata["code_challenge_methods_supported"] = []string{"plain"}
			_, err := weak.web(t, nil).Start(t.Context(), client.AuthCode{})
			require.ErrorContains(t, err, "S256")
		},
	} {
		t.Run(id, hold)
	}
}

func requireError(t *testing.T, err error) *client.Error {
	t.Helper()
	e, ok := errors.AsType[*client.Error](err)
	require.True(t, ok, "%v", err)
	return e
}

// The exchange repeats what was asked for, byte for byte.
// Shows O21-4.1.3-2.
func TestCodeExchange(t *testing.T) {
	d := newOffice()
	s := d.web(t, nil)
	p, asked := begin(t, s, nil)
	code := strings.Repeat("a%2F+= ", 1200)
	response := back(asked, "session_state", "x", "session_state", "y", "foo", "bar")
	response.Set("code", code)
	require.NoError(t, s.Finish(t.Context(), p, response))
	l := d.letters()[0]
	for id, hold := range map[string]func(t *testing.T){
		"R6749-4.1.3-1, O21-2.3.2-1, O21-4.1.3-1, R6749-3.1.2-2": func(t *testing.T) { require.Equal(t, asked["redirect_uri"], l.form["redirect_uri"]) },
		"R6749-4.1.3-2, R6749-4.1.2-4": func(t *testing.T) {
			require.Equal(t, []string{"authorization_code"}, l.form["grant_type"])
			require.Equal(t, []string{code}, l.form["code"])
		},
		"R6749-4.1.2-3": func(t *testing.T) { require.Len(t, d.letters(), 1) },
		"R6749-3.2.1-2": func(t *testing.T) { require.Equal(t, "client_id alone", l.method()) },
		"R6749-4.1.2-5": func(t *testing.T) { require.Equal(t, "AT1", token(t, s)); require.Len(t, d.letters(), 1) },
		"R9700-4.2.4-2": func(t *testing.T) {
			require.ErrorIs(t, s.Finish(t.Context(), p, response), client.ErrPending)
			require.Len(t, d.letters(), 1, "neither state nor code is good twice")
		},
		"R9700-4.8.2-1, O21-4.1.3-2": func(t *testing.T) {
			require.NotEmpty(t, asked.Get("code_challenge"))
			require.NotEmpty(t, l.form.Get("code_verifier"))
		},
		"R6749-10.12-1": func(t *testing.T) { require.ErrorIs(t, s.Finish(t.Context(), nil, back(asked)), client.ErrPending) },
		"R6749-4.1.2.1-1": func(t *testing.T) {
			for _, code := range []string{"invalid_request", "unauthorized_client", "access_denied", "unsupported_response_type", "invalid_scope", "server_error", "temporarily_unavailable", "a_code_of_its_own"} {
				p, asked := begin(t, s, nil)
				err := s.Finish(t.Context(), p, url.Values{"error": {code}, "state": {asked.Get("state")}, "error_uri": {"https://as.test/why"}})
				e := requireError(t, err)
				require.Equal(t, []string{code, "https://as.test/why"}, []string{e.Code, e.URI})
			}
		},
	} {
		t.Run(id, hold)
	}
}

// Shows R9207-2-1, R9207-2.3-1, R9207-2.4-1, R9207-2.4-2, R9207-2.4-3, R9207-2.4-4, R9207-2.4-5, R9700-4.4.2.1-1, MCP26-ISS-2, MCP26-ISS-3, MCP26-ISS-4, O21-2.3.4-1.
func TestIssuerOfTheResponse(t *testing.T) {
	wrong := []string{
		"https://evil.test", "https://as.test/", "https://AS.test", "https://as.test:443", "HTTPS://as.test", "https://as.test%2F", "as.test", "https://as.tes%74",
	}
	for _, announced := range []bool{true, false} {
		for _, outcome := range []string{"code", "error"} {
			d := newOffice()
			d.metadata["authorization_response_iss_parameter_supported"] = announced
			s := d.web(t, nil)
			try := func(iss ...string) error {
				p, asked := begin(t, s, nil)
				response := url.Values{"state": {asked.Get("state")}, outcome: {"access_denied"}, "error_description": {"words of evil.test"}}
				for _, value := range iss {
					response.Add("iss", value)
				}
				return s.Finish(t.Context(), p, response)
			}
			accepted := func(err error) {
				t.Helper()
				if outcome == "code" {
					require.NoError(t, err)
					return
				}
				require.Equal(t, "access_denied", requireError(t, err).Code)
				require.NotErrorIs(t, err, client.ErrPending)
			}
			refused := func(err error) {
				t.Helper()
				require.ErrorIs(t, err, client.ErrPending)
				require.Empty(t, requireError(t, err).Code)
				require.NotContains(t, err.Error(), "words of")
			}
			accepted(try("https://as.test"))
			sent := len(d.letters())
			for _, iss := range wrong {
				refused(try(iss))
			}
			refused(try("https://as.test", "https://as.test"))
			require.Len(t, d.letters(), sent, "nothing is sent")
			if announced {
				refused(try())
			} else {
				accepted(try())
			}
		}
	}
}

// A server without metadata may send iss: it is held against Config.Issuer, which endpoints given by hand do not replace.
func TestR9207_2_4_6(t *testing.T) {
	d := newOffice()
	d.absent = true
	given := func(c *client.Config) {
		c.Endpoint = oauth2.Endpoint{AuthURL: "https://as.test/authorize", TokenURL: "https://as.test/token"}
	}
	s := d.web(t, given)
	p, asked := begin(t, s, nil)
	require.ErrorIs(t, s.Finish(t.Context(), p, back(asked, "iss", "https://evil.test")), client.ErrPending)
	require.Empty(t, d.letters())
	require.NoError(t, s.Finish(t.Context(), p, back(asked, "iss", "https://as.test")))

	t.Run("without an issuer there is nothing to compare with", func(t *testing.T) {
		s := d.web(t, func(c *client.Config) { given(c); c.Issuer = "" })
		p, asked := begin(t, s, nil)
		require.NoError(t, s.Finish(t.Context(), p, back(asked, "iss", "https://as.test")))
	})
}

// Shows R9700-4.4.2-1, MCP26-ISS-1, R9700-2.1-3.
func TestLoginGoesOnWhereItWasBegun(t *testing.T) {
	honest, evil := newOffice(), newOffice()
	evil.metadata["issuer"], evil.metadata["token_endpoint"] = "https://evil.test", "https://evil.test/token"
	s := honest.web(t, nil)
	p, asked := begin(t, s, nil)
	text, err := p.MarshalText()
	require.NoError(t, err)

	changed := evil.web(t, func(c *client.Config) { c.Issuer = "https://evil.test" })
	var read client.Pending
	require.NoError(t, read.UnmarshalText(text))
	require.ErrorIs(t, changed.Finish(t.Context(), &read, back(asked)), client.ErrPending)
	require.Empty(t, evil.letters(), "the code is not shown to another server")
	require.NoError(t, s.Finish(t.Context(), &read, back(asked)))
}

// Shows R8252-8.10-1, R9700-4.4.2.2-1.
func TestEachServerHasARedirectURLOfItsOwn(t *testing.T) {
	one, two := newOffice(), newOffice()
	two.metadata["issuer"], two.metadata["token_endpoint"] = "https://two.test", "https://two.test/token"
	s1 := one.web(t, func(c *client.Config) { c.RedirectURL = "https://app.test/callback/one" })
	s2 := two.web(t, func(c *client.Config) { c.RedirectURL, c.Issuer = "https://app.test/callback/two", "https://two.test" })
	p1, asked1 := begin(t, s1, nil)
	p2, asked2 := begin(t, s2, nil)
	require.NotEqual(t, asked1.Get("redirect_uri"), asked2.Get("redirect_uri"))
	for _, c := range []struct {
		s *client.Session
		p *client.Pending
		q url.Values
	}{{s1, p1, asked2}, {s1, p2, asked2}, {s2, p2, asked1}, {s2, p1, asked1}} {
		require.ErrorIs(t, c.s.Finish(t.Context(), c.p, back(c.q)), client.ErrPending)
	}
	require.Empty(t, append(one.letters(), two.letters()...))
}

// TestPushedAuthorizationRequest holds both halves of the request against RFC 9126.
// Shows R7523b-5-1.
func TestPushedAuthorizationRequest(t *testing.T) {
	push := func(d *desk, answer string) {
		d.metadata["pushed_authorization_request_endpoint"] = "https://as.test/par"
		d.answer = func(_ int, form url.Values) (int, string) {
			if !form.Has("response_type") {
				return 0, ""
			}
			return http.StatusCreated, answer
		}
	}
	d := newOffice()
	push(d, `{"request_uri":"urn:example:1+2&3","expires_in":60}`)
	details := `[{"type":"payment","amount":"1.00 €"}]`
	s := d.web(t, func(c *client.Config) { c.ClientSecret = "s+" })
	p, asked := begin(t, s.Resource("https://api.test/"), url.Values{"authorization_details": {details}, "prompt": {"login"}})
	pushed := d.letters()[0]
	for id, hold := range map[string]func(t *testing.T){
		"R9126-2-1, R9126-2.1-1": func(t *testing.T) {
			require.Equal(t, "/par", pushed.url.Path)
			require.Contains(t, pushed.header.Get("Content-Type"), "application/x-www-form-urlencoded")
			require.NotContains(t, pushed.form, "request_uri")
			require.Equal(t, "Basic "+base64.StdEncoding.EncodeToString([]byte("app%2F1:s%2B")), pushed.header.Get("Authorization"))
			require.NotContains(t, pushed.form, "client_secret")
		},
		"R9126-4-2": func(t *testing.T) {
			require.Equal(t, url.Values{
				"tenant": {"7"}, "scope": {"all"}, "client_id": {"app/1"}, "request_uri": {"urn:example:1+2&3"},
			}, asked, "the first two are the endpoint's own")
		},
		"R9126-7.5-1": func(t *testing.T) {
			begin(t, d.web(t, func(c *client.Config) { c.Scopes = []string{"openid"} }), nil)
			all := d.letters()
			form := all[len(all)-1].form
			for _, name := range []string{"state", "nonce", "code_challenge"} {
				require.Len(t, form[name], 1)
				require.NotEmpty(t, form.Get(name))
			}
			require.Equal(t, "S256", form.Get("code_challenge_method"))
		},
		"R9126-5-2, R9396-12-1": func(t *testing.T) { // the endpoint's presence is enough
			require.NotContains(t, p.URL, "payment")
			require.Equal(t, []string{details}, pushed.form["authorization_details"])
			require.Equal(t, []string{"https://api.test/"}, pushed.form["resource"])
			require.Equal(t, []string{"login"}, pushed.form["prompt"])
			require.Equal(t, []string{"https://app.test/callback?app=1"}, pushed.form["redirect_uri"])
		},
		"R9126-4-1": func(t *testing.T) { // another login, another request
			before := len(d.letters())
			_, _ = begin(t, s, nil)
			require.Len(t, d.letters(), before+1)
		},
		"R9126-2-2": func(t *testing.T) {
			d, key := newOffice(), newKey(t)
			push(d, `{"request_uri":"urn:example:1"}`)
			begin(t, d.web(t, func(c *client.Config) { c.ClientKey = &client.Key{Signer: key} }), nil)
			_, claims := verified(t, d.letters()[0].form.Get("client_assertion"), &key.PublicKey)
			require.Equal(t, "https://as.test", claims["aud"])
		},
		"R9126-5-1": func(t *testing.T) {
			d := newOffice()
			d.metadata["require_pushed_authorization_requests"] = true
			_, err := d.web(t, nil).Start(t.Context(), client.AuthCode{})
			require.ErrorContains(t, err, "RFC 9126")
			require.Empty(t, d.letters())
		},
		"R9126-2.2-1": func(t *testing.T) {
			for answer, want := range map[string]bool{
				`{"request_uri":"urn:x","expires_in":60}`: true, `{"request_uri":"urn:x"}`: true,
				`{"expires_in":60}`: false, `{"request_uri":7}`: false, ``: false, `<html>`: false,
			} {
				for _, status := range []int{http.StatusOK, http.StatusCreated} {
					d := newOffice()
					push(d, "")
					d.answer = func(int, url.Values) (int, string) { return status, answer }
					_, err := d.web(t, nil).Start(t.Context(), client.AuthCode{})
					require.Equal(t, want, err == nil, "%s: %v", answer, err)
				}
			}
		},
		"R9126-2.3-1, R9396-5-1, R8707-2-6": func(t *testing.T) {
			for status, code := range map[int]string{400: "invalid_authorization_details", 401: "invalid_client", 403: "invalid_target", 405: "", 413: "", 429: ""} {
				d := newOffice()
				push(d, "")
				d.busyFor = "7"
				d.answer = func(int, url.Values) (int, string) {
					if code == "" {
						return status, ""
					}
					return status, fmt.Sprintf(`{"error":%q}`, code)
				}
				_, err := d.web(t, nil).Start(t.Context(), client.AuthCode{})
				e := requireError(t, err)
				require.Equal(t, []any{status, code, 7 * time.Second}, []any{e.StatusCode, e.Code, e.RetryAfter})
				require.Len(t, d.letters(), 1, "the request is not sent openly instead")
			}
		},
		"the code is redeemed as ever": func(t *testing.T) {
			require.NoError(t, s.Finish(t.Context(), p, back(pushed.form)))
			all := d.letters()
			require.Equal(t, []string{"https://api.test/"}, all[len(all)-1].form["resource"])
		},
	} {
		t.Run(id, hold)
	}
}

// An endpoint for pushed requests that is closed to the client is left alone, unless there is no other way in.
func TestRequestsAreNotPushedWhereTheProfileSaysSo(t *testing.T) {
	for name, required := range map[string]bool{"offered": false, "demanded": true} {
		t.Run(name, func(t *testing.T) {
			d := newOffice()
			d.metadata["pushed_authorization_request_endpoint"] = "https://as.test/par"
			d.metadata["require_pushed_authorization_requests"] = required
			d.answer = func(int, url.Values) (int, string) { return http.StatusCreated, `{"request_uri":"urn:example:1"}` }
			_, asked := begin(t, d.web(t, func(c *client.Config) {
				c.Provider = &profiles.Provider{Authorization: profiles.Authorization{NoPAR: true}}
			}), nil)
			require.Equal(t, required, asked.Has("request_uri"))
			require.Equal(t, !required, asked.Has("code_challenge"))
			require.Equal(t, required, len(d.letters()) == 1)
		})
	}
}

// Shows R9126-2.2-1: a person who opens the address by hand has all the time of the login, although a pushed request ends before.
func TestPushedRequestsThatEndAreReplaced(t *testing.T) {
	d := newOffice()
	d.metadata["pushed_authorization_request_endpoint"] = "https://as.test/par"
	d.answer = func(n int, form url.Values) (int, string) {
		if form.Has("response_type") {
			return http.StatusCreated, fmt.Sprintf(`{"request_uri":"urn:example:%d","expires_in":1}`, n)
		}
		return 0, ""
	}
	said := make(chan string, 8)
	terminal, keyboard := io.Pipe()
	defer keyboard.Close()
	s := open(t, d.config(nil)).Session("alice")
	done := make(chan error, 1)
	go func() {
		done <- s.Login(limit(t), client.Browser{
			Open: func(string) error { return errors.New("there is no browser here") }, Output: channel(said), Input: terminal,
		})
	}()
	require.Contains(t, <-said, "urn%3Aexample%3A1")
	require.Contains(t, <-said, "urn%3Aexample%3A2")
	first, second := d.letters()[0].form, d.letters()[1].form
	require.Equal(t, first, second, "it is the same login")
	_, err := fmt.Fprintf(keyboard, "http://127.0.0.1/callback?%s\n", back(first).Encode())
	require.NoError(t, err)
	require.NoError(t, <-done)
}

// channel is an Output that hands on what is written.
type channel chan string

func (c channel) Write(p []byte) (int, error) {
	c <- string(p)
	return len(p), nil
}

// Shows R8707-2-1, R8707-2-2, R8707-2-4, R8707-2-5, R8707-2.1-1, R8707-2.2-1.
// Shows R8707-2-3, MCP25-RES-1.
func TestLoginForAResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newOffice()
		d.answer = func(n int, form url.Values) (int, string) {
			return http.StatusOK, fmt.Sprintf(`{"access_token":"AT%d for <%s>","token_type":"Bearer","expires_in":3600,"refresh_token":"RT%d","scope":"a"}`, n, form.Get("resource"), n)
		}
		s := d.web(t, nil)
		api := s.Resource("https://API.test/v1//")
		p, asked := begin(t, api, url.Values{"resource": {"https://files.test?t=1"}})
		require.Equal(t, []string{"https://files.test?t=1", "https://API.test/v1//"}, asked["resource"])
		text, err := p.MarshalText()
		require.NoError(t, err)
		var read client.Pending
		require.NoError(t, read.UnmarshalText(text))
		require.NoError(t, s.Finish(t.Context(), &read, back(asked)), "whichever of the account's sessions finishes it")
		require.Equal(t, "AT1 for <https://API.test/v1//>", token(t, api), "it is for the resource")
		require.Len(t, d.letters(), 1)

		require.Equal(t, "AT2 for <https://files.test?t=1>", token(t, s.Resource("https://files.test?t=1")), "out of the same grant")
		require.Equal(t, "AT3 for <>", token(t, s))
		require.Equal(t, []string{"RT1", "RT2"}, []string{d.letters()[1].form.Get("refresh_token"), d.letters()[2].form.Get("refresh_token")})
		time.Sleep(2 * time.Hour)
		require.Equal(t, "AT4 for <https://API.test/v1//>", token(t, api))
	})
}

// Shows R8707-2-1, R8707-2-2.
func TestResourcesThatAreNone(t *testing.T) {
	for _, resource := range []string{"api.example.com", "/v1", "https://a.test/#x", "https://a.test#"} {
		d := newOffice()
		s := d.session(t, func(c *client.Config) { c.RedirectURL = "https://app.test/callback" })
		_, err := s.Resource(resource).Token(t.Context())
		requireConfigError(t, err, "Session.Resource")
		_, err = s.Resource(resource).Start(t.Context(), client.AuthCode{})
		requireConfigError(t, err, "Session.Resource")
		requireConfigError(t, s.Resource(resource).Login(t.Context(), client.Device{Prompt: shrug}), "Session.Resource")
		_, err = s.Start(t.Context(), client.AuthCode{Params: url.Values{"resource": {"https://good.test", resource}}})
		requireConfigError(t, err, "AuthCode.Params")
		require.Empty(t, d.letters())
		require.Equal(t, "AT1", token(t, s), "the account's own session is none the worse")
	}
}

// Shows R8707-2.1-1, R8628-4-1.
func TestDeviceLoginForAResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newOffice()
		d.answer = func(_ int, form url.Values) (int, string) {
			if !form.Has("grant_type") {
				return 200, `{"device_code":"DC","user_code":"U","verification_uri":"https://as.test/d","expires_in":600}`
			}
			return 0, ""
		}
		api := open(t, d.config(nil)).Session("alice").Resource("https://api.test")
		require.NoError(t, api.Login(t.Context(), client.Device{Prompt: shrug, Params: url.Values{"resource": {"https://files.test"}}}))
		require.Equal(t, []string{"https://files.test", "https://api.test"}, d.letters()[0].form["resource"])
		require.Equal(t, []string{"https://api.test"}, d.letters()[1].form["resource"])
		require.Equal(t, "AT2", token(t, api))
		require.Len(t, d.letters(), 2)
	})
}

// TestAuthorizationDetails holds rich authorization requests against RFC 9396.
func TestAuthorizationDetails(t *testing.T) {
	details := `[{"type":"account_information","locations":["https://x.test/a b"]},{"type":"payment"}]`
	granted := `[{"type":"payment","id":"7"}]`
	d := newOffice()
	d.answer = func(n int, form url.Values) (int, string) {
		if form.Get("authorization_details") == `[{"type":"refused"}]` {
			return http.StatusBadRequest, `{"error":"invalid_authorization_details"}`
		}
		return http.StatusOK, fmt.Sprintf(`{"access_token":"AT%d","token_type":"Bearer","refresh_token":"RT","authorization_details":%s}`, n, granted)
	}
	s := d.web(t, nil)
	p, asked := begin(t, s, url.Values{"authorization_details": {details}, "resource": {"https://api.test"}})
	require.NoError(t, s.Finish(t.Context(), p, back(asked)))
	for id, hold := range map[string]func(t *testing.T){
		"R9396-2-1": func(t *testing.T) {
			require.Equal(t, []string{details}, asked["authorization_details"], "encoded once")
			for _, wrong := range []string{"{}", "[]", "[{}]", `[{"type":""}]`, `[{"type":7}]`, `["x"]`, "x", `[{"type":"x"}`} {
				_, err := s.Start(t.Context(), client.AuthCode{Params: url.Values{"authorization_details": {wrong}}})
				requireConfigError(t, err, "AuthCode.Params")
			}
		},
		"R9396-3-1": func(t *testing.T) {
			require.Equal(t, "b a", asked.Get("scope"))
			require.Equal(t, "https://api.test", asked.Get("resource"))
		},
		"R9396-7-1": func(t *testing.T) {
			token, err := s.Token(t.Context())
			require.NoError(t, err)
			require.Equal(t, []any{map[string]any{"type": "payment", "id": "7"}}, token.Extra("authorization_details"))
		},
		"R9396-6-1": func(t *testing.T) {
			_, err := s.Renew(t.Context(), nil)
			require.NoError(t, err)
			all := d.letters()
			require.NotContains(t, all[len(all)-1].form, "authorization_details", "unless it is asked for")
			wrong := d.config(func(c *client.Config) { c.TokenParams = url.Values{"authorization_details": {"{}"}} })
			_, err = client.New(wrong)
			requireConfigError(t, err, "Config.TokenParams")
			narrowed := d.session(t, func(c *client.Config) { c.TokenParams = url.Values{"authorization_details": {granted}} })
			token(t, narrowed)
			all = d.letters()
			require.Equal(t, []string{granted}, all[len(all)-1].form["authorization_details"])
		},
		"R9396-5-1": func(t *testing.T) {
			refused := d.session(t, func(c *client.Config) { c.TokenParams = url.Values{"authorization_details": {`[{"type":"refused"}]`}} })
			for range 2 {
				_, err := refused.Token(t.Context())
				require.Equal(t, "invalid_authorization_details", requireError(t, err).Code)
				require.NotErrorIs(t, err, client.ErrLoginRequired, "the grant is as good as before")
			}
			p, asked := begin(t, s, nil)
			err := s.Finish(t.Context(), p, url.Values{"error": {"invalid_authorization_details"}, "state": {asked.Get("state")}})
			require.Equal(t, "invalid_authorization_details", requireError(t, err).Code)
		},
	} {
		t.Run(id, hold)
	}
}

func TestOIDC_3_1_2_1_4(t *testing.T) {
	d := newOffice()
	s := d.web(t, nil)
	for code, want := range map[string]bool{
		"login_required": true, "interaction_required": true, "account_selection_required": true, "consent_required": true, "access_denied": false,
	} {
		p, asked := begin(t, s, url.Values{"prompt": {"none"}})
		require.Equal(t, "none", asked.Get("prompt"))
		err := s.Finish(t.Context(), p, url.Values{"error": {code}, "state": {asked.Get("state")}})
		require.Equal(t, want, errors.Is(err, client.ErrInteractionRequired), "%v", err)
		require.Equal(t, code, requireError(t, err).Code)
	}
}

func TestOIDC_11_1(t *testing.T) {
	for name, c := range map[string]struct {
		scopes []string
		params url.Values
		issuer string
		want   []string
	}{
		"offline access":         {[]string{"openid", "offline_access"}, nil, "https://as.test", []string{"consent"}},
		"the program's own word": {[]string{"openid", "offline_access"}, url.Values{"prompt": {"login"}}, "https://as.test", []string{"login"}},
		"none at all":            {[]string{"openid", "offline_access"}, url.Values{"prompt": {""}}, "https://as.test", nil},
		"no offline access":      {[]string{"openid"}, nil, "https://as.test", nil},
		"no OpenID":              {[]string{"offline_access"}, nil, "https://as.test", nil},
		"as x/oauth2 is used":    {[]string{"openid", "offline_access"}, nil, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, asked := begin(t, newOffice().web(t, func(config *client.Config) {
				config.Scopes, config.Issuer = c.scopes, c.issuer
				config.Endpoint = oauth2.Endpoint{AuthURL: "https://as.test/authorize", TokenURL: "https://as.test/token"}
			}), c.params)
			require.Equal(t, c.want, asked["prompt"])
		})
	}
}

// A tenant of Entra ID that restricts consent locks out whoever is asked for it, and no refresh token needs it there.
func TestRefreshWithoutConsent(t *testing.T) {
	for name, c := range map[string]struct {
		provider *profiles.Provider
		params   url.Values
		want     []string
	}{
		"Entra ID":               {profiles.Microsoft, nil, nil},
		"the program's own word": {profiles.Microsoft, url.Values{"prompt": {"select_account"}}, []string{"select_account"}},
		"a server in general":    {&profiles.Provider{}, nil, []string{"consent"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, asked := begin(t, newOffice().web(t, func(config *client.Config) {
				config.Scopes, config.Provider = []string{"openid", "offline_access"}, c.provider
			}), c.params)
			require.Equal(t, c.want, asked["prompt"])
		})
	}
}

func TestResponseModesThatAreNotReceived(t *testing.T) {
	s := newOffice().web(t, nil)
	for _, mode := range []string{"fragment", "jwt", "query.jwt", "web_message"} {
		_, err := s.Start(t.Context(), client.AuthCode{Params: url.Values{"response_mode": {mode}}})
		requireConfigError(t, err, "AuthCode.Params")
	}
	p, asked := begin(t, s, url.Values{"response_mode": {"form_post"}})
	require.Equal(t, "form_post", asked.Get("response_mode"))
	require.NoError(t, s.Finish(t.Context(), p, back(asked)), "a posted form is as good as a query")
}

// Less may be granted than was asked for, and no refresh token.
func TestLessThanWasAskedFor(t *testing.T) {
	d := newOffice()
	d.answer = func(int, url.Values) (int, string) {
		return http.StatusOK, `{"access_token":"AT","token_type":"Bearer","expires_in":3600,"scope":"a"}`
	}
	s := d.web(t, func(c *client.Config) { c.Scopes = []string{"a", "b", "offline_access"} })
	p, asked := begin(t, s, nil)
	require.Equal(t, "a b offline_access", asked.Get("scope"))
	require.NoError(t, s.Finish(t.Context(), p, back(asked)))
	status, err := s.Status(t.Context())
	require.NoError(t, err)
	t.Run("R6749-3.3-2", func(t *testing.T) { require.Equal(t, []string{"a"}, status.Scopes) })
	t.Run("OIDC-11-2, MCP26-RT-2", func(t *testing.T) {
		require.Equal(t, "AT", token(t, s))
		require.True(t, status.LoggedIn)
	})
}

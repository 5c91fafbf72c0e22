package clienttest_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client/clienttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answer is what came back from a POST.
type answer struct {
	status int
	header http.Header
	body   string
	json   map[string]any
}

func (a answer) text(member string) string {
	text, _ := a.json[member].(string)
	return text
}

// post sends a form, as the client of Config unless the form names another client.
func post(client *http.Client, address string, form url.Values) (answer, error) {
	return postContext(context.Background(), client, address, form)
}

func postContext(ctx context.Context, client *http.Client, address string, form url.Values) (answer, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if !form.Has("client_id") {
		req.SetBasicAuth("app", url.QueryEscape("app secret: %&="))
	}
	return do(client, req)
}

func do(client *http.Client, req *http.Request) (answer, error) {
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	a := answer{status: resp.StatusCode, header: resp.Header, body: string(body)}
	_ = json.Unmarshal(body, &a.json)
	return a, err
}

// refresh presents a refresh token.
func refresh(s *clienttest.Server, token string) (answer, error) {
	return post(s.HTTPClient("p"), s.Issuer+"/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}})
}

// renewed is refresh for when it has to succeed.
func renewed(t *testing.T, s *clienttest.Server, token string) (refreshToken, accessToken string) {
	t.Helper()
	a, err := refresh(s, token)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, a.status, a.body)
	return a.text("refresh_token"), a.text("access_token")
}

// call asks the API with a token, and returns the status.
func call(t *testing.T, s *clienttest.Server, api *clienttest.API, token string) int {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, api.URL+"/things", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	a, err := do(s.HTTPClient(""), req)
	require.NoError(t, err)
	return a.status
}

// onBoth runs a test in memory, in a synctest bubble, and on loopback.
func onBoth(t *testing.T, f func(t *testing.T, s *clienttest.Server)) {
	t.Run("memory", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { f(t, clienttest.New(t)) })
	})
	t.Run("loopback", func(t *testing.T) {
		s := clienttest.New(t)
		s.Listen()
		f(t, s)
	})
}

func TestUseWithAnotherClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := clienttest.New(t)
		api := s.NewAPI("api.test")
		ctx := context.WithValue(t.Context(), oauth2.HTTPClient, s.HTTPClient(""))
		client := s.Config().Client(ctx, s.Login("read"))
		for range 3 {
			time.Sleep(time.Hour)
			resp, err := client.Get(api.URL)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, http.StatusOK, resp.StatusCode)
		}
		require.Len(t, s.Renewals(), 3)
		require.Empty(t, s.Reuses())
	})
}

func TestCode(t *testing.T) {
	onBoth(t, func(t *testing.T, s *clienttest.Server) {
		api := s.NewAPI("api.test")
		ctx := context.WithValue(t.Context(), oauth2.HTTPClient, s.HTTPClient("web"))
		config := s.Config()
		config.RedirectURL = "http://127.0.0.1:40123/callback"
		config.Scopes = []string{"openid", "read"}
		verifier := oauth2.GenerateVerifier()

		callback, err := s.Browse(ctx, config.AuthCodeURL("a state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("nonce", "n1")))
		require.NoError(t, err)
		require.Equal(t, "127.0.0.1:40123", callback.Host)
		require.Equal(t, "a state", callback.Query().Get("state"))
		require.Equal(t, s.Issuer, callback.Query().Get("iss"))

		token, err := config.Exchange(ctx, callback.Query().Get("code"), oauth2.VerifierOption(verifier))
		require.NoError(t, err)
		require.Equal(t, "openid read", token.Extra("scope"))
		require.Equal(t, 1, s.Grants())
		require.Equal(t, http.StatusOK, call(t, s, api, token.AccessToken))
		claims := idTokenClaims(t, token.Extra("id_token"))
		require.Equal(t, "alice", claims["sub"])
		require.Equal(t, "n1", claims["nonce"])
		require.Equal(t, "app", claims["aud"])
		require.Equal(t, s.Issuer, claims["iss"])

		_, err = config.Exchange(ctx, callback.Query().Get("code"), oauth2.VerifierOption(verifier))
		require.Error(t, err, "a code is good once")
		require.Equal(t, 0, s.Grants(), "a code used twice kills what it gave")
		require.Equal(t, http.StatusUnauthorized, call(t, s, api, token.AccessToken))
		require.Equal(t, "web", s.Requests()[0].Process)
	})
}

func TestAuthorizeRefuses(t *testing.T) {
	good := url.Values{
		"response_type": {"code"}, "client_id": {"app"}, "redirect_uri": {"https://app.test/callback"}, "scope": {"read"},
		"state": {"x"}, "code_challenge": {"E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"}, "code_challenge_method": {"S256"},
	}
	for _, test := range []struct {
		name      string
		parameter string
		value     string
		want      string // error in the redirect; empty: no redirect
	}{
		{"unknown client", "client_id", "stranger", ""},
		{"other redirect", "redirect_uri", "https://app.test/callback/", ""},
		{"other port of a host that is not loopback", "redirect_uri", "https://app.test:444/callback", ""},
		{"other path on loopback", "redirect_uri", "http://127.0.0.1:9/elsewhere", ""},
		{"no PKCE", "code_challenge", "", "invalid_request"},
		{"plain PKCE", "code_challenge_method", "plain", "invalid_request"},
		{"response type", "response_type", "token", "unsupported_response_type"},
		{"scope", "scope", "write", "invalid_scope"},
		{"resource", "resource", "relative", "invalid_target"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := clienttest.New(t)
			s.Policy.Scopes = []string{"read"}
			query := url.Values{}
			for name, values := range good {
				query[name] = values
			}
			query.Set(test.parameter, test.value)
			callback, err := s.Browse(t.Context(), s.Config().Endpoint.AuthURL+"?"+query.Encode())
			if test.want == "" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, callback.Query().Get("error"))
			require.Equal(t, "x", callback.Query().Get("state"))
			require.Empty(t, callback.Query().Get("code"))
		})
	}
	t.Run("the person", func(t *testing.T) {
		s := clienttest.New(t)
		s.Policy.Deny = true
		callback, err := s.Browse(t.Context(), s.Config().Endpoint.AuthURL+"?"+good.Encode())
		require.NoError(t, err)
		require.Equal(t, "access_denied", callback.Query().Get("error"))
	})
}

func TestExchangeRefuses(t *testing.T) {
	for _, test := range []struct {
		name             string
		parameter, value string
		after            time.Duration
		want             string
	}{
		{"verifier", "code_verifier", oauth2.GenerateVerifier(), 0, "invalid_grant"},
		{"no verifier", "code_verifier", "", 0, "invalid_request"},
		{"redirect", "redirect_uri", "http://127.0.0.1:2/callback", 0, "invalid_grant"},
		{"code", "code", "made up", 0, "invalid_grant"},
		{"another client_id", "client_id", "other", 0, "invalid_grant"},
		{"too late", "unknown", "1", time.Minute, "invalid_grant"},
		{"just in time", "unknown", "1", time.Minute - 1, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *clienttest.Server, _ *clienttest.API) {
				s.Register("other", "", "none")
				config, verifier := s.Config(), oauth2.GenerateVerifier()
				config.RedirectURL = "http://127.0.0.1:1/callback"
				callback, err := s.Browse(t.Context(), config.AuthCodeURL("x", oauth2.S256ChallengeOption(verifier)))
				require.NoError(t, err)
				form := url.Values{
					"grant_type": {"authorization_code"}, "code": {callback.Query().Get("code")},
					"code_verifier": {verifier}, "redirect_uri": {config.RedirectURL},
				}
				form.Set(test.parameter, test.value)
				time.Sleep(test.after)
				a, err := post(s.HTTPClient(""), config.Endpoint.TokenURL, form)
				require.NoError(t, err)
				require.Equal(t, test.want == "", a.status == http.StatusOK)
				require.Equal(t, test.want, a.text("error"))
				require.Equal(t, test.want, s.Requests()[0].Error)
			})
		})
	}
}

func TestClientAuthentication(t *testing.T) {
	for _, test := range []struct {
		name   string
		id     string
		secret string
		method string // as registered
		send   func(req *http.Request, form url.Values)
		want   int
		code   string
	}{
		{"basic", "b", "s 1", "client_secret_basic", func(r *http.Request, _ url.Values) { r.SetBasicAuth("b", "s+1") }, 200, ""},
		{"basic not form-encoded", "b", "s 1", "client_secret_basic", func(r *http.Request, _ url.Values) { r.SetBasicAuth("b", "s 1") }, 400, "invalid_request"},
		{"basic wrong", "b", "s 1", "client_secret_basic", func(r *http.Request, _ url.Values) { r.SetBasicAuth("b", "no") }, 401, "invalid_client"},
		{"post for basic", "b", "s", "client_secret_basic", func(_ *http.Request, f url.Values) { f.Set("client_id", "b"); f.Set("client_secret", "s") }, 401, "invalid_client"},
		{"post", "b", "s", "client_secret_post", func(_ *http.Request, f url.Values) { f.Set("client_id", "b"); f.Set("client_secret", "s") }, 200, ""},
		{"basic for post", "b", "s", "client_secret_post", func(r *http.Request, _ url.Values) { r.SetBasicAuth("b", "s") }, 401, "invalid_client"},
		{"both", "b", "s", "client_secret_basic", func(r *http.Request, f url.Values) { r.SetBasicAuth("b", "s"); f.Set("client_secret", "s") }, 400, "invalid_request"},
		{"two names", "b", "s", "client_secret_basic", func(r *http.Request, f url.Values) { r.SetBasicAuth("b", "s"); f.Set("client_id", "app") }, 400, "invalid_request"},
		{"public has no credentials", "b", "", "none", func(_ *http.Request, f url.Values) { f.Set("client_id", "b") }, 400, "unauthorized_client"},
		{"nobody", "b", "", "none", func(*http.Request, url.Values) {}, 401, "invalid_client"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := clienttest.New(t)
			s.Register(test.id, test.secret, test.method)
			form := url.Values{"grant_type": {"client_credentials"}}
			req, err := http.NewRequest(http.MethodPost, s.Issuer+"/token", nil)
			require.NoError(t, err)
			test.send(req, form)
			req.Body = io.NopCloser(strings.NewReader(form.Encode()))
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			a, err := do(s.HTTPClient(""), req)
			require.NoError(t, err)
			require.Equal(t, test.want, a.status, a.body)
			require.Equal(t, test.code, a.text("error"))
			if test.code == "" {
				require.NotContains(t, a.json, "refresh_token")
				require.Equal(t, 0, s.Grants())
			}
			if test.want == 401 && req.Header.Get("Authorization") != "" {
				require.Contains(t, a.header.Get("WWW-Authenticate"), "Basic")
			}
		})
	}
}

func TestMalformedTokenRequests(t *testing.T) {
	for _, test := range []struct {
		name    string
		method  string
		query   string
		media   string
		body    string
		want    int
		errCode string
	}{
		{"GET", "GET", "", "", "", 405, "invalid_request"},
		{"JSON", "POST", "", "application/json", "{}", 400, "invalid_request"},
		{"query", "POST", "?x=1", "application/x-www-form-urlencoded", "grant_type=client_credentials", 400, "invalid_request"},
		{"repeated", "POST", "", "application/x-www-form-urlencoded", "grant_type=client_credentials&scope=a&scope=b", 400, "invalid_request"},
		{"no grant type", "POST", "", "application/x-www-form-urlencoded", "grant_type=", 400, "invalid_request"},
		{"password", "POST", "", "application/x-www-form-urlencoded", "grant_type=password", 400, "unsupported_grant_type"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := clienttest.New(t)
			req, err := http.NewRequest(test.method, s.Issuer+"/token"+test.query, strings.NewReader(test.body))
			require.NoError(t, err)
			req.Header.Set("Content-Type", test.media)
			req.SetBasicAuth("app", url.QueryEscape("app secret: %&="))
			a, err := do(s.HTTPClient(""), req)
			require.NoError(t, err)
			require.Equal(t, test.want, a.status)
			require.Equal(t, test.errCode, a.text("error"))
		})
	}
}

package client_test

import (
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/endpoints"

	"github.com/evergrant/evergrant/client"
	profiles "github.com/evergrant/evergrant/client/provider"
)

// odd is a server, with its API, that answers by address and takes no other than the requests that are laid out. It is an
// http.RoundTripper.
type odd struct {
	t  *testing.T
	mu sync.Mutex

	answers map[string][]*http.Response // by address without query; the last one stays
	heard   []heardRequest
}

type heardRequest struct {
	address string
	header  http.Header
	body    string
	form    url.Values
}

func newOdd(t *testing.T) *odd { return &odd{t: t, answers: map[string][]*http.Response{}} }

const (
	oddAuth   = "https://as.example/authorize"
	oddToken  = "https://as.example/token"
	oddRevoke = "https://as.example/revoke"
	oddAPI    = "https://api.example/me"
)

// at lays out the next answer of an address.
func (o *odd) at(address string, code int, body string) *odd {
	return o.with(address, code, body, http.Header{"Content-Type": {"application/json"}})
}

func (o *odd) with(address string, code int, body string, header http.Header) *odd {
	o.answers[address] = append(o.answers[address], answer(code, header, body))
	return o
}

func (o *odd) RoundTrip(req *http.Request) (*http.Response, error) {
	body := ""
	if req.Body != nil {
		text, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		body = string(text)
		_ = req.Body.Close()
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	address := req.URL.Scheme + "://" + req.URL.Host + req.URL.Path
	form, _ := url.ParseQuery(body)
	o.heard = append(o.heard, heardRequest{address, req.Header, body, form})
	left := o.answers[address]
	if len(left) == 0 {
		o.t.Errorf("a request to %s", address)
		return answer(404, nil, ""), nil
	}
	if len(left) > 1 {
		o.answers[address] = left[1:]
		return left[0], nil
	}
	text, _ := io.ReadAll(left[0].Body)
	left[0].Body = io.NopCloser(strings.NewReader(string(text)))
	return answer(left[0].StatusCode, left[0].Header, string(text)), nil
}

// last is the last request to an address.
func (o *odd) last(address string) heardRequest {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := len(o.heard) - 1; i >= 0; i-- {
		if o.heard[i].address == address {
			return o.heard[i]
		}
	}
	require.Fail(o.t, "no request", address)
	return heardRequest{}
}

func (o *odd) count(address string) (n int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, h := range o.heard {
		if h.address == address {
			n++
		}
	}
	return n
}

// session is one at o with a profile whose endpoints are o's where it has none.
func (o *odd) session(p profiles.Provider, config client.Config) *client.Session {
	if p.Endpoint.TokenURL == "" {
		p.Endpoint = oauth2.Endpoint{AuthURL: oddAuth, TokenURL: oddToken}
	}
	config.Provider = &p
	config.ClientID, config.RedirectURL = "app", "https://app.example/cb"
	config.AuthServerClient = &http.Client{Transport: o}
	c, err := client.New(config)
	require.NoError(o.t, err)
	o.t.Cleanup(func() { _ = c.Close(o.t.Context()) })
	return c.Session("alice")
}

// login logs in and returns what the session has then.
func (o *odd) login(s *client.Session) *oauth2.Token {
	o.t.Helper()
	p, query := begin(o.t, s, nil)
	require.NoError(o.t, s.Finish(o.t.Context(), p, url.Values{"state": {query.Get("state")}, "code": {"C"}}))
	got, err := s.Token(o.t.Context())
	require.NoError(o.t, err)
	return got
}

const plainAnswer = `{"access_token":"AT1","token_type":"Bearer","refresh_token":"RT1","expires_in":3600}`

func TestProfileOfTheAuthorizationRequest(t *testing.T) {
	authorization := profiles.Authorization{
		Params:         map[string]string{"access_type": "offline", "prompt": "consent", "owner": "user"},
		ClientIDParam:  "client_key",
		ScopeSeparator: ",",
	}
	s := newOdd(t).session(profiles.Provider{Authorization: authorization}, client.Config{Scopes: []string{"a", "b"}})
	_, query := begin(t, s, url.Values{"prompt": {"login"}, "owner": {""}})
	require.Equal(t, "offline", query.Get("access_type"))
	require.Equal(t, "login", query.Get("prompt"), "the program's own")
	require.False(t, query.Has("owner"), "unset by the program")
	require.Equal(t, "a,b", query.Get("scope"))
	require.Equal(t, "app", query.Get("client_key"))
	require.False(t, query.Has("client_id"))
	require.Equal(t, "S256", query.Get("code_challenge_method"))

	s = newOdd(t).session(profiles.Provider{}, client.Config{Scopes: []string{"a", "b"}})
	_, query = begin(t, s, nil)
	require.Equal(t, "a b", query.Get("scope"))
	require.Equal(t, "app", query.Get("client_id"))
	require.Len(t, query, 7)
}

// What weakens a login does so by its own name, and nothing else does.
func TestProfileThatWeakensALogin(t *testing.T) {
	for name, row := range map[string]struct {
		authorization    profiles.Authorization
		secret           string
		challenge, nonce bool
	}{
		"neither":                  {profiles.Authorization{}, "S", true, true},
		"no PKCE":                  {profiles.Authorization{NoPKCE: true}, "S", false, true},
		"PKCE for a public client": {profiles.Authorization{NoPKCE: true}, "", true, true},
		"no nonce":                 {profiles.Authorization{NoNonce: true}, "S", true, false},
	} {
		t.Run(name, func(t *testing.T) {
			config := client.Config{Scopes: []string{"openid"}, ClientSecret: row.secret}
			o := newOdd(t).at(oddToken, 200, `{"access_token":"AT1","scope":"mail"}`)
			s := o.session(profiles.Provider{Authorization: row.authorization}, config)
			p, query := begin(t, s, nil)
			require.Equal(t, row.challenge, query.Has("code_challenge"))
			require.Equal(t, row.challenge, query.Has("code_challenge_method"))
			require.Equal(t, row.nonce, query.Has("nonce"))
			require.NotEmpty(t, query.Get("state"))
			require.NoError(t, s.Finish(t.Context(), p, url.Values{"state": query["state"], "code": {"C"}}))
			require.Equal(t, row.challenge, o.last(oddToken).form.Has("code_verifier"))
		})
	}
}

func TestProfileOfTheCallback(t *testing.T) {
	p := profiles.Provider{Authorization: profiles.Authorization{CodeParam: "spapi_oauth_code", Keep: []string{"realmId"}, Iss: "https://as.example"}}
	callback := func(query url.Values, more url.Values) url.Values {
		all := url.Values{"state": query["state"], "spapi_oauth_code": {"C"}, "realmId": {"42"}}
		for name, values := range more {
			all[name] = values
		}
		return all
	}
	t.Run("a code of another name, and what came with it", func(t *testing.T) {
		o := newOdd(t).at(oddToken, 200, plainAnswer)
		s := o.session(p, client.Config{})
		pending, query := begin(t, s, nil)
		given := callback(query, url.Values{"iss": {"https://as.example"}})
		require.NoError(t, s.Finish(t.Context(), pending, given))
		require.Equal(t, "C", o.last(oddToken).form.Get("code"))
		require.NotContains(t, given, "code", "the program's own values are not written to")
		got, err := s.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, "42", got.Extra("realmId"))
	})
	t.Run("what the server says itself goes before what a browser has brought", func(t *testing.T) {
		o := newOdd(t).at(oddToken, 200, `{"access_token":"AT1","token_type":"Bearer","realmId":"7"}`)
		s := o.session(p, client.Config{})
		pending, query := begin(t, s, nil)
		require.NoError(t, s.Finish(t.Context(), pending, callback(query, url.Values{"code": {"own"}})))
		require.Equal(t, "own", o.last(oddToken).form.Get("code"))
		got, err := s.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, "7", got.Extra("realmId"))
	})
	for name, more := range map[string]url.Values{
		"another issuer": {"iss": {"https://evil.example"}},
		"two codes":      {"spapi_oauth_code": {"C", "D"}},
		"another state":  {"state": {"x"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newOdd(t).session(p, client.Config{}) // and no request
			pending, query := begin(t, s, nil)
			require.ErrorIs(t, s.Finish(t.Context(), pending, callback(query, more)), client.ErrPending)
		})
	}
}

func TestProfileOfTokenRequests(t *testing.T) {
	const elsewhere = "https://as.example/refresh"
	p := profiles.Provider{
		Endpoint:   oauth2.Endpoint{AuthURL: oddAuth, TokenURL: oddToken},
		RefreshURL: elsewhere, SecretMethod: "client_secret_basic", RawBasic: true,
		Authorization: profiles.Authorization{ScopeSeparator: ","},
		Request: profiles.Request{
			Header:        map[string]string{"Accept": "text/json", "Notion-Version": "1"},
			CodeParams:    map[string]string{"expiring": "1"},
			RefreshParams: map[string]string{"expires_in": "60", "region": "eu"},
		},
	}
	o := newOdd(t).at(oddToken, 200, plainAnswer).at(elsewhere, 200, `{"access_token":"AT2","token_type":"Bearer"}`)
	s := o.session(p, client.Config{ClientSecret: "s/1+1", TokenParams: url.Values{"region": {"us"}}})
	o.login(s)
	redeemed := o.last(oddToken)
	id, password, ok := (&http.Request{Header: redeemed.header}).BasicAuth()
	require.True(t, ok)
	require.Equal(t, []string{"app", "s/1+1"}, []string{id, password}, "as they are")
	require.Equal(t, "text/json", redeemed.header.Get("Accept"))
	require.Equal(t, "1", redeemed.header.Get("Notion-Version"))
	require.Equal(t, "1", redeemed.form.Get("expiring"))
	require.False(t, redeemed.form.Has("expires_in"))

	_, err := s.Renew(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"RT1"}, "expires_in": {"60"}, "region": {"us"}}, o.last(elsewhere).form)
	require.Equal(t, 1, o.count(oddToken))

	_, err = s.Scoped("a", "b").Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "a,b", o.last(elsewhere).form.Get("scope"))
}

func TestProfileWithJSONBodies(t *testing.T) {
	o := newOdd(t).at(oddToken, 200, plainAnswer).at(oddToken, 200, `{"access_token":"AT2","token_type":"Bearer"}`)
	s := o.session(profiles.Provider{SecretMethod: "client_secret_post", Request: profiles.Request{JSON: true}}, client.Config{ClientSecret: "S"})
	o.login(s)
	_, err := s.Renew(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, "application/json", o.last(oddToken).header.Get("Content-Type"))
	require.JSONEq(t, `{"grant_type":"refresh_token","refresh_token":"RT1","client_id":"app","client_secret":"S"}`, o.last(oddToken).body)
}

// How the client authenticates: the Config goes before the profile, and that before any default.
func TestProfileOfClientAuthentication(t *testing.T) {
	for name, row := range map[string]struct {
		p      profiles.Provider
		config client.Config
		basic  bool
	}{
		"nothing is said":         {profiles.Provider{}, client.Config{}, true},
		"the profile":             {profiles.Provider{SecretMethod: "client_secret_post"}, client.Config{}, false},
		"its endpoint's style":    {profiles.Provider{Endpoint: oauth2.Endpoint{TokenURL: oddToken, AuthURL: oddAuth, AuthStyle: oauth2.AuthStyleInParams}}, client.Config{}, false},
		"the Config's method":     {profiles.Provider{SecretMethod: "client_secret_post"}, client.Config{AuthMethod: "client_secret_basic"}, true},
		"the Config's AuthStyle":  {profiles.Provider{SecretMethod: "client_secret_post"}, client.Config{Endpoint: oauth2.Endpoint{AuthStyle: oauth2.AuthStyleInHeader}}, true},
		"in another case of that": {profiles.Provider{SecretMethod: "client_secret_basic"}, client.Config{Endpoint: oauth2.Endpoint{AuthStyle: oauth2.AuthStyleInParams}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOdd(t).at(oddToken, 200, plainAnswer)
			row.config.ClientSecret = "S"
			o.login(o.session(row.p, row.config))
			require.Equal(t, row.basic, o.last(oddToken).header.Get("Authorization") != "")
			require.Equal(t, !row.basic, o.last(oddToken).form.Has("client_secret"))
		})
	}
}

// A client that has nothing to authenticate with is public all the same: PKCE stays.
func TestProfileWithAnEmptySecret(t *testing.T) {
	p := profiles.Provider{EmptySecret: true, SecretMethod: "client_secret_basic", Authorization: profiles.Authorization{NoPKCE: true}}
	for name, row := range map[string]struct {
		config client.Config
		want   string
	}{
		"no secret":           {client.Config{}, "Basic " + base64.StdEncoding.EncodeToString([]byte("app:"))},
		"a secret":            {client.Config{ClientSecret: "S"}, "Basic " + base64.StdEncoding.EncodeToString([]byte("app:S"))},
		"the Config's method": {client.Config{AuthMethod: "none"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOdd(t).at(oddToken, 200, plainAnswer)
			o.login(o.session(p, row.config))
			require.Equal(t, row.want, o.last(oddToken).header.Get("Authorization"))
			require.Equal(t, row.config.ClientSecret == "", o.last(oddToken).form.Has("code_verifier"))
		})
	}
}

func TestProfileOfAssertions(t *testing.T) {
	const secret = "a secret of thirty-two bytes ..."
	for name, row := range map[string]struct {
		profile  profiles.Provider
		audience string
		kind     string
	}{
		"for the issuer":         {profiles.Provider{}, "https://as.example", "client-authentication+jwt"},
		"for the token endpoint": {profiles.Provider{AssertionForEndpoint: true}, oddToken, "client-authentication+jwt"},
		"of another type":        {profiles.Provider{AssertionType: "JWT"}, "https://as.example", "JWT"},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOdd(t).at(oddToken, 200, plainAnswer)
			o.at("https://as.example/.well-known/oauth-authorization-server", 200,
				`{"issuer":"https://as.example","authorization_endpoint":"`+oddAuth+`","token_endpoint":"`+oddToken+`"}`)
			row.profile.Issuer = "https://as.example"
			s := o.session(row.profile, client.Config{ClientSecret: secret, AuthMethod: "client_secret_jwt"})
			o.login(s)
			header, claims := verified(t, o.last(oddToken).form.Get("client_assertion"), []byte(secret))
			require.Equal(t, row.audience, claims["aud"])
			require.Equal(t, row.kind, header["typ"])
		})
	}
}

func TestProfileOfAnswers(t *testing.T) {
	p := profiles.Provider{Answer: profiles.Answer{
		Unwrap:          []string{"", "authed_user"},
		Members:         map[string]string{"refresh_token": "refreshToken", "expires_in": "expireIn"},
		Success:         profiles.Match{Path: "ok", Value: "true"},
		Errors:          map[string]string{"gone@refresh": "invalid_grant"},
		ScopeSeparator:  ",",
		BearerTypes:     []string{"user"},
		LifetimeUnit:    profiles.Milliseconds,
		DefaultLifetime: 2 * time.Hour,
	}}
	o := newOdd(t).
		at(oddToken, 200, `{"ok":true,"authed_user":{"id":"U1","access_token":"AT1","token_type":"user","refreshToken":"RT1","expireIn":3600000,"scope":"a,b"}}`).
		at(oddToken, 200, `{"ok":true,"access_token":"AT2","token_type":"user"}`).
		at(oddToken, 200, `{"ok":false,"error":"gone"}`)
	s := o.session(p, client.Config{})
	got := o.login(s)
	require.Equal(t, "AT1", got.AccessToken)
	require.Equal(t, "Bearer", got.Type())
	require.Equal(t, "U1", got.Extra("id"))
	require.Equal(t, "a b", got.Extra("scope"))
	require.Nil(t, got.Extra("refreshToken"), "no program sees it")
	require.Nil(t, got.Extra("authed_user"))
	require.WithinDuration(t, time.Now().Add(time.Hour), got.Expiry, time.Minute)

	got, err := s.Renew(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, "RT1", o.last(oddToken).form.Get("refresh_token"))
	require.WithinDuration(t, time.Now().Add(2*time.Hour), got.Expiry, time.Minute)

	_, err = s.Renew(t.Context(), nil)
	require.ErrorIs(t, err, client.ErrLoginRequired)
	e, ok := errors.AsType[*client.Error](err)
	require.True(t, ok)
	require.Equal(t, "invalid_grant", e.Code)
	require.Equal(t, "gone", e.Description, "the server's own word")
	require.Equal(t, 3, o.count(oddToken))
}

// A server without refresh tokens gives a new access token for one that is good still.
func TestProfileThatExchangesAccessTokens(t *testing.T) {
	exchange := profiles.Provider{
		Request: profiles.Request{RefreshGrant: "fb_exchange_token", RefreshParam: "fb_exchange_token", Ahead: 7 * 24 * time.Hour},
		Answer:  profiles.Answer{Members: map[string]string{"refresh_token": "access_token"}},
	}
	for name, enter := range map[string]func(*odd, *client.Session){
		"after a login": func(o *odd, s *client.Session) {
			o.login(s)
		},
		"after an adoption": func(o *odd, s *client.Session) {
			require.NoError(t, s.Adopt(o.t.Context(), &oauth2.Token{AccessToken: "AT1", Expiry: time.Now().Add(60 * 24 * time.Hour)}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := newOdd(t)
				if strings.Contains(name, "login") {
					o.at(oddToken, 200, `{"access_token":"AT1","expires_in":5184000}`)
				}
				o.at(oddToken, 200, `{"access_token":"AT2","expires_in":5184000}`)
				s := o.session(exchange, client.Config{})
				enter(o, s)
				before := o.count(oddToken)
				time.Sleep(52 * 24 * time.Hour)
				require.Equal(t, "AT1", token(t, s))
				synctest.Wait()
				require.Equal(t, before, o.count(oddToken), "not yet")
				time.Sleep(24 * time.Hour)
				require.Equal(t, "AT1", token(t, s), "good still")
				synctest.Wait()
				require.Equal(t, url.Values{"client_id": {"app"}, "grant_type": {"fb_exchange_token"}, "fb_exchange_token": {"AT1"}}, o.last(oddToken).form)
				require.Equal(t, "AT2", token(t, s))
			})
		})
	}
}

func TestProfileOfAPIs(t *testing.T) {
	p := profiles.Provider{API: profiles.API{
		Hosts:  []string{"api.example", "*.files.example", "dev.example:8443"},
		Header: "X-Access-Token: {token}",
		Fields: map[string]string{"client-id": "{client_id}", "Api-Version": "1"},
	}}
	reach := func(t *testing.T, config client.Config, address string) http.Header {
		o := newOdd(t).at(oddToken, 200, plainAnswer)
		u, err := url.Parse(address)
		require.NoError(t, err)
		o.at(u.Scheme+"://"+u.Host+u.Path, 200, "{}")
		s := o.session(p, config)
		o.login(s)
		resp, err := s.Wrap(&http.Client{Transport: o}).Get(address)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return o.last(u.Scheme + "://" + u.Host + u.Path).header
	}
	sent := http.Header{"X-Access-Token": {"AT1"}, "Client-Id": {"app"}, "Api-Version": {"1"}}
	for address, want := range map[string]http.Header{
		"https://api.example/":            sent,
		"https://API.example:443/":        sent,
		"https://eu.1.files.example/":     sent,
		"https://dev.example:8443/":       sent,
		"https://dev.example/":            {},
		"https://files.example/":          {},
		"https://evilfiles.example/":      {},
		"https://evilapi.example/":        {},
		"https://evil.api.example/":       {},
		"https://api.example.evil.org/":   {},
		"https://api.example:8443/":       {},
		"http://api.example/":             {},
		"https://ap%C4%B0.example/":       {}, // lowers to api under Unicode
		"https://ap\u0130.example/":       {},
		"https://ap\u0131.example/":       {},
		"https://eu.f\u0130les.example/":  {},
		"https://e\uff0fu.files.example/": {}, // where it leads is for punycode to say
	} {
		require.Equal(t, want, reach(t, client.Config{}, address), address)
	}
	require.Equal(t, sent, reach(t, client.Config{Origins: []string{"https://other.example"}}, "https://other.example/"), "the Config's own")
	require.Empty(t, reach(t, client.Config{Origins: []string{"https://other.example"}}, "https://api.example/"))
}

// TestHostsOfAProfileThatLacksAValue: to name some of the hosts only would keep tokens from the rest.
func TestHostsOfAProfileThatLacksAValue(t *testing.T) {
	p := profiles.Provider{
		Variables: []profiles.Variable{{Name: "region", Pattern: "[a-z]+"}},
		API:       profiles.API{Hosts: []string{"api.example", "{region}.files.example"}},
	}
	for _, address := range []string{"https://api.example/", "https://eu.files.example/", "https://other.example/"} {
		o := newOdd(t).at(oddToken, 200, plainAnswer).at(address, 200, "{}")
		s := o.session(p, client.Config{})
		o.login(s)
		resp, err := s.Wrap(&http.Client{Transport: o}).Get(address)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, "Bearer AT1", o.last(address).header.Get("Authorization"), address)
	}
}

// TestAClientHasItsProfileForItself: a program that goes on with its own changes nothing.
func TestAClientHasItsProfileForItself(t *testing.T) {
	p := &profiles.Provider{
		Endpoint:      oauth2.Endpoint{AuthURL: oddAuth, TokenURL: oddToken},
		Authorization: profiles.Authorization{Params: map[string]string{"owner": "user"}, Keep: []string{"realmId"}},
		Request:       profiles.Request{CodeParams: map[string]string{"expiring": "1"}, Header: map[string]string{"Accept": "text/json"}},
	}
	o := newOdd(t).at(oddToken, 200, plainAnswer)
	s := open(t, client.Config{
		Provider: p, ClientID: "app", RedirectURL: "https://app.example/cb", AuthServerClient: &http.Client{Transport: o},
	}).Session("")
	p.Authorization.Params["owner"], p.Authorization.Keep[0] = "mallory", "other"
	p.Request.CodeParams["expiring"], p.Request.Header["Accept"] = "0", "other"
	pending, query := begin(t, s, nil)
	require.Equal(t, "user", query.Get("owner"))
	require.NoError(t, s.Finish(t.Context(), pending, url.Values{"state": query["state"], "code": {"C"}, "realmId": {"42"}, "other": {"x"}}))
	require.Equal(t, "1", o.last(oddToken).form.Get("expiring"))
	require.Equal(t, "text/json", o.last(oddToken).header.Get("Accept"))
	got, err := s.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "42", got.Extra("realmId"))
	require.Nil(t, got.Extra("other"))
}

// A request without an address is for the base to refuse, as net/http does.
func TestProfileOfAPIsWithoutAnAddress(t *testing.T) {
	p := profiles.Provider{API: profiles.API{Hosts: []string{"api.example"}}}
	o := newOdd(t).at(oddToken, 200, plainAnswer)
	s := o.session(p, client.Config{})
	o.login(s)
	for _, base := range []http.RoundTripper{nil, http.DefaultTransport} {
		body := &closing{Reader: strings.NewReader("x")}
		_, err := s.Wrap(&http.Client{Transport: base}).Transport.RoundTrip(&http.Request{Header: http.Header{}, Body: body})
		require.Error(t, err)
		require.True(t, body.closed)
	}
}

type closing struct {
	io.Reader
	closed bool
}

func (c *closing) Close() error { c.closed = true; return nil }

func TestProfileOfRejections(t *testing.T) {
	p := profiles.Provider{API: profiles.API{Rejected: []profiles.Rejection{
		{Status: 200, Path: "error", Values: []string{"token_expired", "invalid_auth"}},
		{Status: 400, Path: "error.code", Values: []string{"190"}},
		{Status: 400, Path: "0.errorCode", Values: []string{"INVALID_SESSION_ID"}},
		{Status: 403, Text: "Bad_OAuth_Token"},
		{Status: 419},
	}}}
	const asJSON = "application/json; charset=utf-8"
	for name, row := range map[string]struct {
		status          int
		kind, challenge string
		body            string
		rejects         bool
	}{
		"an error under 200":       {200, asJSON, "", `{"ok":false,"error":"invalid_auth"}`, true},
		"another error under 200":  {200, asJSON, "", `{"ok":false,"error":"channel_not_found"}`, false},
		"the same word elsewhere":  {200, asJSON, "", `{"ok":true,"text":"invalid_auth"}`, false},
		"in what is no JSON":       {200, "text/plain", "", `{"ok":false,"error":"invalid_auth"}`, false},
		"in what is too long":      {200, asJSON, "", `{"error":"invalid_auth","more":"` + strings.Repeat("x", 64<<10) + `"}`, false},
		"a number in an object":    {400, "text/javascript", "", `{"error":{"code":190}}`, true},
		"in an array":              {400, asJSON, "", `[{"errorCode":"INVALID_SESSION_ID"}]`, true},
		"another status":           {404, asJSON, "", `[{"errorCode":"INVALID_SESSION_ID"}]`, false},
		"in words":                 {403, "text/html", "", `Bad_OAuth_Token`, true},
		"in other words":           {403, "text/html", "", `Forbidden`, false},
		"a challenge":              {403, asJSON, `Bearer error="insufficient_scope"`, ``, false},
		"a status alone":           {419, "", "", ``, true},
		"a 401 all the same":       {401, "", "", ``, true},
		"a body that is not there": {200, asJSON, "", ``, false},
	} {
		t.Run(name, func(t *testing.T) {
			header := http.Header{"Content-Type": {row.kind}}
			if row.challenge != "" {
				header.Set("WWW-Authenticate", row.challenge)
			}
			o := newOdd(t).at(oddToken, 200, plainAnswer).at(oddToken, 200, `{"access_token":"AT2","token_type":"Bearer"}`).
				with(oddAPI, row.status, row.body, header).at(oddAPI, 200, `"fine"`)
			s := o.session(p, client.Config{})
			o.login(s)
			resp, err := s.Wrap(&http.Client{Transport: o}).Get(oddAPI)
			require.NoError(t, err)
			body, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			if row.rejects {
				require.Equal(t, `"fine"`, string(body))
				require.Equal(t, "Bearer AT2", o.last(oddAPI).header.Get("Authorization"))
				return
			}
			require.Equal(t, row.status, resp.StatusCode)
			require.Equal(t, row.body, string(body), "untouched")
			require.Equal(t, 1, o.count(oddToken))
		})
	}
}

// Hosts are compared as hosts are, also where a program fills in a part of one.
func TestProfileOfHostsInCapitals(t *testing.T) {
	p := (&profiles.Provider{
		Variables: []profiles.Variable{{Name: "shop", Pattern: "[A-Za-z]+"}},
		API:       profiles.API{Hosts: []string{"{shop}.Shops.example:443"}},
	}).With("shop", "Acme")
	o := newOdd(t).at(oddToken, 200, plainAnswer).at("https://acme.shops.example/", 200, "{}")
	s := o.session(*p, client.Config{})
	o.login(s)
	resp, err := s.Wrap(&http.Client{Transport: o}).Get("https://acme.shops.example/")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, "Bearer AT1", o.last("https://acme.shops.example/").header.Get("Authorization"))
}

// streaming is an API whose answer goes on after its first value, and an authorization server.
type streaming struct {
	*odd
	stream io.ReadCloser
}

func (s *streaming) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host != "api.example" {
		return s.odd.RoundTrip(req)
	}
	return &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: -1, Body: s.stream, Request: req}, nil
}

// An answer that a rule looks into gets to the program once its first value is there, and whole.
func TestProfileOfRejectionsKeepsNoStreamBack(t *testing.T) {
	reader, writer := io.Pipe()
	o := newOdd(t).at(oddToken, 200, plainAnswer)
	s := o.session(profiles.Provider{API: profiles.API{Rejected: []profiles.Rejection{{Status: 200, Path: "error", Values: []string{"gone"}}}}}, client.Config{})
	o.login(s)
	go func() { _, _ = writer.Write([]byte("{\"ok\":true}\n")) }()
	resp, err := s.Wrap(&http.Client{Transport: &streaming{o, reader}}).Get(oddAPI)
	require.NoError(t, err)
	go func() {
		_, _ = writer.Write([]byte("{\"error\":\"gone\"}\n"))
		_ = writer.Close()
	}()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, "{\"ok\":true}\n{\"error\":\"gone\"}\n", string(body))
}

func TestProfileThatRevokesByBearer(t *testing.T) {
	p := profiles.Provider{RevokeByBearer: true, RevocationURL: oddRevoke, Endpoint: oauth2.Endpoint{AuthURL: oddAuth, TokenURL: oddToken}}
	o := newOdd(t).at(oddToken, 200, plainAnswer).at(oddRevoke, 200, "null")
	s := o.session(p, client.Config{ClientSecret: "S"})
	o.login(s)
	require.NoError(t, s.Logout(t.Context()))
	require.Equal(t, "Bearer AT1", o.last(oddRevoke).header.Get("Authorization"))
	require.Empty(t, o.last(oddRevoke).body)
	require.Equal(t, 1, o.count(oddRevoke))

	synctest.Test(t, func(t *testing.T) {
		o := newOdd(t).at(oddToken, 200, plainAnswer)
		s := o.session(p, client.Config{})
		o.login(s)
		time.Sleep(2 * time.Hour)
		require.Error(t, s.Logout(t.Context()), "there is nothing left to revoke by, and that is said")
		_, err := s.Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired)
	})
}

func TestVariablesOfAProfile(t *testing.T) {
	shop := &profiles.Provider{
		Variables: []profiles.Variable{{Name: "shop", Pattern: `[a-z0-9][a-z0-9-]*`}, {Name: "zone", Pattern: "[a-z]+", Default: "com"}},
		Endpoint: oauth2.Endpoint{
			AuthURL: "https://{shop}.shops.{zone}/authorize", TokenURL: "https://{shop}.shops.{zone}/token",
		},
	}
	with := func(p *profiles.Provider) (*client.Client, error) {
		return client.New(client.Config{Provider: p, ClientID: "app", RedirectURL: "https://app.example/cb"})
	}
	c, err := with(shop.With("shop", "acme"))
	require.NoError(t, err)
	p, _ := begin(t, c.Session(""), nil)
	require.True(t, strings.HasPrefix(p.URL, "https://acme.shops.com/authorize?"), p.URL)
	c, err = with(shop.With("shop", "acme").With("zone", "eu"))
	require.NoError(t, err)
	p, _ = begin(t, c.Session(""), nil)
	require.True(t, strings.HasPrefix(p.URL, "https://acme.shops.eu/authorize?"), p.URL)

	choice := *shop
	choice.Variables = []profiles.Variable{{Name: "shop", Pattern: "acme|emca"}, {Name: "zone", Pattern: "com"}}
	_, err = with(choice.With("shop", "emca").With("zone", "com"))
	require.NoError(t, err)

	unusable := *shop
	unusable.Variables = []profiles.Variable{{Name: "shop", Pattern: "("}}
	unknown := *shop
	unknown.RevocationURL = "https://{place}.shops.com/revoke"
	for name, p := range map[string]*profiles.Provider{
		"a value is missing":               shop,
		"another host":                     shop.With("shop", "evil.com/"),
		"a choice and more":                choice.With("shop", "acme.evil.com/").With("zone", "com"),
		"more and a choice":                choice.With("shop", "evil.com/emca").With("zone", "com"),
		"a fragment":                       shop.With("shop", "a.b#"),
		"a user":                           shop.With("shop", "x@evil"),
		"a line":                           shop.With("shop", "acme\n"),
		"two values in one":                shop.With("shop", "{zone}"),
		"no such variable":                 shop.With("shop", "acme").With("host", "x"),
		"a pattern that is none":           unusable.With("shop", "acme"),
		"an address of no such variable":   unknown.With("shop", "acme"),
		"parameters that are Evergrant's":  {Endpoint: oauth2.Endpoint{TokenURL: oddToken}, Authorization: profiles.Authorization{Params: map[string]string{"state": "1"}}},
		"parameters of a refresh likewise": {Endpoint: oauth2.Endpoint{TokenURL: oddToken}, Request: profiles.Request{RefreshParams: map[string]string{"refresh_token": "1"}}},
		"a method for no secret":           {Endpoint: oauth2.Endpoint{TokenURL: oddToken}, SecretMethod: "private_key_jwt"},
		"a unit that is none":              {Endpoint: oauth2.Endpoint{TokenURL: oddToken}, Answer: profiles.Answer{LifetimeUnit: "days"}},
		"an address without TLS":           {Endpoint: oauth2.Endpoint{TokenURL: oddToken}, RefreshURL: "http://as.example/refresh"},
		"a host with a path":               {Endpoint: oauth2.Endpoint{TokenURL: oddToken}, API: profiles.API{Hosts: []string{"api.example/v1"}}},
		"a host beyond ASCII":              {Endpoint: oauth2.Endpoint{TokenURL: oddToken}, API: profiles.API{Hosts: []string{"*.b\u00fccher.example"}}},
		"any host":                         {Endpoint: oauth2.Endpoint{TokenURL: oddToken}, API: profiles.API{Hosts: []string{"*"}}},
		"a header without a token":         {Endpoint: oauth2.Endpoint{TokenURL: oddToken}, API: profiles.API{Header: "X-Token"}},
	} {
		_, err := with(p)
		_, ok := errors.AsType[*client.ConfigError](err)
		require.True(t, ok, "%s: %v", name, err)
	}
}

// What the Config names is never mixed with the addresses of another server.
func TestTheConfigGoesBeforeItsProfile(t *testing.T) {
	known := &profiles.Provider{
		Endpoint:      oauth2.Endpoint{AuthURL: "https://known.example/authorize", TokenURL: "https://known.example/token"},
		RevocationURL: "https://known.example/revoke", RefreshURL: "https://known.example/refresh",
		Authorization: profiles.Authorization{Params: map[string]string{"owner": "user"}},
	}
	for name, row := range map[string]struct {
		endpoint oauth2.Endpoint
		auth     string
		refresh  string
	}{
		"the profile's":             {oauth2.Endpoint{}, "https://known.example/authorize", "https://known.example/refresh"},
		"another authorization URL": {oauth2.Endpoint{AuthURL: oddAuth}, oddAuth, "https://known.example/refresh"},
		"the same server":           {oauth2.Endpoint{TokenURL: "https://known.example/token"}, "https://known.example/authorize", "https://known.example/refresh"},
		"another server":            {oauth2.Endpoint{AuthURL: oddAuth, TokenURL: oddToken}, oddAuth, oddToken},
	} {
		t.Run(name, func(t *testing.T) {
			o := newOdd(t).at(row.refresh, 200, `{"access_token":"AT2","token_type":"Bearer"}`)
			c, err := client.New(client.Config{Provider: known, Endpoint: row.endpoint, ClientID: "app", RedirectURL: "https://app.example/cb", AuthServerClient: &http.Client{Transport: o}})
			require.NoError(t, err)
			p, query := begin(t, c.Session(""), nil)
			require.True(t, strings.HasPrefix(p.URL, row.auth+"?"), p.URL)
			require.Equal(t, "user", query.Get("owner"))
			require.NoError(t, c.Session("").Adopt(t.Context(), &oauth2.Token{RefreshToken: "RT1"}))
			token(t, c.Session(""))
		})
	}
	t.Run("another region has other hosts", func(t *testing.T) {
		regional := &profiles.Provider{
			Variables: []profiles.Variable{{Name: "region", Pattern: "[a-z]+", Default: "com"}},
			Endpoint:  oauth2.Endpoint{AuthURL: "https://known.{region}/authorize", TokenURL: "https://known.{region}/token"},
			API:       profiles.API{Hosts: []string{"api.known.{region}"}},
		}
		for tokenURL, want := range map[string]string{"https://known.com/token": "", "https://known.eu/token": "Bearer AT1"} {
			o := newOdd(t).at(tokenURL, 200, plainAnswer).at("https://api.known.eu/", 200, "")
			c, err := client.New(client.Config{Provider: regional, Endpoint: oauth2.Endpoint{TokenURL: tokenURL}, ClientID: "app", AuthServerClient: &http.Client{Transport: o}})
			require.NoError(t, err)
			require.NoError(t, c.Session("").Adopt(t.Context(), &oauth2.Token{RefreshToken: "RT1"}))
			resp, err := c.Session("").Wrap(&http.Client{Transport: o}).Get("https://api.known.eu/")
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, want, o.last("https://api.known.eu/").header.Get("Authorization"), tokenURL)
		}
	})
	t.Run("another server has no other authorization endpoint", func(t *testing.T) {
		c, err := client.New(client.Config{Provider: known, Endpoint: oauth2.Endpoint{TokenURL: oddToken}, ClientID: "app", RedirectURL: "https://app.example/cb"})
		require.NoError(t, err)
		_, err = c.Session("").Start(t.Context(), client.AuthCode{})
		_, ok := errors.AsType[*client.ConfigError](err)
		require.True(t, ok, "%v", err)
	})
}

// Whoever guards a Resource is found out, and none of a profile's addresses is mixed with that.
func TestAProfileDoesNotLeadAwayFromAResource(t *testing.T) {
	o := newOdd(t).at(oddAPI, 401, "").at(oddToken, 200, plainAnswer)
	o.at("https://api.example/.well-known/oauth-protected-resource/me", 200, `{"resource":"`+oddAPI+`","authorization_servers":["https://as.example"]}`)
	o.at("https://as.example/.well-known/oauth-authorization-server", 200, `{"issuer":"https://as.example","authorization_endpoint":"`+oddAuth+`",
		"token_endpoint":"`+oddToken+`","code_challenge_methods_supported":["S256"],"client_id_metadata_document_supported":true}`)
	c, err := client.New(client.Config{
		Resource: oddAPI, LocalNetwork: true, RedirectURL: "https://app.example/cb", ClientID: "https://app.example/client",
		Provider: &profiles.Provider{
			Issuer: "https://known.example", RefreshURL: "https://known.example/refresh", RevocationURL: "https://known.example/revoke",
			Authorization: profiles.Authorization{Params: map[string]string{"owner": "user"}},
		},
		AuthServerClient: &http.Client{Transport: o},
	})
	require.NoError(t, err)
	p, query := begin(t, c.Session(""), nil)
	require.True(t, strings.HasPrefix(p.URL, oddAuth+"?"), p.URL)
	require.Equal(t, "user", query.Get("owner"))
	require.NoError(t, c.Session("").Finish(t.Context(), p, back(query)))
	require.ErrorIs(t, c.Session("").Logout(t.Context()), errors.ErrUnsupported)
}

// Metadata goes before a profile's own addresses, which fill what it leaves out.
func TestMetadataGoesBeforeAProfilesAddresses(t *testing.T) {
	o := newOdd(t).at(oddToken, 200, plainAnswer).at(oddRevoke, 200, "")
	o.at("https://as.example/.well-known/oauth-authorization-server", 200,
		`{"issuer":"https://as.example","authorization_endpoint":"https://as.example/moved","token_endpoint":"`+oddToken+`"}`)
	s := o.session(profiles.Provider{
		Issuer:        "https://as.example",
		Endpoint:      oauth2.Endpoint{AuthURL: oddAuth, TokenURL: "https://as.example/old"},
		RevocationURL: oddRevoke,
	}, client.Config{})
	p, _ := begin(t, s, nil)
	require.True(t, strings.HasPrefix(p.URL, "https://as.example/moved?"), p.URL)
	o.login(s)
	require.NoError(t, s.Logout(t.Context()))
	require.NotZero(t, o.count(oddRevoke))
}

func TestProfilesAreFoundAndDeclined(t *testing.T) {
	start := func(c *client.Client, err error) url.Values {
		t.Helper()
		require.NoError(t, err)
		_, query := begin(t, c.Session(""), nil)
		return query
	}
	config := client.Config{Endpoint: endpoints.Google, ClientID: "app", RedirectURL: "https://app.example/cb"}
	require.Equal(t, "offline", start(client.New(config)).Get("access_type"))
	config.Provider = &profiles.Provider{}
	require.False(t, start(client.New(config)).Has("access_type"))
	found := start(client.FromOAuth2(&oauth2.Config{Endpoint: endpoints.Google, ClientID: "app", RedirectURL: "https://app.example/cb"}, nil))
	require.Equal(t, "offline", found.Get("access_type"))
}

// Where x/oauth2 would probe how to authenticate, the host of the token endpoint says it.
func TestAuthenticationByTheHostOfTheTokenEndpoint(t *testing.T) {
	for host, basic := range map[string]bool{"zoom.us": true, "github.com": false} {
		address := "https://" + host + "/token"
		o := newOdd(t).at(address, 200, plainAnswer)
		c, err := client.New(client.Config{Endpoint: oauth2.Endpoint{TokenURL: address}, ClientID: "app", ClientSecret: "S", AuthServerClient: &http.Client{Transport: o}})
		require.NoError(t, err)
		require.NoError(t, c.Session("").Adopt(t.Context(), &oauth2.Token{RefreshToken: "RT1"}))
		token(t, c.Session(""))
		require.Equal(t, basic, o.last(address).header.Get("Authorization") != "", host)
		require.Equal(t, 1, o.count(address))
	}
}

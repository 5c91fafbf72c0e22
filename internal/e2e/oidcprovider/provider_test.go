package oidcprovider_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/internal/e2e/tcpproxy"
)

func config(p *oidcprovider.Provider, clientID string) *oauth2.Config {
	c := &oauth2.Config{
		ClientID: clientID,
		Endpoint: oauth2.Endpoint{
			AuthURL:       p.Issuer + "/auth",
			TokenURL:      p.Issuer + "/token",
			DeviceAuthURL: p.Issuer + "/device/auth",
			AuthStyle:     oauth2.AuthStyleInParams,
		},
		RedirectURL: "http://127.0.0.1:5555/callback",
		Scopes:      []string{"openid", "offline_access"},
	}
	if clientID != oidcprovider.Native {
		c.ClientSecret = oidcprovider.Secret
	}
	if clientID == oidcprovider.WebBasic {
		c.Endpoint.AuthStyle = oauth2.AuthStyleInHeader
	}
	return c
}

func signIn(t *testing.T, p *oidcprovider.Provider, c *oauth2.Config, options ...oauth2.AuthCodeOption) *oauth2.Token {
	t.Helper()
	verifier := oauth2.GenerateVerifier()
	address := c.AuthCodeURL("some-state", append(options, oauth2.S256ChallengeOption(verifier))...)
	callback := p.SignIn(address, "alice").Query()
	require.Equal(t, "some-state", callback.Get("state"))
	require.Equal(t, p.Issuer, callback.Get("iss"))
	token, err := c.Exchange(t.Context(), callback.Get("code"), oauth2.VerifierOption(verifier))
	require.NoError(t, err)
	return token
}

var consent = oauth2.SetAuthURLParam("prompt", "consent")

// refresh presents a refresh token and returns the answer or the error code.
func refresh(t *testing.T, c *oauth2.Config, refreshToken string) (*oauth2.Token, string) {
	t.Helper()
	token, err := c.TokenSource(t.Context(), &oauth2.Token{RefreshToken: refreshToken}).Token()
	if err != nil {
		var refused *oauth2.RetrieveError
		require.ErrorAs(t, err, &refused)
		return nil, refused.ErrorCode
	}
	return token, ""
}

func call(t *testing.T, p *oidcprovider.Provider, accessToken string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.API(), nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+accessToken)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp
}

func TestEveryClientSignsIn(t *testing.T) {
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true})
	for _, client := range []string{oidcprovider.Native, oidcprovider.WebBasic, oidcprovider.WebPost} {
		t.Run(client, func(t *testing.T) {
			token := signIn(t, p, config(p, client), consent)
			require.NotEmpty(t, token.RefreshToken)
			require.Equal(t, http.StatusOK, call(t, p, token.AccessToken).StatusCode)
		})
	}
	t.Run(oidcprovider.Daemon, func(t *testing.T) {
		c := clientcredentials.Config{
			ClientID: oidcprovider.Daemon, ClientSecret: oidcprovider.Secret, TokenURL: p.Issuer + "/token",
			AuthStyle: oauth2.AuthStyleInHeader, Scopes: []string{"api:read"},
		}
		token, err := c.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, call(t, p, token.AccessToken).StatusCode)
	})
	t.Run("a login_hint without a form", func(t *testing.T) {
		jar, err := cookiejar.New(nil)
		require.NoError(t, err)
		var callback *url.URL
		browser := &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
			if r.URL.Path == "/callback" {
				callback = r.URL
				return http.ErrUseLastResponse
			}
			return nil
		}}
		resp, err := browser.Get(config(p, oidcprovider.Native).AuthCodeURL("s",
			oauth2.S256ChallengeOption("v"), consent, oauth2.SetAuthURLParam("login_hint", "bob")))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.NotNil(t, callback)
		require.NotEmpty(t, callback.Query().Get("code"))
	})
	t.Run("a person who refuses", func(t *testing.T) {
		address := config(p, oidcprovider.Native).AuthCodeURL("s", oauth2.S256ChallengeOption("v"), consent)
		require.Equal(t, "access_denied", p.Refuse(address, "alice").Query().Get("error"))
	})
}

func TestRotationDetectsReuse(t *testing.T) {
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true, AlwaysRefreshToken: true})
	c := config(p, oidcprovider.Native)
	c.Scopes = []string{"openid"}
	first := signIn(t, p, c)
	second, refused := refresh(t, c, first.RefreshToken)
	require.Empty(t, refused)
	require.NotEqual(t, first.RefreshToken, second.RefreshToken)
	require.Equal(t, http.StatusOK, call(t, p, first.AccessToken).StatusCode, "rotation leaves access tokens alone")

	_, refused = refresh(t, c, first.RefreshToken)
	require.Equal(t, "invalid_grant", refused)
	_, refused = refresh(t, c, second.RefreshToken)
	require.Equal(t, "invalid_grant", refused, "reuse ends the grant")
	require.Equal(t, http.StatusUnauthorized, call(t, p, second.AccessToken).StatusCode)

	log := p.Log()
	require.Len(t, log, 4)
	require.Equal(t, "authorization_code", log[0].GrantType)
	require.Equal(t, log[0].Issued, log[1].Presented)
	require.Equal(t, []bool{false, false, true, false}, []bool{log[0].Reuse, log[1].Reuse, log[2].Reuse, log[3].Reuse})
	require.Equal(t, "refresh token already used", log[2].Detail)
	require.Zero(t, p.Stats().Live.Grants)
}

func TestWithoutRotationTheTokenStays(t *testing.T) {
	p := oidcprovider.Start(t, oidcprovider.Config{})
	c := config(p, oidcprovider.Native)
	first := signIn(t, p, c, consent)
	second, refused := refresh(t, c, first.RefreshToken)
	require.Empty(t, refused)
	require.Equal(t, first.RefreshToken, second.RefreshToken)
	require.Empty(t, signIn(t, p, c).RefreshToken, "offline_access needs consent")
}

func TestAccessTokensEnd(t *testing.T) {
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true})
	c := config(p, oidcprovider.Native)

	t.Run("one destroyed", func(t *testing.T) {
		token := signIn(t, p, c, consent)
		p.DestroyAccessToken(token.AccessToken)
		resp := call(t, p, token.AccessToken)
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		require.Equal(t, `Bearer error="invalid_token"`, resp.Header.Get("WWW-Authenticate"))
		_, refused := refresh(t, c, token.RefreshToken)
		require.Empty(t, refused, "the grant lives on")
	})
	t.Run("a grant revoked", func(t *testing.T) {
		token := signIn(t, p, c, consent)
		p.RevokeRefreshToken(token.RefreshToken)
		require.Equal(t, http.StatusUnauthorized, call(t, p, token.AccessToken).StatusCode)
		_, refused := refresh(t, c, token.RefreshToken)
		require.Equal(t, "invalid_grant", refused)
	})
	t.Run("an account revoked", func(t *testing.T) {
		one, other := signIn(t, p, c, consent), signIn(t, p, c, consent)
		p.RevokeAccount("alice")
		require.Equal(t, http.StatusUnauthorized, call(t, p, one.AccessToken).StatusCode)
		require.Equal(t, http.StatusUnauthorized, call(t, p, other.AccessToken).StatusCode)
	})
	t.Run("by RFC 7009", func(t *testing.T) {
		token := signIn(t, p, c, consent)
		resp, err := http.PostForm(p.Issuer+"/token/revocation",
			url.Values{"client_id": {oidcprovider.Native}, "token": {token.RefreshToken}})
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
		_, refused := refresh(t, c, token.RefreshToken)
		require.Equal(t, "invalid_grant", refused)
		require.Len(t, p.Revocations(), 1, "those behind the protocol's back are none")
		require.Equal(t, ledger.Name(token.RefreshToken), p.Revocations()[0].Presented)
		require.Equal(t, http.StatusOK, p.Revocations()[0].Status)
	})
}

func TestAccessTokensExpire(t *testing.T) {
	p := oidcprovider.Start(t, oidcprovider.Config{AccessTokenLife: time.Second})
	token := signIn(t, p, config(p, oidcprovider.Native), consent)
	require.EqualValues(t, 1, token.ExpiresIn)
	require.Eventually(t, func() bool {
		return call(t, p, token.AccessToken).StatusCode == http.StatusUnauthorized
	}, 3*time.Second, 50*time.Millisecond)
	p.SetAccessTokenLife(time.Hour)
	require.EqualValues(t, 3600, signIn(t, p, config(p, oidcprovider.Native), consent).ExpiresIn)
}

func TestDeviceFlow(t *testing.T) {
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true, AlwaysRefreshToken: true})
	c := config(p, oidcprovider.Native)
	for _, tt := range []struct {
		name    string
		answer  func(address string)
		refused string
	}{
		{name: "approved", answer: func(address string) { p.Approve(address, "alice") }},
		{name: "denied", answer: p.Deny, refused: "access_denied"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			device, err := c.DeviceAuth(t.Context())
			require.NoError(t, err)
			tt.answer(device.VerificationURIComplete)
			device.Interval = 1
			token, err := c.DeviceAccessToken(t.Context(), device)
			if tt.refused != "" {
				var refused *oauth2.RetrieveError
				require.ErrorAs(t, err, &refused)
				require.Equal(t, tt.refused, refused.ErrorCode)
				return
			}
			require.NoError(t, err)
			require.NotEmpty(t, token.RefreshToken)
		})
	}
}

func TestResourceIndicators(t *testing.T) {
	const resource = "https://api.example.com"
	p := oidcprovider.Start(t, oidcprovider.Config{Resources: []string{resource}})
	c := clientcredentials.Config{
		ClientID: oidcprovider.Daemon, ClientSecret: oidcprovider.Secret, TokenURL: p.Issuer + "/token",
		AuthStyle: oauth2.AuthStyleInHeader, Scopes: []string{"api:write"},
	}
	for _, tt := range []struct{ name, resource, refused string }{
		{name: "known", resource: resource},
		{name: "unknown", resource: "https://elsewhere.example.com", refused: "invalid_target"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c.EndpointParams = url.Values{"resource": {tt.resource}}
			token, err := c.Token(t.Context())
			if tt.refused == "" {
				require.NoError(t, err)
				require.Equal(t, "api:write", token.Extra("scope"))
				return
			}
			var refused *oauth2.RetrieveError
			require.ErrorAs(t, err, &refused)
			require.Equal(t, tt.refused, refused.ErrorCode)
		})
	}
}

func TestFeatures(t *testing.T) {
	const registration, dpop = "registration_endpoint", "dpop_signing_alg_values_supported"
	always := []string{
		"device_authorization_endpoint", "revocation_endpoint", "introspection_endpoint", "userinfo_endpoint",
		"pushed_authorization_request_endpoint",
	}
	for _, tt := range []struct {
		name       string
		config     oidcprovider.Config
		has, lacks string
	}{
		{name: "as it is", has: dpop, lacks: registration},
		{name: "with registration, without DPoP", has: registration, lacks: dpop, config: oidcprovider.Config{
			Registration: true, Features: map[string]any{"dPoP": map[string]any{"enabled": false}},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := oidcprovider.Start(t, tt.config)
			resp, err := http.Get(p.Issuer + "/.well-known/oauth-authorization-server")
			require.NoError(t, err)
			defer resp.Body.Close()
			var metadata map[string]any
			require.NoError(t, json.NewDecoder(resp.Body).Decode(&metadata))
			require.Equal(t, p.Issuer, metadata["issuer"])
			for _, name := range append(always, tt.has) {
				require.Contains(t, metadata, name)
			}
			require.NotContains(t, metadata, tt.lacks)
		})
	}
}

func TestAnAnswerLostBehindAProxy(t *testing.T) {
	proxy := tcpproxy.Start(t)
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true, Issuer: proxy.URL()})
	proxy.To(p.Address)
	require.Equal(t, proxy.URL(), p.Issuer)
	c := config(p, oidcprovider.WebPost)
	first := signIn(t, p, c, consent)

	proxy.Next(tcpproxy.Rule{Match: "POST /token ", Do: tcpproxy.CutAnswer})
	_, err := c.TokenSource(t.Context(), &oauth2.Token{RefreshToken: first.RefreshToken}).Token()
	require.Error(t, err)
	require.Zero(t, proxy.Unused())
	_, refused := refresh(t, c, first.RefreshToken)
	require.Equal(t, "invalid_grant", refused)

	log := p.Log()
	require.Len(t, log, 3)
	require.Equal(t, http.StatusOK, log[1].Status, "processed")
	require.True(t, log[2].Reuse)
}

func TestFaults(t *testing.T) {
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true})
	c := config(p, oidcprovider.Native)
	first := signIn(t, p, c, consent)

	p.Fail(oidcprovider.Faults{Unavailable: 1})
	_, err := c.TokenSource(t.Context(), &oauth2.Token{RefreshToken: first.RefreshToken}).Token()
	var refused *oauth2.RetrieveError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, http.StatusServiceUnavailable, refused.Response.StatusCode)

	const wait = 300 * time.Millisecond
	for name, faults := range map[string]oidcprovider.Faults{"before": {Delay: wait}, "after": {AnswerDelay: wait}} {
		p.Fail(faults)
		ctx, cancel := context.WithTimeout(t.Context(), wait/2)
		_, err := c.TokenSource(ctx, &oauth2.Token{RefreshToken: first.RefreshToken}).Token()
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded, name)
		require.Eventually(t, func() bool {
			log := p.Log()
			return log[len(log)-1].GrantType == "refresh_token"
		}, 3*time.Second, 10*time.Millisecond, "processed all the same")
		p.Fail(oidcprovider.Faults{})
		first = signIn(t, p, c, consent)
	}
}

package provider_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/provider"
)

// live is the life of a grant.
func (s *server) live(t *testing.T) {
	s.login(t)
	s.call(t)
	s.limit(t)
	if s.without["rejected"] == "" {
		s.reject(t)
	} else {
		s.renew(t)
	}
	if s.without["dead"] == "" {
		s.end(t)
	}
}

// begin has a person asked, and brings the code.
func (s *server) begin(t *testing.T) error {
	pending, err := s.alice.Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	require.Equal(t, s.answers["metadata"] != nil, s.discovered)
	address, err := url.Parse(pending.URL)
	require.NoError(t, err)
	params := make(map[string]string)
	for name, values := range address.Query() {
		require.Len(t, values, 1, name)
		params[name] = values[0]
	}
	fmt.Fprintf(&s.said, "authorize: https://%s%s\n%s", address.Host, address.Path, written(params))

	callback := url.Values{"state": {params["state"]}, cmp.Or(s.provider.Authorization.CodeParam, "code"): {"code-1"}}
	maps.Copy(callback, s.callback)
	if s.iss != "" {
		callback.Set("iss", "https://other.example")
		require.ErrorIs(t, s.alice.Finish(t.Context(), pending, callback), client.ErrPending)
		callback.Set("iss", s.iss)
	}
	return s.alice.Finish(t.Context(), pending, callback)
}

// login goes through the code flow.
func (s *server) login(t *testing.T) {
	require.NoError(t, s.begin(t))
	s.loggedIn(t)
	token, err := s.alice.Token(t.Context())
	require.NoError(t, err)
	for name, want := range s.extra {
		require.Equal(t, want, token.Extra(name), name)
	}
	if s.unfound == "" {
		found := provider.For("", s.last.address)
		require.NotNil(t, found, s.last.address)
		require.Equal(t, s.provider.Name, found.Name)
	}
	for _, issuer := range s.provider.Issuers {
		require.Equal(t, s.provider.Name, provider.For(issuer, "").Name)
	}
}

// loggedIn looks at what the answer to a login has become.
func (s *server) loggedIn(t *testing.T) {
	status, err := s.alice.Status(t.Context())
	require.NoError(t, err)
	require.True(t, status.LoggedIn)
	var granted []string
	for _, scope := range []string{"alpha", "beta"} {
		if bytes.Contains(s.answers["login"], []byte(scope)) {
			granted = append(granted, scope)
		}
	}
	if granted != nil { // a server may name others, unasked
		require.Equal(t, granted, slices.DeleteFunc(status.Scopes, func(scope string) bool { return scope != "alpha" && scope != "beta" }))
	}
	if s.life == 0 {
		require.Zero(t, status.Expiry)
	} else {
		require.WithinDuration(t, time.Now().Add(s.life), status.Expiry, 10*time.Second)
	}
	token, err := s.alice.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "access-1", token.AccessToken)
}

// get asks the API.
func (s *server) get(ctx context.Context) (status int, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.replay.api, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := s.api.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(data), err
}

// call shows the token to the API.
func (s *server) call(t *testing.T) {
	status, body, err := s.get(t.Context())
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "fine")
	require.Equal(t, []string{"access-1"}, s.used)
}

// limit has an answer come through that is not about the token.
func (s *server) limit(t *testing.T) {
	recorded := s.answers["limited"]
	if recorded == nil {
		return
	}
	s.set(func() { s.deny, s.denied = "limited", "access-1" })
	before := s.tokens
	_, want, _ := strings.Cut(string(recorded), "\n\n")
	_, body, err := s.get(t.Context())
	require.NoError(t, err)
	require.Equal(t, want, body)
	require.Equal(t, before, s.tokens, "there was a renewal")
}

// reject has the API reject the token, which is renewed where that can be done.
func (s *server) reject(t *testing.T) {
	time.Sleep(time.Minute)
	s.set(func() { s.deny, s.denied, s.renewed = "rejected", "access-1", "renewed" })
	before := s.tokens
	status, body, err := s.get(t.Context())
	if s.without["renewed"] != "" {
		require.ErrorIs(t, err, client.ErrLoginRequired)
		require.Equal(t, before, s.tokens)
		return
	}
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, body, "fine")
	require.Equal(t, before+1, s.tokens)
	require.Equal(t, s.refreshToken("login", "access-1"), s.presented())
	require.Equal(t, "access-2", s.used[len(s.used)-1])
}

// renew has the token renewed without an API.
func (s *server) renew(t *testing.T) {
	time.Sleep(time.Minute)
	s.set(func() { s.renewed = "renewed" })
	token, err := s.alice.Renew(t.Context(), nil)
	require.NoError(t, err)
	require.Equal(t, "access-2", token.AccessToken)
}

// refreshToken is what the answer of a case gives to refresh with, or else what was good before.
func (s *server) refreshToken(name, before string) string {
	for _, token := range []string{"refresh-2", "refresh-1"} {
		if bytes.Contains(s.answers[name], []byte(token)) {
			return token
		}
	}
	return before
}

// presented is what the newest request was to refresh with.
func (s *server) presented() string {
	return s.last.form[cmp.Or(s.provider.Request.RefreshParam, "refresh_token")]
}

// code is the error code of a failure, as the engine understands it.
func code(t *testing.T, err error) string {
	var failure *client.Error
	require.ErrorAs(t, err, &failure)
	return failure.Code
}

// end has the grant end, after a time of too many requests if there is an answer for that.
func (s *server) end(t *testing.T) {
	newest := s.refreshToken("renewed", s.refreshToken("login", "access-1"))
	if newest == "access-1" {
		newest = "access-2" // access tokens are exchanged for others
	}
	if s.answers["throttled"] != nil {
		time.Sleep(20 * time.Minute)
		s.set(func() { s.renewed = "throttled" })
		_, err := s.alice.Renew(t.Context(), nil)
		require.Contains(t, []string{"temporarily_unavailable", "server_error"}, code(t, err))
		require.NotErrorIs(t, err, client.ErrLoginRequired)
	}
	time.Sleep(20 * time.Minute)
	s.set(func() { s.deny, s.denied, s.renewed = "rejected", "access-2", "dead" })
	want := "invalid_grant"
	if s.doubtful {
		want = "invalid_request"
		err := s.ask(t)
		require.NotErrorIs(t, err, client.ErrLoginRequired)
		require.Equal(t, want, code(t, err))
		time.Sleep(time.Minute)
	}
	err := s.ask(t)
	require.ErrorIs(t, err, client.ErrLoginRequired)
	var failure *client.Error
	require.ErrorAs(t, err, &failure)
	require.Equal(t, want, failure.Code)
	require.Contains(t, failure.Description, s.says)
	require.Equal(t, newest, s.presented())
	before := s.tokens
	require.ErrorIs(t, s.ask(t), client.ErrLoginRequired)
	require.Equal(t, before, s.tokens, "a dead refresh token was sent again")
}

// ask is a request of the API, or a renewal where there is none.
func (s *server) ask(t *testing.T) error {
	if s.without["rejected"] != "" {
		_, err := s.alice.Renew(t.Context(), nil)
		return err
	}
	_, _, err := s.get(t.Context())
	return err
}

// age has a token renewed ahead of its end, and not much before.
func (s *server) age(t *testing.T) {
	defer s.said.Reset() // it asks what was written down already
	require.NoError(t, s.begin(t))
	s.set(func() { s.renewed = "renewed" })
	ahead := min(s.life/4, cmp.Or(s.ahead, 5*time.Minute))
	time.Sleep(s.life - ahead*5/4)
	_, _, err := s.get(t.Context())
	require.NoError(t, err)
	synctest.Wait()
	require.Equal(t, 1, s.tokens, "it was renewed too early")
	time.Sleep(ahead * 3 / 4)
	_, _, err = s.get(t.Context())
	require.NoError(t, err)
	synctest.Wait()
	require.Equal(t, 2, s.tokens, "it was not renewed in time")
}

// expire has the refresh token outlive what was said of its life.
func (s *server) expire(t *testing.T) {
	defer s.said.Reset() // it asks what was written down already
	require.NoError(t, s.begin(t))
	s.set(func() { s.renewed = "dead" })
	time.Sleep(s.refresh + time.Minute)
	err := s.ask(t)
	require.ErrorIs(t, err, client.ErrLoginRequired)
	var failure *client.Error
	require.ErrorAs(t, err, &failure)
	require.Equal(t, "expired", failure.Cause)
}

// refuse has the token endpoint refuse a code, and the client.
func (s *server) refuse(t *testing.T) {
	defer s.said.Reset() // it asks what was written down already
	for name, want := range map[string]string{"stale": "invalid_grant", "stranger": "invalid_client"} {
		if s.answers[name] != nil {
			s.set(func() { s.redeemed = name })
			require.Equal(t, want, code(t, s.begin(t)), name)
		}
	}
}

// confirm logs a person in who has a browser elsewhere.
func (s *server) confirm(t *testing.T) {
	require.NoError(t, s.alice.Login(t.Context(), client.Device{Prompt: func(_ context.Context, v client.Verification) error {
		require.Equal(t, "ABCD-EFGH", v.UserCode)
		require.NotEmpty(t, v.URI)
		return nil
	}}))
	s.loggedIn(t)
}

// logout ends the grant at the server, too, where that has a way.
func (s *server) logout(t *testing.T) {
	require.NoError(t, s.begin(t))
	s.said.Reset()
	clear(s.recorded)
	err := s.alice.Logout(t.Context())
	if s.provider.RevocationURL == "" && !bytes.Contains(s.answers["metadata"], []byte("revocation_endpoint")) {
		require.ErrorIs(t, err, errors.ErrUnsupported)
		return
	}
	require.NoError(t, err)
	require.True(t, s.recorded["revoke"])
}

// find goes by the token endpoint alone, as programs do that come with an oauth2.Config.
func (s *server) find(t *testing.T) {
	require.NoError(t, s.begin(t))
	s.said.Reset()
	c, err := client.New(client.Config{
		Endpoint: oauth2.Endpoint{TokenURL: s.last.address}, ClientID: "client-1", RedirectURL: "https://app.example/callback",
		AuthServerClient: &http.Client{Transport: s},
	})
	require.NoError(t, err)
	pending, err := c.Session("alice").Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	address, _, _ := strings.Cut(pending.URL, "?")
	fmt.Fprintf(&s.said, "found by %s: %s\n", s.last.address, address)
	require.NoError(t, c.Close(t.Context()))
}

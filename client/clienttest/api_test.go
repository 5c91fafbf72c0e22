package clienttest_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client/clienttest"
)

func TestAPIDialects(t *testing.T) {
	for _, test := range []struct {
		name            string
		status          int
		challenge, body string
		wantStatus      int
		wantChallenge   string
	}{
		{"RFC 6750", 0, "", "", 401, `Bearer resource_metadata="https://api.test/.well-known/oauth-protected-resource", error="invalid_token"`},
		{"no challenge", 401, "", "access token invalid", 401, ""},
		{"403", 403, "", "{}", 403, ""},
		{"no scheme", 401, "error=invalid_request", "", 401, "error=invalid_request"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := clienttest.New(t)
			api := s.NewAPI("api.test")
			api.Status, api.Challenge, api.Body = test.status, test.challenge, test.body
			req, err := http.NewRequest(http.MethodGet, api.URL, nil)
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer never issued")
			a, err := do(s.HTTPClient(""), req)
			require.NoError(t, err)
			require.Equal(t, test.wantStatus, a.status)
			require.Equal(t, test.wantChallenge, a.header.Get("WWW-Authenticate"))
			require.Equal(t, test.body, a.body)
			require.Equal(t, 1, api.Refused())
			require.Equal(t, 0, api.Accepted())
		})
	}
}

func TestAPIAnswers(t *testing.T) {
	onBoth(t, func(t *testing.T, s *clienttest.Server) {
		api, login := s.NewAPI("api.test"), s.Login("read")
		send := func(authorization ...string) answer {
			req, err := http.NewRequest(http.MethodPut, api.URL+"/x", strings.NewReader("content"))
			require.NoError(t, err)
			req.Header["Authorization"] = authorization
			a, err := do(s.HTTPClient(""), req)
			require.NoError(t, err)
			return a
		}
		good := "bearer " + login.AccessToken
		require.Equal(t, map[string]any{"sub": "alice", "scope": "read", "body": "content"}, send(good).json)
		require.Equal(t, 401, send().status)
		require.NotContains(t, send().header.Get("WWW-Authenticate"), "error", "who gave no token is told of no error")
		require.Equal(t, 401, send(good, good).status, "two headers")
		require.Equal(t, 401, send("DPoP "+login.AccessToken).status)
		require.Equal(t, 1, api.Accepted())
		require.Equal(t, 4, api.Refused())

		s.Change(func() { api.Scope = "write" })
		a := send(good)
		require.Equal(t, 403, a.status)
		require.Contains(t, a.header.Get("WWW-Authenticate"), `insufficient_scope`)
		s.Change(func() {
			api.Scope = ""
			api.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(w, r.Body)
			})
		})
		require.Equal(t, "content", send(good).body)

		s.Change(func() { api.RejectAll = true })
		require.Equal(t, 401, send("Bearer "+s.Login().AccessToken).status)
	})
}

func TestAPIFaults(t *testing.T) {
	onBoth(t, func(t *testing.T, s *clienttest.Server) {
		api, login := s.NewAPI("api.test"), s.Login()
		api.Fail(clienttest.Fault{Unreachable: true}, clienttest.Fault{Status: 503})
		_, err := s.HTTPClient("").Get(api.URL)
		require.Error(t, err)
		require.Equal(t, 503, call(t, s, api, login.AccessToken))
		require.Equal(t, 200, call(t, s, api, login.AccessToken))
		require.Equal(t, 1, api.Accepted())
		require.Equal(t, 0, api.Refused())
	})
}

func TestMetadata(t *testing.T) {
	get := func(t *testing.T, s *clienttest.Server, address string) answer {
		t.Helper()
		req, err := http.NewRequest(http.MethodGet, address, nil)
		require.NoError(t, err)
		a, err := do(s.HTTPClient(""), req)
		require.NoError(t, err)
		return a
	}
	t.Run("both documents", func(t *testing.T) {
		onBoth(t, func(t *testing.T, s *clienttest.Server) {
			s.Policy.Metadata = map[string]any{"revocation_endpoint": nil, "issuer_alias": "x"}
			for _, name := range []string{"openid-configuration", "oauth-authorization-server"} {
				got := get(t, s, s.Issuer+"/.well-known/"+name).json
				require.Equal(t, s.Issuer, got["issuer"])
				require.Equal(t, s.Config().Endpoint.TokenURL, got["token_endpoint"])
				require.Equal(t, "x", got["issuer_alias"])
				require.NotContains(t, got, "revocation_endpoint")
			}
		})
	})
	t.Run("an issuer with a path", func(t *testing.T) {
		s := clienttest.New(t)
		s.Issuer = "https://as.test/tenant"
		require.Equal(t, s.Issuer, get(t, s, "https://as.test/.well-known/oauth-authorization-server/tenant").json["issuer"])
		require.Equal(t, s.Issuer, get(t, s, "https://as.test/tenant/.well-known/openid-configuration").json["issuer"])
		require.Equal(t, 404, get(t, s, "https://as.test/.well-known/openid-configuration").status)
		require.Equal(t, 404, get(t, s, "https://as.test/.well-known/oauth-authorization-server").status)
		renewed(t, s, s.Login().RefreshToken)
	})
	t.Run("of a resource", func(t *testing.T) {
		s := clienttest.New(t)
		api := s.NewAPI("api.test")
		got := get(t, s, api.URL+"/.well-known/oauth-protected-resource").json
		require.Equal(t, api.URL, got["resource"])
		require.Equal(t, []any{s.Issuer}, got["authorization_servers"])
	})
	t.Run("of a second server", func(t *testing.T) {
		s, other := clienttest.New(t), clienttest.New(t)
		other.Issuer = s.Handle("https://other.test", other)
		require.Equal(t, "https://other.test", get(t, s, "https://other.test/.well-known/openid-configuration").json["issuer"])
	})
}

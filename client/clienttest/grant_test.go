package clienttest_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client/clienttest"
)

func idTokenClaims(t *testing.T, token any) (claims map[string]any) {
	t.Helper()
	text, _ := token.(string)
	parts := strings.Split(text, ".")
	require.Len(t, parts, 3, "a JWS")
	require.NotEmpty(t, parts[2], "signed")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(payload, &claims))
	return claims
}

// bubble is a test in memory with a Server and an API, under its own clock.
func bubble(t *testing.T, f func(t *testing.T, s *clienttest.Server, api *clienttest.API)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := clienttest.New(t)
		f(t, s, s.NewAPI("api.test"))
	})
}

func TestReuseKillsTheFamily(t *testing.T) {
	bubble(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API) {
		first, other := s.Login("read"), s.Login()
		rt2, at2 := renewed(t, s, first.RefreshToken)
		require.NotEqual(t, first.RefreshToken, rt2)
		require.Equal(t, 401, call(t, s, api, first.AccessToken), "the old access token dies at the refresh")
		require.Equal(t, 200, call(t, s, api, at2))

		a, err := refresh(s, first.RefreshToken)
		require.NoError(t, err)
		require.Equal(t, "invalid_grant", a.text("error"))
		require.Equal(t, 401, call(t, s, api, at2), "reuse kills the access tokens")
		a, err = refresh(s, rt2)
		require.NoError(t, err)
		require.Equal(t, 400, a.status, "reuse kills the refresh tokens")
		require.Equal(t, 1, s.Grants())
		require.Equal(t, 200, call(t, s, api, other.AccessToken), "another grant lives")

		require.Len(t, s.Reuses(), 1)
		require.Len(t, s.Renewals(), 1)
		ledger := s.Requests()
		require.Len(t, ledger, 3)
		require.Equal(t, []string{"RT1", "RT1", "RT3"}, []string{ledger[0].Token, ledger[1].Token, ledger[2].Token})
		require.Equal(t, "RT3", ledger[0].Issued)
		require.Equal(t, []int{200, 400, 400}, []int{ledger[0].Status, ledger[1].Status, ledger[2].Status})
		require.Equal(t, "p", ledger[0].Process)
		require.Equal(t, "app", ledger[0].ClientID)
		require.False(t, ledger[2].Spent)
		for _, secret := range []string{first.RefreshToken, first.AccessToken, rt2, at2} {
			require.NotContains(t, fmt.Sprintf("%+v %#v %+v %#v %s", ledger, ledger, s, s, s), secret)
		}
	})
}

func TestKeepFamily(t *testing.T) {
	bubble(t, func(t *testing.T, s *clienttest.Server, _ *clienttest.API) {
		s.Policy.KeepFamily = true
		first := s.Login()
		rt2, _ := renewed(t, s, first.RefreshToken)
		a, err := refresh(s, first.RefreshToken)
		require.NoError(t, err)
		require.Equal(t, 400, a.status)
		require.Len(t, s.Reuses(), 1)
		renewed(t, s, rt2)
	})
}

func TestLeeway(t *testing.T) {
	type world struct {
		*testing.T
		s        *clienttest.Server
		api      *clienttest.API
		rt1      string
		rt2, at2 string
	}
	for _, test := range []struct {
		name   string
		policy clienttest.Policy
		first  func(w world)
		same   bool // RT1 is answered with RT2 again
		want   int
	}{
		{"none", clienttest.Policy{}, nil, false, 400},
		{"window, in time", clienttest.Policy{Leeway: 10 * time.Second}, func(world) { time.Sleep(9 * time.Second) }, false, 200},
		{"window, too late", clienttest.Policy{Leeway: 10 * time.Second}, func(world) { time.Sleep(10 * time.Second) }, false, 400},
		{"window, successor spent", clienttest.Policy{Leeway: time.Hour}, func(w world) { renewed(w.T, w.s, w.rt2) }, false, 200},
		{"same", clienttest.Policy{Leeway: time.Hour, LeewaySame: true}, nil, true, 200},
		{"same, successor called", clienttest.Policy{Leeway: time.Hour, LeewaySame: true}, func(w world) { call(w.T, w.s, w.api, w.at2) }, true, 200},
		{"same, successor spent", clienttest.Policy{Leeway: time.Hour, LeewaySame: true}, func(w world) { renewed(w.T, w.s, w.rt2) }, false, 400},
		{"until used, unused", clienttest.Policy{LeewayUntilUsed: true}, func(world) { time.Sleep(59 * time.Minute) }, false, 200},
		{"until used, access token called", clienttest.Policy{LeewayUntilUsed: true}, func(w world) { call(w.T, w.s, w.api, w.at2) }, false, 400},
		{"until used, refresh token spent", clienttest.Policy{LeewayUntilUsed: true}, func(w world) { renewed(w.T, w.s, w.rt2) }, false, 400},
		{"until used, same", clienttest.Policy{LeewayUntilUsed: true, LeewaySame: true}, nil, true, 200},
		{"until used in a window, too late", clienttest.Policy{Leeway: time.Minute, LeewayUntilUsed: true}, func(world) { time.Sleep(time.Minute) }, false, 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API) {
				s.Policy = test.policy
				w := world{T: t, s: s, api: api, rt1: s.Login().RefreshToken}
				w.rt2, w.at2 = renewed(t, s, w.rt1)
				if test.first != nil {
					test.first(w)
				}
				a, err := refresh(s, w.rt1)
				require.NoError(t, err)
				require.Equal(t, test.want, a.status)
				requests := s.Requests()
				last := requests[len(requests)-1]
				require.True(t, last.Spent)
				require.Equal(t, test.want == 400, last.Reuse)
				if test.want == 400 {
					require.Equal(t, 0, s.Grants())
					return
				}
				require.Equal(t, test.same, a.text("refresh_token") == w.rt2)
				require.Equal(t, 200, call(t, s, api, a.text("access_token")))
				if !test.same && s.Requests()[1].Token == "RT1" {
					require.Equal(t, 200, call(t, s, api, w.at2), "both branches live")
					renewed(t, s, w.rt2)
					renewed(t, s, a.text("refresh_token"))
				}
			})
		})
	}
}

func TestPolicyOfAnswers(t *testing.T) {
	answered := func(t *testing.T, policy clienttest.Policy) map[string]any {
		s := clienttest.New(t)
		s.Policy = policy
		a, err := refresh(s, s.Login("openid", "read").RefreshToken)
		require.NoError(t, err)
		require.Equal(t, 200, a.status)
		require.Equal(t, "no-store", a.header.Get("Cache-Control"))
		return a.json
	}
	t.Run("strict", func(t *testing.T) {
		got := answered(t, clienttest.Policy{})
		require.Equal(t, 3600.0, got["expires_in"])
		require.Equal(t, "openid read", got["scope"])
		require.Equal(t, "Bearer", got["token_type"])
		require.Equal(t, "alice", idTokenClaims(t, got["id_token"])["sub"])
	})
	t.Run("lifetime", func(t *testing.T) {
		require.Equal(t, 90.0, answered(t, clienttest.Policy{Lifetime: 90 * time.Second})["expires_in"])
	})
	t.Run("members", func(t *testing.T) {
		got := answered(t, clienttest.Policy{Answer: map[string]any{"expires_in": "3600", "scope": nil, "refresh_in": 600, "token_type": "bearer", "id_token": nil}})
		require.Equal(t, "3600", got["expires_in"])
		require.Equal(t, 600.0, got["refresh_in"])
		require.Equal(t, "bearer", got["token_type"])
		require.NotContains(t, got, "scope")
		require.NotContains(t, got, "id_token")
	})
	t.Run("claims", func(t *testing.T) {
		claims := idTokenClaims(t, answered(t, clienttest.Policy{Claims: map[string]any{"sub": "bob", "exp": nil}})["id_token"])
		require.Equal(t, "bob", claims["sub"])
		require.NotContains(t, claims, "exp")
	})
	t.Run("no refresh token", func(t *testing.T) {
		require.NotContains(t, answered(t, clienttest.Policy{NoRefreshToken: true}), "refresh_token")
	})
}

func TestWithoutRotation(t *testing.T) {
	for name, policy := range map[string]clienttest.Policy{"said again": {NoRotation: true}, "not said": {NoRefreshToken: true}} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API) {
				s.Policy = policy
				login := s.Login()
				for range 3 {
					a, err := refresh(s, login.RefreshToken)
					require.NoError(t, err)
					require.Equal(t, 200, a.status)
					if policy.NoRotation {
						require.Equal(t, login.RefreshToken, a.text("refresh_token"))
					}
					require.Equal(t, 200, call(t, s, api, a.text("access_token")))
				}
				require.Equal(t, 401, call(t, s, api, login.AccessToken))
				require.Empty(t, s.Reuses())
			})
		})
	}
}

func TestKeepAccessToken(t *testing.T) {
	bubble(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API) {
		s.Policy.KeepAccessToken = true
		login := s.Login()
		renewed(t, s, login.RefreshToken)
		require.Equal(t, 200, call(t, s, api, login.AccessToken))
	})
}

func TestDeadGrantDialects(t *testing.T) {
	for _, test := range []struct {
		name   string
		policy clienttest.Policy
		status int
		body   string
		media  string
	}{
		{"Dex", clienttest.Policy{DeadStatus: 400, DeadBody: `{"error":"invalid_request"}`}, 400, `{"error":"invalid_request"}`, "application/json"},
		{"glewlwyd", clienttest.Policy{DeadStatus: 400}, 400, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, s *clienttest.Server) {
				s.Policy = test.policy
				a, err := refresh(s, "never issued")
				require.NoError(t, err)
				require.Equal(t, test.status, a.status)
				require.Equal(t, test.body, a.body)
				require.Equal(t, test.media, a.header.Get("Content-Type"))
				require.Equal(t, "unknown", s.Requests()[0].Token)
			})
		})
	}
}

func TestActs(t *testing.T) {
	bubble(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API) {
		one, two, three := s.Login(), s.Login(), s.Login()
		require.Equal(t, 3, s.Grants())
		s.RevokeAccessToken(one.AccessToken)
		require.Equal(t, 401, call(t, s, api, one.AccessToken))
		require.Equal(t, 200, call(t, s, api, two.AccessToken))
		renewed(t, s, one.RefreshToken)
		s.RevokeAccessToken("")
		require.Equal(t, 401, call(t, s, api, two.AccessToken))
		require.Equal(t, 3, s.Grants())
		s.RevokeGrant(two.AccessToken)
		require.Equal(t, 2, s.Grants())
		s.KillAll()
		require.Equal(t, 0, s.Grants())
		a, err := refresh(s, three.RefreshToken)
		require.NoError(t, err)
		require.Equal(t, "invalid_grant", a.text("error"))
		require.Empty(t, s.Reuses(), "a dead grant is no reuse")
	})
}

func TestExpiry(t *testing.T) {
	bubble(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API) {
		s.Policy.Lifetime = time.Minute
		login := s.Login()
		time.Sleep(time.Minute - 1)
		require.Equal(t, 200, call(t, s, api, login.AccessToken))
		time.Sleep(time.Nanosecond)
		require.Equal(t, 401, call(t, s, api, login.AccessToken))
	})
}

func TestRefreshNeverGrows(t *testing.T) {
	s := clienttest.New(t)
	s.Register("other", "", "none")
	login := s.Login("read", "write")
	form := func(name, value string) url.Values {
		return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {login.RefreshToken}, name: {value}}
	}
	for _, test := range []struct{ name, value, want string }{
		{"scope", "read admin", "invalid_scope"},
		{"resource", "not absolute", "invalid_target"},
		{"client_id", "other", "invalid_grant"},
	} {
		a, err := post(s.HTTPClient(""), s.Issuer+"/token", form(test.name, test.value))
		require.NoError(t, err)
		require.Equal(t, test.want, a.text("error"), test.name)
	}
	a, err := post(s.HTTPClient(""), s.Issuer+"/token", form("scope", "read"))
	require.NoError(t, err)
	require.Equal(t, "read", a.text("scope"), "none of the refusals spent the token")
}

func TestResources(t *testing.T) {
	bubble(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API) {
		other := s.NewAPI("other.test")
		login := s.Login()
		forAPI := func(rt, resource string) answer {
			a, err := post(s.HTTPClient(""), s.Issuer+"/token", url.Values{"grant_type": {"refresh_token"}, "refresh_token": {rt}, "resource": {resource}})
			require.NoError(t, err)
			require.Equal(t, 200, a.status)
			return a
		}
		first := forAPI(login.RefreshToken, api.URL)
		second := forAPI(first.text("refresh_token"), other.URL)
		require.Equal(t, 200, call(t, s, api, first.text("access_token")), "another resource's token lives on")
		require.Equal(t, 200, call(t, s, other, second.text("access_token")))
		require.Equal(t, 401, call(t, s, api, second.text("access_token")), "the token is for another resource")
		forAPI(second.text("refresh_token"), api.URL)
		require.Equal(t, 401, call(t, s, api, first.text("access_token")), "replaced")
		require.Equal(t, 200, call(t, s, other, second.text("access_token")))
	})
}

func TestRevocation(t *testing.T) {
	for _, test := range []struct {
		name   string
		policy clienttest.Policy
		access bool
		grants int
		token  string
	}{
		{"refresh token", clienttest.Policy{}, false, 0, "RT1"},
		{"refresh token, alone or not", clienttest.Policy{RevokeAlone: true}, false, 0, "RT1"},
		{"access token", clienttest.Policy{}, true, 0, "AT1"},
		{"access token alone", clienttest.Policy{RevokeAlone: true}, true, 1, "AT1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := clienttest.New(t)
			s.Policy = test.policy
			api, login := s.NewAPI("api.test"), s.Login()
			token := login.RefreshToken
			if test.access {
				token = login.AccessToken
			}
			a, err := post(s.HTTPClient("p"), s.Issuer+"/revoke", url.Values{"token": {token}})
			require.NoError(t, err)
			require.Equal(t, 200, a.status)
			require.Equal(t, test.grants, s.Grants())
			require.Equal(t, 401, call(t, s, api, login.AccessToken))
			require.Len(t, s.Revocations(), 1)
			require.Equal(t, test.token, s.Revocations()[0].Token)
			require.Empty(t, s.Requests())
		})
	}
	t.Run("unknown token", func(t *testing.T) {
		s := clienttest.New(t)
		a, err := post(s.HTTPClient("p"), s.Issuer+"/revoke", url.Values{"token": {"?"}})
		require.NoError(t, err)
		require.Equal(t, 200, a.status)
	})
	t.Run("another client's", func(t *testing.T) {
		s := clienttest.New(t)
		s.Register("other", "", "none")
		a, err := post(s.HTTPClient("p"), s.Issuer+"/revoke", url.Values{"token": {s.Login().RefreshToken}, "client_id": {"other"}})
		require.NoError(t, err)
		require.Equal(t, http.StatusBadRequest, a.status)
		require.Equal(t, 1, s.Grants())
	})
}

func TestDevice(t *testing.T) {
	bubble(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API) {
		start := func() answer {
			a, err := post(s.HTTPClient(""), s.Config().Endpoint.DeviceAuthURL, url.Values{"scope": {"read"}})
			require.NoError(t, err)
			require.Equal(t, 200, a.status)
			return a
		}
		poll := func(a answer) answer {
			got, err := post(s.HTTPClient(""), s.Issuer+"/token", url.Values{
				"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "device_code": {a.text("device_code")},
			})
			require.NoError(t, err)
			return got
		}
		approved := start()
		require.NotContains(t, approved.json, "interval")
		require.Equal(t, "authorization_pending", poll(approved).text("error"))
		time.Sleep(5*time.Second - 1)
		require.Equal(t, "slow_down", poll(approved).text("error"))
		time.Sleep(9 * time.Second)
		require.Equal(t, "slow_down", poll(approved).text("error"), "the interval is 10 s now")
		require.NoError(t, s.Approve(approved.text("user_code")))
		time.Sleep(15 * time.Second)
		token := poll(approved)
		require.Equal(t, 200, token.status)
		require.Equal(t, 200, call(t, s, api, token.text("access_token")))
		time.Sleep(15 * time.Second)
		require.Equal(t, "invalid_grant", poll(approved).text("error"))

		denied := start()
		require.NoError(t, s.Deny(denied.text("user_code")))
		require.Equal(t, "access_denied", poll(denied).text("error"))

		expired := start()
		time.Sleep(10 * time.Minute)
		require.Equal(t, "expired_token", poll(expired).text("error"))
		require.Error(t, s.Approve(expired.text("user_code")))
	})
}

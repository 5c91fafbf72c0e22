package interop_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/transport"
)

// fixture is a server made of a recording: what the recording tells is as it was seen, the rest as the RFCs have it. It
// lives in memory, as an http.RoundTripper for the authorization server and its resource.
type fixture struct {
	recording recording
	origin    string // the issuer is this, or this and a slash

	mu         sync.Mutex
	n          int               // of the newest tokens; guarded by mu
	challenges map[string]string // by code; guarded by mu
	live       string            // the refresh token that is good; guarded by mu
	dead       bool              // the family is; guarded by mu
	ended      map[string]bool   // access tokens; guarded by mu
	polls      int               // of the device; guarded by mu
}

func startFixture(name string) func(*testing.T) *server {
	return func(t *testing.T) *server {
		f := &fixture{recording: recordings(t)[name], origin: "https://as.example", challenges: map[string]string{}, ended: map[string]bool{}}
		return f.server()
	}
}

func (f *fixture) issuer() string {
	if f.recording.Slash {
		return f.origin + "/"
	}
	return f.origin
}

// metadata is the little that every server says; of what a recording has seen not to be there, nothing.
func (f *fixture) metadata() map[string]any {
	members := map[string]any{
		"issuer": f.issuer(), "authorization_endpoint": f.origin + "/authorize", "token_endpoint": f.origin + "/token",
		"device_authorization_endpoint": f.origin + "/device", "code_challenge_methods_supported": []string{"S256"},
	}
	if f.recording.Revokes {
		members["revocation_endpoint"] = f.origin + "/revoke"
	}
	return members
}

func (f *fixture) RoundTrip(req *http.Request) (*http.Response, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if req.Body != nil {
		defer req.Body.Close()
	}
	if err := req.ParseForm(); err != nil {
		return nil, err
	}
	switch req.URL.Path {
	case "/.well-known/oauth-authorization-server":
		switch f.recording.Discovery {
		case "openid":
			return answer{Status: http.StatusNotFound}.response(req), nil
		case "openid, 401":
			return object(http.StatusUnauthorized, map[string]any{"error": "unauthorized"}).response(req), nil
		}
		return object(http.StatusOK, f.metadata()).response(req), nil
	case "/.well-known/openid-configuration":
		return object(http.StatusOK, f.metadata()).response(req), nil
	case "/device":
		members := map[string]any{
			"device_code": "DC", "user_code": "UC", "verification_uri": f.origin + "/activate", "expires_in": 600, "interval": 1,
		}
		if f.recording.DeviceStray {
			members["Header"] = nil
		}
		return object(http.StatusOK, members).response(req), nil
	case "/token":
		if _, secret, ok := req.BasicAuth(); ok && secret == "wrong" {
			return f.recorded(f.recording.Client, "client_secret_basic").response(req), nil
		}
		if req.PostForm.Get("client_secret") == "wrong" {
			return f.recorded(f.recording.Client, "client_secret_post").response(req), nil
		}
		return f.token(req.PostForm).response(req), nil
	case "/revoke":
		f.dead = true
		return answer{Status: http.StatusOK}.response(req), nil
	}
	token, _ := strings.CutPrefix(req.Header.Get("Authorization"), "Bearer ")
	if f.ended[token] {
		return f.recorded(f.recording.Access, "ended").response(req), nil
	}
	if token == "garbage" {
		return f.recorded(f.recording.Access, "garbage").response(req), nil
	}
	return answer{Status: http.StatusOK}.response(req), nil
}

func (f *fixture) token(form url.Values) answer {
	switch form.Get("grant_type") {
	case "authorization_code":
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if f.challenges[form.Get("code")] != base64.RawURLEncoding.EncodeToString(sum[:]) {
			return object(http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		}
		f.dead = false
		return f.grant()
	case deviceGrant:
		if f.polls++; f.recording.DeviceSlow && f.polls == 1 {
			return object(http.StatusBadRequest, map[string]any{"error": "slow_down"})
		}
		return f.grant()
	case "client_credentials":
		if f.recording.ScopeRefused != nil && strings.Contains(form.Get("scope"), "unknown") {
			return *f.recording.ScopeRefused
		}
		return f.tokens(map[string]any{})
	case "refresh_token":
		if sent := form.Get("refresh_token"); f.dead || sent != f.live {
			f.dead = f.dead || f.recording.Spread
			what := "replayed"
			if f.recording.Keeps {
				what = "garbage"
			}
			return f.recorded(f.recording.Refresh, what)
		}
		if f.recording.Keeps {
			return f.tokens(map[string]any{})
		}
		return f.grant()
	}
	return object(http.StatusBadRequest, map[string]any{"error": "unsupported_grant_type"})
}

func (f *fixture) grant() answer {
	f.live = "RT" + strconv.Itoa(f.n+1)
	return f.tokens(map[string]any{"refresh_token": f.live})
}

func (f *fixture) tokens(members map[string]any) answer {
	f.n++
	kind := f.recording.TokenType
	if kind == "" {
		kind = "Bearer"
	}
	maps.Copy(members, map[string]any{"access_token": "AT" + strconv.Itoa(f.n), "token_type": kind, "expires_in": 599})
	return object(http.StatusOK, members)
}

func (f *fixture) recorded(all []answer, what string) answer {
	return all[slices.IndexFunc(all, func(a answer) bool { return strings.HasPrefix(a.What, what) })]
}

func object(status int, members map[string]any) answer {
	body, err := json.Marshal(members)
	if err != nil {
		panic(err)
	}
	return answer{Status: status, Header: http.Header{"Content-Type": {"application/json"}}, Body: string(body)}
}

// signIn is the person, who always says yes.
func (f *fixture) signIn(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	asked := u.Query()
	require.Equal(t, "S256", asked.Get("code_challenge_method"))
	code := rand.Text()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.challenges[code] = asked.Get("code_challenge")
	callback, err := url.Parse(asked.Get("redirect_uri"))
	require.NoError(t, err)
	callback.RawQuery = url.Values{"code": {code}, "state": {asked.Get("state")}}.Encode()
	return callback
}

// unseen are the rows of which no answer was recorded.
func unseen(*testing.T, *server) verdict {
	return verdict{broken, "not shown: no answer of it was recorded, and it does not run here"}
}

func (f *fixture) server() *server {
	config := client.Config{Issuer: f.issuer(), ClientID: "app", RedirectURL: callback, Scopes: []string{"offline_access"}}
	machineConfig := needsNobody(with(config, func(c *client.Config) { c.ClientSecret, c.Scopes = "a secret", nil }))
	dead := f.recorded(f.recording.Refresh, "replayed")
	s := &server{
		metadata: f.origin + "/.well-known/openid-configuration",
		clients:  map[role]client.Config{person: config, daemon: machineConfig},
		http:     &http.Client{Transport: f},
		api:      "https://api.example/",
		signIn:   f.signIn,
		approve:  func(*testing.T, client.Verification) {},
		end: func(_ *testing.T, token string) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.ended[token] = true
		},
		replayed: replayed{dead.Status, dead.code(), f.recording.Spread},
		own:      map[string]func(*testing.T, *server) verdict{},
	}
	for _, r := range []string{keyJWT, pushed, proofs, mutualTLS, resources, exchange, identity, logout} {
		s.own[r] = unseen
	}
	f.exceptions(s)
	return s
}

// exceptions are where the recordings differ.
func (f *fixture) exceptions(s *server) {
	r := f.recording
	if f.recorded(r.Access, "ended").Status == http.StatusForbidden {
		s.call = func(t *testing.T, session *client.Session) int {
			return get(t, &http.Client{Transport: &transport.Transport{
				Source: session, Base: f, Rejected: func(r *http.Response) bool { return r.StatusCode == http.StatusForbidden },
			}}, s.api)
		}
		s.own[revokedEarly] = func(t *testing.T, s *server) verdict {
			showEarlyRevocation(person)(t, s)
			return pass(bareForbidden)
		}
		if f.recorded(r.Access, "garbage").Status == http.StatusForbidden {
			s.own[garbage] = func(t *testing.T, s *server) verdict {
				showGarbage(t, s)
				return pass(bareForbidden)
			}
		}
	}
	if !r.DeviceSlow && !r.DeviceStray {
		s.own[device] = unseen
	}
	if !r.Revokes {
		s.own[revocation] = func(t *testing.T, s *server) verdict {
			session, _ := s.login(t, person)
			require.ErrorIs(t, session.Logout(t.Context()), errors.ErrUnsupported)
			_, err := session.Token(t.Context())
			require.ErrorIs(t, err, client.ErrLoginRequired, "deleted all the same")
			return verdict{lacks, "its metadata has no `revocation_endpoint`; Logout deletes the grant and says so"}
		}
	}
	if r.Keeps {
		s.own[refresh] = func(t *testing.T, s *server) verdict {
			session, w := s.login(t, person)
			first := w.refreshToken(t)
			for range 2 {
				renew(t, session)
				s.requireWorks(t, session)
			}
			for _, sent := range w.of("refresh_token") {
				require.Equal(t, first, sent.form.Get("refresh_token"))
				require.NotContains(t, sent.answer, "refresh_token")
			}
			return verdict{lacks, "its answer to a refresh has no `refresh_token`; the one at hand stays"}
		}
		s.own[replay] = func(t *testing.T, s *server) verdict {
			session, w := s.login(t, person)
			old := w.refreshToken(t)
			renew(t, session)
			renew(t, session)
			require.Equal(t, old, w.refreshToken(t))
			return verdict{lacks, "no refresh token is ever an old one"}
		}
	}
	switch {
	case r.ScopeRefused != nil:
		s.own[machine] = func(t *testing.T, s *server) verdict {
			v := showClientCredentials(daemon)(t, s)
			session, _ := s.open(t, daemon, func(c *client.Config) { c.Scopes = []string{"unknown"} })
			_, err := session.Token(context.WithoutCancel(t.Context()))
			requireCode(t, err, *r.ScopeRefused)
			return v
		}
	case !r.ScopeIgnored:
		s.own[machine] = unseen
	}
}

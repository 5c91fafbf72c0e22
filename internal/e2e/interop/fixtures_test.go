package interop_test

import (
	"context"
	"crypto"
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

// fixture is a server made of a recording: what the recording tells is as it was seen or as the server's source has it, the
// rest as the RFCs have it. It lives in memory, as an http.RoundTripper for the authorization server and its resource.
type fixture struct {
	recording recording
	origin    string        // the issuer is this, or this and a slash
	key       crypto.Signer // of id tokens
	clientKey crypto.Signer // of the client "keyed"

	mu        sync.Mutex
	n         int                   // of the newest tokens; guarded by mu
	codes     map[string]url.Values // the authorization requests by code; guarded by mu
	asked     url.Values            // the request that the live grant is from; guarded by mu
	live      string                // the refresh token that is good; guarded by mu
	dead      bool                  // the family is; guarded by mu
	ended     map[string]bool       // access tokens; guarded by mu
	bound     map[string]string     // access tokens: to the thumbprint of a key; guarded by mu
	audiences map[string]string     // access tokens: for whom; guarded by mu
	issued    map[string]bool       // id tokens; guarded by mu
	used      map[string]bool       // the jti of assertions and proofs; guarded by mu
	polls     int                   // of the device; guarded by mu
}

func startFixture(name string) func(*testing.T) *server {
	return func(t *testing.T) *server {
		f := &fixture{
			recording: recordings(t)[name], origin: "https://as.example", clientKey: newKey(t), codes: map[string]url.Values{},
			ended: map[string]bool{}, bound: map[string]string{}, audiences: map[string]string{}, issued: map[string]bool{}, used: map[string]bool{},
		}
		var err error
		f.key, err = newSigningKey(f.recording.IDToken.Alg)
		require.NoError(t, err)
		return f.server()
	}
}

func (f *fixture) issuer() string {
	if f.recording.Slash {
		return f.origin + "/"
	}
	return f.origin
}

func (f *fixture) metadata() map[string]any {
	members := map[string]any{
		"issuer": f.issuer(), "authorization_endpoint": f.origin + "/authorize", "token_endpoint": f.origin + "/token",
	}
	for name, value := range f.recording.Metadata {
		if text, ok := value.(string); ok {
			value = strings.ReplaceAll(text, "${origin}", f.origin)
		}
		members[name] = value
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
	return f.answer(req).response(req), nil
}

func (f *fixture) answer(req *http.Request) answer {
	switch req.URL.Path {
	case "/.well-known/oauth-authorization-server":
		switch f.recording.Discovery {
		case "openid":
			return answer{Status: http.StatusNotFound}
		case "openid, 401":
			return object(http.StatusUnauthorized, map[string]any{"error": "unauthorized"})
		}
		return object(http.StatusOK, f.metadata())
	case "/.well-known/openid-configuration":
		return object(http.StatusOK, f.metadata())
	case "/keys":
		return f.keys()
	case "/device":
		f.asked = req.PostForm
		members := map[string]any{
			"device_code": "DC", "user_code": "UC", "verification_uri": f.origin + "/activate", "expires_in": 600, "interval": 1,
		}
		if f.recording.DeviceStray {
			members["Header"] = nil
		}
		return object(http.StatusOK, members)
	case "/token":
		if _, secret, ok := req.BasicAuth(); ok && secret == "wrong" {
			return f.recorded(f.recording.Client, "client_secret_basic")
		}
		if req.PostForm.Get("client_secret") == "wrong" {
			return f.recorded(f.recording.Client, "client_secret_post")
		}
		if req.PostForm.Has("client_assertion") && f.checkAssertion(req.PostForm) != nil {
			return object(http.StatusUnauthorized, map[string]any{"error": "invalid_client"})
		}
		return f.token(req)
	case "/revoke":
		f.dead = true
		return answer{Status: http.StatusOK}
	case "/logout":
		if f.issued[req.Form.Get("id_token_hint")] {
			return f.recording.Logout.Good
		}
		return f.recording.Logout.Bad
	}
	scheme, token, _ := strings.Cut(req.Header.Get("Authorization"), " ")
	if f.ended[token] {
		return f.recorded(f.recording.Access, "ended")
	}
	thumbprint, bound := f.bound[token]
	if token == "garbage" || bound != (scheme == "DPoP") {
		return f.recorded(f.recording.Access, "garbage")
	}
	if bound {
		if shown, err := f.checkProof(req, token); err != nil || shown != thumbprint {
			return f.recorded(f.recording.Access, "garbage")
		}
	}
	if req.URL.Path == "/userinfo" {
		return object(http.StatusOK, map[string]any{"sub": account})
	}
	return answer{Status: http.StatusOK}
}

func (f *fixture) token(req *http.Request) answer {
	form := req.PostForm
	if target := form.Get("resource"); target != "" && target != resource && f.recording.TargetRefused != nil {
		return *f.recording.TargetRefused
	}
	switch form.Get("grant_type") {
	case "authorization_code":
		asked := f.codes[form.Get("code")]
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if asked.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) {
			return object(http.StatusBadRequest, map[string]any{"error": "invalid_grant"})
		}
		f.dead, f.asked = false, asked
		return f.grant(req, true, asked.Get("nonce"))
	case deviceGrant:
		if f.polls++; f.recording.DeviceSlow && f.polls == 1 {
			return object(http.StatusBadRequest, map[string]any{"error": "slow_down"})
		}
		return f.grant(req, true, "")
	case "client_credentials":
		if f.recording.ScopeRefused != nil && strings.Contains(form.Get("scope"), "unknown") {
			return *f.recording.ScopeRefused
		}
		return f.tokens(req, map[string]any{})
	case exchangeGrant:
		return f.exchange(req)
	case "refresh_token":
		if sent := form.Get("refresh_token"); f.dead || sent != f.live {
			f.dead = f.dead || f.recording.Spread
			what := "replayed"
			if f.recording.Keeps {
				what = "garbage"
			}
			return f.recorded(f.recording.Refresh, what)
		}
		nonce := ""
		if f.recording.IDToken.NonceAgain {
			nonce = f.asked.Get("nonce")
		}
		return f.grant(req, !f.recording.Keeps, nonce)
	}
	return object(http.StatusBadRequest, map[string]any{"error": "unsupported_grant_type"})
}

func (f *fixture) exchange(req *http.Request) answer {
	if f.recording.ExchangeRefused != nil {
		return *f.recording.ExchangeRefused
	}
	if f.recording.Exchange == nil {
		return object(http.StatusBadRequest, map[string]any{"error": "unsupported_grant_type"})
	}
	for name, value := range f.recording.Exchange {
		if req.PostForm.Get(name) != value {
			return object(http.StatusBadRequest, map[string]any{"error": "invalid_request"})
		}
	}
	if req.PostForm.Get("subject_token") == "" || req.PostForm.Get("subject_token_type") != accessTokenType {
		return object(http.StatusBadRequest, map[string]any{"error": "invalid_request"})
	}
	return f.tokens(req, map[string]any{"issued_token_type": accessTokenType})
}

// grant is the answer to a grant of a person, with a new refresh token or without.
func (f *fixture) grant(req *http.Request, rotates bool, nonce string) answer {
	members := map[string]any{}
	if rotates {
		f.live = "RT" + strconv.Itoa(f.n+1)
		members["refresh_token"] = f.live
	}
	if slices.Contains(strings.Fields(f.asked.Get("scope")), "openid") {
		client, secret, _ := req.BasicAuth()
		if client == "" {
			client = req.PostForm.Get("client_id")
		}
		members["id_token"] = f.idToken(client, secret, "AT"+strconv.Itoa(f.n+1), nonce)
	}
	return f.tokens(req, members)
}

func (f *fixture) tokens(req *http.Request, members map[string]any) answer {
	kind := f.recording.TokenType
	if kind == "" {
		kind = "Bearer"
	}
	token := "AT" + strconv.Itoa(f.n+1)
	if f.recording.Proofs && req.Header.Get("DPoP") != "" {
		thumbprint, err := f.checkProof(req, "")
		if err != nil {
			return object(http.StatusBadRequest, map[string]any{"error": "invalid_dpop_proof"})
		}
		kind, f.bound[token] = "DPoP", thumbprint
	}
	f.n++
	f.audiences[token] = f.asked.Get("resource")
	if target := req.PostForm.Get("resource"); target != "" {
		f.audiences[token] = target
	}
	maps.Copy(members, map[string]any{"access_token": token, "token_type": kind, "expires_in": 599})
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
	f.codes[code] = asked
	callback, err := url.Parse(asked.Get("redirect_uri"))
	require.NoError(t, err)
	query := url.Values{"code": {code}, "state": {asked.Get("state")}}
	if f.metadata()["authorization_response_iss_parameter_supported"] == true {
		query.Set("iss", f.issuer())
	}
	callback.RawQuery = query.Encode()
	return callback
}

func (f *fixture) server() *server {
	config := client.Config{Issuer: f.issuer(), ClientID: "app", RedirectURL: callback, Scopes: []string{"offline_access"}}
	machineConfig := needsNobody(with(config, func(c *client.Config) { c.ClientSecret, c.Scopes = "a secret", nil }))
	webConfig := with(config, func(c *client.Config) { c.ClientID, c.ClientSecret = "web", strings.Repeat("a-secret", 8) })
	keyedConfig := needsNobody(with(config, func(c *client.Config) {
		c.ClientID, c.ClientKey, c.Scopes = "keyed", &client.Key{Signer: f.clientKey, ID: "key 1"}, nil
	}))
	dead := f.recorded(f.recording.Refresh, "replayed")
	s := &server{
		metadata: f.origin + "/.well-known/openid-configuration",
		clients:  map[role]client.Config{person: config, web: webConfig, daemon: machineConfig, keyed: keyedConfig},
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
	f.exceptions(s)
	f.bySource(s)
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
	if r.ScopeRefused != nil {
		s.own[machine] = func(t *testing.T, s *server) verdict {
			v := showClientCredentials(daemon)(t, s)
			session, _ := s.open(t, daemon, func(c *client.Config) { c.Scopes = []string{"unknown"} })
			_, err := session.Token(context.WithoutCancel(t.Context()))
			requireCode(t, err, *r.ScopeRefused)
			return v
		}
	}
}

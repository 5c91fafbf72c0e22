package provider_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/provider"
)

var update = flag.Bool("update", false, "write the golden requests anew")

// cases are what a profile is replayed with. In testdata/<dir> a file CASE.txt holds the answer, and CASE-NAME.txt another
// shape of it, that is replayed in its place.
var cases = map[string]string{
	"login":    "the token endpoint's answer to a code",
	"renewed":  "its answer to a refresh token",
	"dead":     "its answer to a refresh token that is gone",
	"rejected": "the API's answer to an access token that is not good any more",
	"limited":  "the API's answer to too many requests, which is none of Evergrant's business",
}

// optional are cases that are replayed where there is a file.
var optional = map[string]string{
	"throttled": "the token endpoint's answer to too many requests",
	"metadata":  "the issuer's metadata",
}

// replay is how the answers of one provider are replayed.
type replay struct {
	dir      string
	provider *provider.Provider
	api      string            // an address of its API
	without  map[string]string // why a case is missing
	callback url.Values        // what comes back beside the code and the state
	extra    map[string]any    // what tokens have in their Extra after the login
	life     time.Duration     // of the first access token; 0: not said
	doubtful bool              // a dead grant is believed after it was said twice
	unfound  string            // why For does not find it by its token endpoint
}

const noRefresh = "tokens do not expire"

var replays = []replay{
	{
		dir: "apple", provider: provider.Apple, api: "https://app.example/", life: time.Hour,
		callback: url.Values{"user": {`{"name":{"firstName":"Ada"}}`}}, extra: map[string]any{"user": `{"name":{"firstName":"Ada"}}`},
		without: map[string]string{"rejected": "there is no API of Apple's", "limited": "there is no API of Apple's"},
	},
	{dir: "atlassian", provider: provider.Atlassian, api: "https://api.atlassian.com/ex/jira/1/rest/api/3/myself", life: time.Hour},
	{dir: "auth0", provider: provider.Auth0.With("domain", "acme.eu.auth0.com"), api: "https://api.acme.example/", life: 24 * time.Hour},
	{dir: "bitbucket", provider: provider.Bitbucket, api: "https://api.bitbucket.org/2.0/user", life: 2 * time.Hour},
	{dir: "box", provider: provider.Box, api: "https://api.box.com/2.0/users/me", life: 4169 * time.Second},
	{dir: "discord", provider: provider.Discord, api: "https://discord.com/api/v10/users/@me", life: 7 * 24 * time.Hour},
	{dir: "dropbox", provider: provider.Dropbox, api: "https://api.dropboxapi.com/2/check/user", life: 4 * time.Hour, extra: map[string]any{"uid": "12345"}},
	{dir: "facebook", provider: provider.Facebook, api: "https://graph.facebook.com/v22.0/me", life: 5183944 * time.Second},
	{dir: "figma", provider: provider.Figma, api: "https://api.figma.com/v1/me", life: 90 * 24 * time.Hour},
	{dir: "github", provider: provider.GitHub, api: "https://api.github.com/user", life: 8 * time.Hour},
	{
		dir: "github-oauth", provider: provider.GitHub, api: "https://api.github.com/user",
		without: map[string]string{"renewed": noRefresh, "dead": noRefresh},
	},
	{dir: "gitlab", provider: provider.GitLab, api: "https://gitlab.com/api/v4/user", life: 2 * time.Hour},
	{dir: "google", provider: provider.Google, api: "https://www.googleapis.com/calendar/v3/users/me/calendarList", life: 3599 * time.Second},
	{dir: "hubspot", provider: provider.HubSpot, api: "https://api.hubapi.com/crm/v3/objects/contacts", life: 30 * time.Minute},
	{
		dir: "intuit", provider: provider.Intuit, api: "https://quickbooks.api.intuit.com/v3/company/7/companyinfo/7", life: time.Hour,
		callback: url.Values{"realmId": {"7"}}, extra: map[string]any{"realmId": "7"},
	},
	{
		dir: "keycloak", provider: provider.Keycloak.With("host", "id.example.com").With("realm", "acme"), api: "https://api.acme.example/",
		life: 30 * time.Minute, without: map[string]string{"limited": "APIs are the customer's"}, unfound: "it runs anywhere",
	},
	{dir: "linear", provider: provider.Linear, api: "https://api.linear.app/graphql", life: 86399 * time.Second},
	{dir: "linkedin", provider: provider.LinkedIn, api: "https://api.linkedin.com/v2/userinfo", life: 60 * 24 * time.Hour},
	{
		dir: "mailchimp", provider: provider.Mailchimp, api: "https://us1.api.mailchimp.com/3.0/",
		without: map[string]string{"renewed": noRefresh, "dead": noRefresh},
	},
	{dir: "microsoft", provider: provider.Microsoft, api: "https://graph.microsoft.com/v1.0/me", life: 4023 * time.Second},
	{dir: "notion", provider: provider.Notion, api: "https://api.notion.com/v1/users/me", extra: map[string]any{"workspace_id": "w"}},
	{dir: "okta", provider: provider.Okta.With("domain", "acme.okta.com"), api: "https://acme.okta.com/api/v1/users/me", life: time.Hour},
	{dir: "reddit", provider: provider.Reddit, api: "https://oauth.reddit.com/api/v1/me", life: 24 * time.Hour, doubtful: true},
	{
		dir: "salesforce", provider: provider.Salesforce, api: "https://acme.my.salesforce.com/services/data/v62.0/",
		extra: map[string]any{"instance_url": "https://acme.my.salesforce.com"},
	},
	{dir: "shopify", provider: provider.Shopify.With("shop", "acme"), api: "https://acme.myshopify.com/admin/api/2026-07/shop.json", life: time.Hour},
	{dir: "slack", provider: provider.Slack, api: "https://slack.com/api/auth.test", life: 12 * time.Hour},
	{dir: "slack-openid", provider: provider.SlackOpenID, api: "https://slack.com/api/auth.test", life: 12 * time.Hour, unfound: "it is found by its issuer"},
	{dir: "spotify", provider: provider.Spotify, api: "https://api.spotify.com/v1/me", life: time.Hour},
	{dir: "stripe", provider: provider.Stripe, api: "https://api.stripe.com/v1/account", extra: map[string]any{"stripe_user_id": "acct_1"}},
	{dir: "tiktok", provider: provider.TikTok, api: "https://open.tiktokapis.com/v2/user/info/", life: 24 * time.Hour, extra: map[string]any{"open_id": "o"}},
	{dir: "twitch", provider: provider.Twitch, api: "https://api.twitch.tv/helix/users", life: 14124 * time.Second},
	{dir: "x", provider: provider.X, api: "https://api.x.com/2/users/me", life: 2 * time.Hour},
	{dir: "xero", provider: provider.Xero, api: "https://api.xero.com/connections", life: 30 * time.Minute},
	{dir: "zendesk", provider: provider.Zendesk.With("subdomain", "acme"), api: "https://acme.zendesk.com/api/v2/users/me.json", life: 24 * time.Hour},
	{
		dir: "zoho", provider: provider.Zoho.With("region", "eu"), api: "https://www.zohoapis.eu/crm/v2/users", life: time.Hour,
		callback: url.Values{"location": {"eu"}, "accounts-server": {"https://accounts.zoho.eu"}},
		extra:    map[string]any{"location": "eu", "accounts-server": "https://accounts.zoho.eu", "api_domain": "https://www.zohoapis.eu"},
	},
	{dir: "zoom", provider: provider.Zoom, api: "https://api.zoom.us/v2/users/me", life: 3599 * time.Second},
}

// TestEveryProfileIsReplayed finds profiles without answers, and cases that are missing without a reason.
func TestEveryProfileIsReplayed(t *testing.T) {
	var replayed, dirs []string
	for _, r := range replays {
		replayed, dirs = append(replayed, r.provider.Name), append(dirs, r.dir)
		for name, what := range cases {
			_, missing := r.without[name]
			_, err := os.Stat(filepath.Join("testdata", r.dir, name+".txt"))
			require.Equalf(t, missing, err != nil, "testdata/%s/%s.txt, %s, has to be there, or replay.without to say why not", r.dir, name, what)
		}
		for _, file := range r.files(t) {
			name, _, _ := strings.Cut(strings.TrimSuffix(file, ".txt"), "-")
			require.Truef(t, cases[name] != "" || optional[name] != "", "testdata/%s/%s is of no case", r.dir, file)
		}
	}
	for _, p := range provider.All() {
		require.Contains(t, replayed, p.Name, "it has no answers in testdata")
	}
	entries, err := os.ReadDir("testdata")
	require.NoError(t, err)
	for _, entry := range entries {
		require.Contains(t, dirs, entry.Name(), "it is of no profile")
	}
}

// files are the recorded answers.
func (r replay) files(t *testing.T) []string {
	paths, err := filepath.Glob(filepath.Join("testdata", r.dir, "*.txt"))
	require.NoError(t, err)
	var files []string
	for _, path := range paths {
		files = append(files, filepath.Base(path))
	}
	return files
}

// TestReplay has a person log in, an API reject the token, and a grant end, by the answers of every provider.
func TestReplay(t *testing.T) {
	for _, r := range replays {
		t.Run(r.dir, func(t *testing.T) {
			recorded := make(map[string][]byte)
			for _, file := range r.files(t) {
				data, err := os.ReadFile(filepath.Join("testdata", r.dir, file))
				require.NoError(t, err)
				recorded[strings.TrimSuffix(file, ".txt")] = data
			}
			golden := filepath.Join("testdata", r.dir, "requests.golden")
			said := r.run(t, recorded)
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(said), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Equal(t, string(want), said, "`go test ./client/provider -update` writes %s anew", golden)
			for variant, answer := range recorded {
				name, _, other := strings.Cut(variant, "-")
				if other {
					t.Run(variant, func(t *testing.T) {
						varied := maps.Clone(recorded)
						varied[name] = answer
						r.run(t, varied)
					})
				}
			}
		})
	}
}

// run replays answers and returns what was asked.
func (r replay) run(t *testing.T, answers map[string][]byte) (said string) {
	synctest.Test(t, func(t *testing.T) {
		s := &server{replay: r, answers: answers}
		s.network = newNetwork(t, s)
		c, err := client.New(client.Config{
			Provider: r.provider, ClientID: "client-1", ClientSecret: "secret-1", Scopes: []string{"alpha", "beta"},
			RedirectURL: "https://app.example/callback", AuthServerClient: &http.Client{Transport: s.transport},
		})
		require.NoError(t, err)
		defer func() { require.NoError(t, c.Close(t.Context())) }()
		s.alice = c.Session("alice")
		s.api = s.alice.Wrap(&http.Client{Transport: s.transport})
		s.login(t)
		s.call(t)
		s.limit(t)
		if r.without["rejected"] == "" {
			s.reject(t)
		} else {
			s.renew(t)
		}
		if r.without["dead"] == "" {
			s.end(t)
		}
		said = s.said.String()
	})
	return said
}

// server plays the provider: its token endpoint and its API.
type server struct {
	replay
	*network
	answers map[string][]byte
	alice   *client.Session
	api     *http.Client

	mu       sync.Mutex // guards what follows
	refresh  string     // the case that a refresh is answered with
	deny     string     // the case that the API answers with if the token is the one below; "": it is content
	denied   string     // an access token
	last     asked      // the newest request of the token endpoint
	tokens   int        // how many there were
	used     []string   // the access tokens that the API was shown
	said     strings.Builder
	recorded map[string]bool // what said has already
}

// asked is a request of a token endpoint.
type asked struct {
	address string
	form    map[string]string
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	api, _ := url.Parse(s.replay.api)
	body, _ := io.ReadAll(r.Body)
	answer := []byte("HTTP/1.1 200 OK\nContent-Type: application/json\n\n{\"fine\":true}\n")
	switch {
	case strings.Contains(r.URL.Path, "/.well-known/"):
		answer = s.answers["metadata"]
	case r.Host == api.Host && r.URL.Path == api.Path:
		s.record("api", r, body)
		s.used = append(s.used, tokenOf(r))
		if s.deny != "" && tokenOf(r) == s.denied {
			answer = s.answers[s.deny]
		}
	default:
		s.tokens++
		s.last = asked{"https://" + r.Host + r.URL.Path, parameters(r, body)}
		if s.last.form["code"] != "" {
			s.record("code", r, body)
			answer = s.answers["login"]
		} else {
			s.record("refresh", r, body)
			answer = s.answers[s.refresh]
		}
	}
	if answer == nil {
		answer = []byte("HTTP/1.1 404 Not Found\n\n")
	}
	if err := send(w, answer); err != nil {
		panic(err)
	}
}

// access is an access token in a header field.
var access = regexp.MustCompile(`access-[0-9]`)

// tokenOf is the access token of a request.
func tokenOf(r *http.Request) string {
	for name, values := range r.Header {
		if token := access.FindString(strings.Join(values, "")); token != "" && name != "" {
			return token
		}
	}
	return ""
}

// parameters are those of a token request, whichever way it is written.
func parameters(r *http.Request, body []byte) map[string]string {
	found := make(map[string]string)
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		_ = json.Unmarshal(body, &found)
		return found
	}
	form, _ := url.ParseQuery(string(body))
	for name := range form {
		found[name] = form.Get(name)
	}
	return found
}

// random are parameters that differ every time.
var random = []string{"state", "code_challenge", "code_verifier", "nonce"}

// written shows parameters, one a line.
func written(params map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(params)) {
		value := params[name]
		if slices.Contains(random, name) {
			value = "..."
		}
		fmt.Fprintf(&b, "  %s=%s\n", name, value)
	}
	return b.String()
}

// record writes the first request of a kind down, as far as it is the profile's doing.
func (s *server) record(kind string, r *http.Request, body []byte) {
	if s.recorded[kind] {
		return
	}
	if s.recorded == nil {
		s.recorded = make(map[string]bool)
	}
	s.recorded[kind] = true
	fmt.Fprintf(&s.said, "%s: %s https://%s%s\n", kind, r.Method, r.Host, r.URL)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		value := strings.Join(r.Header[name], ", ")
		if basic, ok := strings.CutPrefix(value, "Basic "); ok {
			plain, _ := base64.StdEncoding.DecodeString(basic)
			value = "Basic of " + string(plain)
		}
		if !slices.Contains([]string{"Accept-Encoding", "Content-Length", "User-Agent"}, name) {
			fmt.Fprintf(&s.said, "  %s: %s\n", name, value)
		}
	}
	if len(body) > 0 {
		s.said.WriteString(written(parameters(r, body)))
	}
}

// state is what is guarded, for tests.
func (s *server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// login goes through the code flow.
func (s *server) login(t *testing.T) {
	pending, err := s.alice.Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	address, err := url.Parse(pending.URL)
	require.NoError(t, err)
	params := make(map[string]string)
	for name, values := range address.Query() {
		require.Len(t, values, 1, name)
		params[name] = values[0]
	}
	fmt.Fprintf(&s.said, "authorize: https://%s%s\n%s", address.Host, address.Path, written(params))

	code := s.provider.Authorization.CodeParam
	if code == "" {
		code = "code"
	}
	callback := url.Values{"state": {params["state"]}, code: {"code-1"}}
	maps.Copy(callback, s.callback)
	begun := time.Now()
	require.NoError(t, s.alice.Finish(t.Context(), pending, callback))

	status, err := s.alice.Status(t.Context())
	require.NoError(t, err)
	require.True(t, status.LoggedIn)
	if bytes.Contains(s.answers["login"], []byte("alpha")) {
		require.Equal(t, []string{"alpha", "beta"}, status.Scopes)
	}
	if s.life == 0 {
		require.Zero(t, status.Expiry)
	} else {
		require.WithinDuration(t, begun.Add(s.life), status.Expiry, 2*time.Second)
	}
	token, err := s.alice.Token(t.Context())
	require.NoError(t, err)
	require.Equal(t, "access-1", token.AccessToken)
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
	s.set(func() { s.deny, s.denied, s.refresh = "rejected", "access-1", "renewed" })
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
	s.set(func() { s.refresh = "renewed" })
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
	name := s.provider.Request.RefreshParam
	if name == "" {
		name = "refresh_token"
	}
	return s.last.form[name]
}

// end has the grant end, after a time of too many requests if there is an answer for that.
func (s *server) end(t *testing.T) {
	newest := s.refreshToken("renewed", s.refreshToken("login", "access-1"))
	if newest == "access-1" {
		newest = "access-2" // access tokens are exchanged for others
	}
	if s.answers["throttled"] != nil {
		time.Sleep(20 * time.Minute)
		s.set(func() { s.refresh = "throttled" })
		_, err := s.alice.Renew(t.Context(), nil)
		require.Error(t, err)
		require.NotErrorIs(t, err, client.ErrLoginRequired)
	}
	time.Sleep(20 * time.Minute)
	s.set(func() { s.deny, s.denied, s.refresh = "rejected", "access-2", "dead" })
	if s.doubtful {
		_, err := s.ask(t)
		require.Error(t, err)
		require.NotErrorIs(t, err, client.ErrLoginRequired)
		time.Sleep(time.Minute)
	}
	_, err := s.ask(t)
	require.ErrorIs(t, err, client.ErrLoginRequired)
	require.Equal(t, newest, s.presented())
	before := s.tokens
	_, err = s.ask(t)
	require.ErrorIs(t, err, client.ErrLoginRequired)
	require.Equal(t, before, s.tokens, "a dead refresh token was sent again")
}

// ask is a request of the API, or a renewal where there is none.
func (s *server) ask(t *testing.T) (int, error) {
	if s.without["rejected"] != "" {
		_, err := s.alice.Renew(t.Context(), nil)
		return 0, err
	}
	status, _, err := s.get(t.Context())
	return status, err
}

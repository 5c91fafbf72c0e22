package provider_test

import (
	"context"
	"flag"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
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
	"stale":     "its answer to a code that is not good any more",
	"stranger":  "its answer to a wrong client secret",
	"device":    "the device authorization endpoint's answer; it has no other shape",
	"revoked":   "the revocation endpoint's answer, if it says anything; it has no other shape",
	"metadata":  "the issuer's metadata; it has no other shape",
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
	refresh  time.Duration     // the life of the first refresh token; 0: not said
	ahead    time.Duration     // how long before its end a token is renewed; 0: five minutes
	iss      string            // the issuer that callbacks name, of a server without metadata
	says     string            // a part of what a dead grant's error tells of itself
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
	{dir: "facebook", provider: provider.Facebook, api: "https://graph.facebook.com/v22.0/me", life: 5183944 * time.Second, ahead: 7 * 24 * time.Hour, says: ": Error validating"},
	{dir: "figma", provider: provider.Figma, api: "https://api.figma.com/v1/me", life: 90 * 24 * time.Hour},
	{dir: "github", provider: provider.GitHub, api: "https://api.github.com/user", life: 8 * time.Hour, refresh: 183 * 24 * time.Hour, iss: "https://github.com/login/oauth"},
	{
		dir: "github-oauth", provider: provider.GitHub, api: "https://api.github.com/user",
		without: map[string]string{"renewed": noRefresh, "dead": noRefresh},
	},
	{dir: "gitlab", provider: provider.GitLab, api: "https://gitlab.com/api/v4/user", life: 2 * time.Hour},
	{dir: "google", provider: provider.Google, api: "https://www.googleapis.com/calendar/v3/users/me/calendarList", life: 3599 * time.Second},
	{dir: "hubspot", provider: provider.HubSpot, api: "https://api.hubapi.com/crm/v3/objects/contacts", life: 30 * time.Minute, says: "refresh token"},
	{
		dir: "intuit", provider: provider.Intuit, api: "https://quickbooks.api.intuit.com/v3/company/7/companyinfo/7", life: time.Hour, refresh: 101 * 24 * time.Hour,
		callback: url.Values{"realmId": {"7"}}, extra: map[string]any{"realmId": "7"},
	},
	{
		dir: "keycloak", provider: provider.Keycloak.With("host", "id.example.com").With("realm", "acme"), api: "https://api.acme.example/",
		life: 30 * time.Minute, refresh: 2 * time.Hour, without: map[string]string{"limited": "APIs are the customer's"}, unfound: "it runs anywhere",
	},
	{dir: "linear", provider: provider.Linear, api: "https://api.linear.app/graphql", life: 86399 * time.Second},
	{dir: "linkedin", provider: provider.LinkedIn, api: "https://api.linkedin.com/v2/userinfo", life: 60 * 24 * time.Hour, refresh: 365 * 24 * time.Hour},
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
	{dir: "shopify", provider: provider.Shopify.With("shop", "acme"), api: "https://acme.myshopify.com/admin/api/2026-07/shop.json", life: time.Hour, refresh: 90 * 24 * time.Hour},
	{dir: "slack", provider: provider.Slack, api: "https://slack.com/api/auth.test", life: 12 * time.Hour},
	{dir: "slack-openid", provider: provider.SlackOpenID, api: "https://slack.com/api/auth.test", life: 12 * time.Hour, unfound: "it is found by its issuer"},
	{dir: "spotify", provider: provider.Spotify, api: "https://api.spotify.com/v1/me", life: time.Hour},
	{dir: "stripe", provider: provider.Stripe, api: "https://api.stripe.com/v1/account", extra: map[string]any{"stripe_user_id": "acct_1"}},
	{dir: "tiktok", provider: provider.TikTok, api: "https://open.tiktokapis.com/v2/user/info/", life: 24 * time.Hour, refresh: 365 * 24 * time.Hour, extra: map[string]any{"open_id": "o"}},
	{dir: "twitch", provider: provider.Twitch, api: "https://api.twitch.tv/helix/users", life: 14124 * time.Second},
	{dir: "x", provider: provider.X, api: "https://api.x.com/2/users/me", life: 2 * time.Hour},
	{dir: "xero", provider: provider.Xero, api: "https://api.xero.com/connections", life: 30 * time.Minute},
	{dir: "zendesk", provider: provider.Zendesk.With("subdomain", "acme"), api: "https://acme.zendesk.com/api/v2/users/me.json", life: 24 * time.Hour},
	{
		dir: "zoho", provider: provider.Zoho.With("region", "eu"), api: "https://www.zohoapis.eu/crm/v2/users", life: time.Hour,
		callback: url.Values{"location": {"eu"}, "accounts-server": {"https://accounts.zoho.eu"}},
		extra:    map[string]any{"location": "eu", "accounts-server": "https://accounts.zoho.eu", "api_domain": "https://www.zohoapis.eu"},
	},
	{dir: "zoom", provider: provider.Zoom, api: "https://api.zoom.us/v2/users/me", life: 3599 * time.Second, says: "Invalid Token!"},
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
			known := cases[name] + optional[name]
			require.NotEmptyf(t, known, "testdata/%s/%s is of no case", r.dir, file)
			require.Truef(t, file == name+".txt" || !strings.Contains(known, "no other shape"), "testdata/%s/%s is not replayed", r.dir, file)
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
			said := r.run(t, recorded, "")
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
						r.run(t, varied, name)
					})
				}
			}
		})
	}
}

// run replays answers and returns what was asked. Where another shape of one case is replayed, that is done alone which the case
// is of.
func (r replay) run(t *testing.T, answers map[string][]byte, of string) (said string) {
	in := func(f func(*server, *testing.T)) {
		synctest.Test(t, func(t *testing.T) {
			s := r.serve(t, answers)
			f(s, t)
			said += s.said.String()
		})
	}
	if of == "" || cases[of] != "" || of == "throttled" {
		in((*server).live)
	}
	if (of == "" || of == "stale" || of == "stranger") && (answers["stale"] != nil || answers["stranger"] != nil) {
		in((*server).refuse)
	}
	if of != "" {
		return said
	}
	if r.life > 0 && r.without["rejected"] == "" {
		in((*server).age)
	}
	if r.refresh > 0 {
		in((*server).expire)
	}
	if answers["device"] != nil {
		in((*server).confirm)
	}
	in((*server).logout)
	if r.unfound == "" && r.provider.Values == nil {
		in((*server).find)
	}
	return said
}

// serve begins to play the provider, to a session.
func (r replay) serve(t *testing.T, answers map[string][]byte) *server {
	s := &server{replay: r, answers: answers}
	c, err := client.New(client.Config{
		Provider: r.provider, ClientID: "client-1", ClientSecret: "secret-1", Scopes: []string{"alpha", "beta"},
		RedirectURL: "https://app.example/callback", AuthServerClient: &http.Client{Transport: s},
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) })
	s.alice = c.Session("alice")
	s.api = s.alice.Wrap(&http.Client{Transport: s})
	return s
}

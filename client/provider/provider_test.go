package provider_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/endpoints"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/provider"
)

func TestForFindsByIssuerAndHost(t *testing.T) {
	for _, tt := range []struct {
		name, issuer, tokenURL string
		want                   *provider.Provider
	}{
		{name: "an issuer", issuer: "https://accounts.google.com", want: provider.Google},
		{name: "an issuer of a known host", issuer: "https://github.com/another", want: provider.GitHub},
		{name: "a token endpoint", tokenURL: "https://slack.com/api/oauth.v2.access", want: provider.Slack},
		{name: "a token endpoint in capitals", tokenURL: "https://SLACK.com/api/oauth.v2.access", want: provider.Slack},
		{name: "with its port", tokenURL: "https://slack.com:443/api/oauth.v2.access", want: provider.Slack},
		{name: "an older token endpoint", tokenURL: "https://accounts.google.com/o/oauth2/token", want: provider.Google},
		{name: "another older one", tokenURL: "https://www.googleapis.com/oauth2/v4/token", want: provider.Google},
		{name: "a region whose hosts are called otherwise", tokenURL: "https://accounts.zohocloud.ca/oauth/v2/token", want: provider.Zoho},
		{name: "a tenant's own host", tokenURL: "https://acme.b2clogin.com/acme.onmicrosoft.com/sign-in/oauth2/v2.0/token", want: provider.Microsoft},
		{name: "another issuer at a token endpoint that is known", issuer: "https://login.example", tokenURL: "https://slack.com/token", want: provider.Slack},
		{name: "another port", tokenURL: "https://slack.com:8443/api/oauth.v2.access"},
		{name: "a host with more before it", tokenURL: "https://evilslack.com/api/oauth.v2.access"},
		{name: "a host with more behind it", tokenURL: "https://slack.com.example/api/oauth.v2.access"},
		{name: "a host that lowers to it under Unicode", tokenURL: "https://g\u0130thub.com/login/oauth/access_token"},
		{name: "a host as user", tokenURL: "https://slack.com@evil.example/"},
		{name: "a host below it", tokenURL: "https://api.slack.com/"},
		{name: "nothing"},
		{name: "no address", tokenURL: "://"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Same(t, tt.want, provider.For(tt.issuer, tt.tokenURL))
		})
	}
}

func TestWithLeavesTheProfileAlone(t *testing.T) {
	one := provider.Slack.With("shop", "acme")
	two := one.With("shop", "other")
	require.Nil(t, provider.Slack.Values)
	require.Equal(t, "acme", one.Values["shop"])
	require.Equal(t, "other", two.Values["shop"])
	require.Equal(t, provider.Slack.TokenHosts, two.TokenHosts)
}

// Where golang.org/x/oauth2 has the endpoints of a server that is known here, they are the same.
func TestEndpointsAreThoseOfOAuth2(t *testing.T) {
	for _, row := range []struct {
		profile  *provider.Provider
		name     string
		value    string
		endpoint oauth2.Endpoint
	}{
		{provider.GitLab, "host", "gitlab.com", endpoints.GitLab},
		{provider.Microsoft, "tenant", "acme.example", endpoints.AzureAD("acme.example")},
		{provider.Shopify, "shop", "acme", endpoints.Shopify("acme.myshopify.com")},
		{provider.Apple, "", "", endpoints.Apple},
		{provider.Bitbucket, "", "", endpoints.Bitbucket},
		{provider.Discord, "", "", endpoints.Discord},
		{provider.Dropbox, "", "", endpoints.Dropbox},
		{provider.Facebook, "", "", endpoints.Facebook},
		{provider.GitHub, "", "", endpoints.GitHub},
		{provider.Google, "", "", endpoints.Google},
		{provider.LinkedIn, "", "", endpoints.LinkedIn},
		{provider.Mailchimp, "", "", endpoints.Mailchimp},
		{provider.Slack, "", "", endpoints.Slack},
		{provider.Spotify, "", "", endpoints.Spotify},
		{provider.Twitch, "", "", endpoints.Twitch},
		{provider.X, "", "", endpoints.X},
		{provider.Zoom, "", "", endpoints.Zoom},
	} {
		at := func(address string) string { return strings.ReplaceAll(address, "{"+row.name+"}", row.value) }
		filled := oauth2.Endpoint{
			AuthURL: at(row.profile.Endpoint.AuthURL), TokenURL: at(row.profile.Endpoint.TokenURL),
			DeviceAuthURL: at(row.profile.Endpoint.DeviceAuthURL), AuthStyle: row.profile.Endpoint.AuthStyle,
		}
		require.Equal(t, row.endpoint, filled, row.profile.Name)
		require.Same(t, row.profile, provider.For("", row.endpoint.TokenURL))
	}
}

// Files that issues hold lie on a host of their own, which asks for the token, too.
func TestLinearsUploadsGetTheToken(t *testing.T) {
	require.Contains(t, provider.Linear.API.Hosts, "uploads.linear.app")
}

// LinkedIn's id tokens have no nonce to compare, and its token endpoint takes no verifier beside a secret.
func TestLinkedInIsAskedWithoutNonce(t *testing.T) {
	c, err := client.New(client.Config{
		Provider: provider.LinkedIn, ClientID: "app", ClientSecret: "secret", Scopes: []string{"openid"}, RedirectURL: "https://app.example/callback",
	})
	require.NoError(t, err)
	p, err := c.Session("alice").Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	asked, err := url.Parse(p.URL)
	require.NoError(t, err)
	require.Equal(t, "www.linkedin.com", asked.Host)
	require.False(t, asked.Query().Has("nonce"))
	require.False(t, asked.Query().Has("code_challenge"))
	require.NotEmpty(t, asked.Query().Get("state"))
}

// Installed apps at Reddit have a client id and nothing more.
func TestRedditTakesAnEmptySecret(t *testing.T) {
	var sent *http.Request
	reddit := roundTrip(func(req *http.Request) (*http.Response, error) {
		sent = req
		answer := `{"access_token":"access-1","token_type":"bearer","refresh_token":"refresh-1","expires_in":86400}`
		return &http.Response{
			StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(answer)), Request: req,
		}, nil
	})
	c, err := client.New(client.Config{
		Provider: provider.Reddit, ClientID: "app", RedirectURL: "https://app.example/callback", AuthServerClient: &http.Client{Transport: reddit},
	})
	require.NoError(t, err)
	p, err := c.Session("alice").Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	asked, err := url.Parse(p.URL)
	require.NoError(t, err)
	require.NoError(t, c.Session("alice").Finish(t.Context(), p, url.Values{"state": asked.Query()["state"], "code": {"code-1"}}))
	id, secret, ok := sent.BasicAuth()
	require.True(t, ok)
	require.Equal(t, []string{"app", ""}, []string{id, secret})
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

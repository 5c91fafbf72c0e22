package client_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
)

func good() client.Config {
	return client.Config{Issuer: "https://as.example", ClientID: "app"}
}

// Shows R6749-3.1-3, R6749-3.1.2-1, R6749-3.1.2.1-1, R6749-3.2-3, R9700-2.6-3, O21-1.5-1, MCP25-SEC-2.
func TestNewNamesTheFieldThatCannotBeRight(t *testing.T) {
	for name, row := range map[string]struct {
		field string
		spoil func(*client.Config)
	}{
		"no client id":               {"Config.ClientID", func(c *client.Config) { c.ClientID = "" }},
		"no server":                  {"Config.Issuer", func(c *client.Config) { c.Issuer = "" }},
		"issuer over plain http":     {"Config.Issuer", func(c *client.Config) { c.Issuer = "http://as.example" }},
		"issuer with a query":        {"Config.Issuer", func(c *client.Config) { c.Issuer += "?x=1" }},
		"issuer without scheme":      {"Config.Issuer", func(c *client.Config) { c.Issuer = "as.example" }},
		"issuer with credentials":    {"Config.Issuer", func(c *client.Config) { c.Issuer = "https://u:p@as.example" }},
		"token URL over plain http":  {"Config.Endpoint.TokenURL", func(c *client.Config) { c.Endpoint.TokenURL = "http://as.example/t" }},
		"auth URL with a fragment":   {"Config.Endpoint.AuthURL", func(c *client.Config) { c.Endpoint.AuthURL = "https://as.example/a#x" }},
		"auth URL of another scheme": {"Config.Endpoint.AuthURL", func(c *client.Config) { c.Endpoint.AuthURL = "javascript:alert(1)" }},
		"device URL not absolute":    {"Config.Endpoint.DeviceAuthURL", func(c *client.Config) { c.Endpoint.DeviceAuthURL = "/device" }},
		"revocation URL":             {"Config.RevocationURL", func(c *client.Config) { c.RevocationURL = "ftp://as.example" }},
		"auth style":                 {"Config.Endpoint.AuthStyle", func(c *client.Config) { c.Endpoint.AuthStyle = 7 }},
		"redirect over plain http":   {"Config.RedirectURL", func(c *client.Config) { c.RedirectURL = "http://app.example/cb" }},
		"redirect with a fragment":   {"Config.RedirectURL", func(c *client.Config) { c.RedirectURL = "https://app.example/cb#" }},
		"redirect not absolute":      {"Config.RedirectURL", func(c *client.Config) { c.RedirectURL = "/cb" }},
		"two scopes in one":          {"Config.Scopes", func(c *client.Config) { c.Scopes = []string{"a b"} }},
		"origin with a path":         {"Config.Origins", func(c *client.Config) { c.Origins = []string{"https://api.example/v1"} }},
		"grant of a public client":   {"Config.ClientSecret", func(c *client.Config) { c.Grant = client.ClientCredentials{} }},
		"parameter that is reserved": {"ClientCredentials.Params", func(c *client.Config) {
			c.ClientSecret = "x"
			c.Grant = client.ClientCredentials{Params: url.Values{"scope": {"a"}}}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			config := good()
			row.spoil(&config)
			_, err := client.New(config)
			e, ok := errors.AsType[*client.ConfigError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, row.field, e.Field)
			require.NotEmpty(t, e.Reason)
		})
	}
}

// A Config shows no password that somebody has written into an address, be it one that New refuses.
func TestAConfigShowsNoCredentials_I10(t *testing.T) {
	for _, address := range []string{"https://user:pa55word@as.example", "https://user:pa55word@as.example/%zz", "https://user:pa55word@as.example:port/"} {
		for name, config := range map[string]client.Config{
			"issuer":   {Issuer: address, ClientID: "app"},
			"token":    {Endpoint: oauth2.Endpoint{TokenURL: address}, ClientID: "app"},
			"resource": {Resource: address},
			"both":     {Resource: "https://api.example", Issuer: address, ClientID: "app"},
		} {
			text, err := json.Marshal(config)
			require.NoError(t, err)
			_, refused := client.New(config)
			require.Error(t, refused)
			for _, shown := range []string{fmt.Sprintf("%v %+v %#v %s", config, config, config, config), string(text), config.LogValue().String(), refused.Error()} {
				require.NotContains(t, shown, "pa55word", name)
			}
		}
	}
}

func TestNewReportsEveryField(t *testing.T) {
	_, err := client.New(client.Config{RedirectURL: "/cb"})
	for _, field := range []string{"Config.ClientID", "Config.Issuer", "Config.RedirectURL"} {
		require.ErrorContains(t, err, field)
	}
}

func TestAConfigErrorSaysWhatToWrite(t *testing.T) {
	for name, row := range map[string]struct {
		spoil func(*client.Config)
		says  string
	}{
		"no server": {
			func(c *client.Config) { c.Issuer = "" },
			"Config.Issuer is empty, and none of Endpoint.TokenURL, Resource and Provider says where to go; set one of them",
		},
		"issuer without scheme": {
			func(c *client.Config) { c.Issuer = "as.example" },
			"Config.Issuer is not an absolute URL; write it with its scheme, as in https://accounts.example.com",
		},
		"secret of no client": {
			func(c *client.Config) {
				c.Issuer, c.Resource, c.ClientID, c.ClientSecret = "", "https://mcp.example", "", "hush"
			},
			"Config.ClientSecret belongs to no client",
		},
	} {
		t.Run(name, func(t *testing.T) {
			config := good()
			row.spoil(&config)
			_, err := client.New(config)
			require.ErrorContains(t, err, row.says)
		})
	}
}

// Whoever comes from x/oauth2 looks for a place for the state.
func TestParamsOfALoginSayWhyTheyAreRefused(t *testing.T) {
	config := good()
	config.RedirectURL = "https://app.example/cb"
	c, err := client.New(config)
	require.NoError(t, err)
	for name, says := range map[string]string{
		"state":          "sets state, which is made anew for each login; keep data of your own beside the Pending",
		"code_challenge": "sets code_challenge, which is made anew for each login",
		"client_id":      "sets client_id, which is set from the Config",
		"request":        "sets request, which is not offered (RFC 9101)",
	} {
		_, err := c.Session("").Start(t.Context(), client.AuthCode{Params: url.Values{name: {"x"}}})
		require.ErrorContains(t, err, says)
	}
}

// Shows R6749-3.1.2.1-1.
func TestNewAcceptsWhatIsSafe(t *testing.T) {
	for name, config := range map[string]client.Config{
		"issuer":             good(),
		"loopback":           {Issuer: "http://127.0.0.1:8080", ClientID: "app", RedirectURL: "http://[::1]:0/cb"},
		"endpoint only":      {Endpoint: oauth2.Endpoint{TokenURL: "https://as.example/t?v=2"}, ClientID: "app"},
		"private-use scheme": {Issuer: "https://as.example", ClientID: "app", RedirectURL: "com.example.app:/cb"},
		"redirect query":     {Issuer: "https://as.example", ClientID: "app", RedirectURL: "https://app.example/cb?app=1"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := client.New(config)
			require.NoError(t, err)
		})
	}
}

func TestNewCopiesItsConfig(t *testing.T) {
	s := newStrict()
	config := s.config(nil)
	config.ClientSecret, config.Grant = "hush", client.ClientCredentials{Params: url.Values{"audience": {"a"}}}
	config.Scopes = []string{"read", "read", "write"}
	c := open(t, config)
	config.Scopes[0], config.ClientSecret = "admin", "other"
	config.Grant.(client.ClientCredentials).Params.Set("audience", "b")
	require.Equal(t, "AT1", token(t, c.Session("")))
	require.Equal(t, "read write", s.forms[0].Get("scope"))
	require.Equal(t, "a", s.forms[0].Get("audience"))
}

// Where tokens may go is said to New.
func TestNewCopiesTheOrigins_I7(t *testing.T) {
	d := newDesk()
	origins := []string{"https://api.test"}
	s := d.session(t, func(c *client.Config) { c.Origins = origins })
	origins[0] = "https://evil.test"
	for address, want := range map[string]string{"https://api.test/": "Bearer AT1", "https://evil.test/": ""} {
		var got string
		base := between{nil, func(req *http.Request) (*http.Response, error) {
			got = req.Header.Get("Authorization")
			return answer(http.StatusOK, nil, ""), nil
		}}
		resp, err := s.Wrap(&http.Client{Transport: base}).Get(address)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, want, got, address)
	}
}

func TestFromOAuth2(t *testing.T) {
	_, err := client.FromOAuth2(nil, nil)
	require.Error(t, err)
	s := newStrict()
	c, err := client.FromOAuth2(&oauth2.Config{ClientID: "app", Endpoint: s.config(nil).Endpoint}, nil)
	require.NoError(t, err)
	require.Equal(t, `client.Config(issuer "", token endpoint "https://as.test/token", client id "app")`, fmt.Sprint(s.config(nil)))
	require.NoError(t, c.Close(t.Context()))
}

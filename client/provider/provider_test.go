package provider_test

import (
	"testing"

	"github.com/stretchr/testify/require"

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
		{name: "another issuer at a token endpoint that is known", issuer: "https://login.example", tokenURL: "https://slack.com/token", want: provider.Slack},
		{name: "another port", tokenURL: "https://slack.com:8443/api/oauth.v2.access"},
		{name: "a host with more before it", tokenURL: "https://evilslack.com/api/oauth.v2.access"},
		{name: "a host with more behind it", tokenURL: "https://slack.com.example/api/oauth.v2.access"},
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

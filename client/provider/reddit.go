package provider

import "golang.org/x/oauth2"

// Reddit is the profile of Reddit. duration=permanent is what a refresh token is given for. Its API slows down programs whose
// User-Agent does not say who they are: set one. Installed apps have an empty secret.
var Reddit = &Provider{
	Name:       "Reddit",
	TokenHosts: []string{"www.reddit.com", "ssl.reddit.com"},
	Endpoint: oauth2.Endpoint{
		AuthURL:  "https://www.reddit.com/api/v1/authorize",
		TokenURL: "https://www.reddit.com/api/v1/access_token",
	},
	RevocationURL: "https://www.reddit.com/api/v1/revoke_token",
	SecretMethod:  "client_secret_basic",
	EmptySecret:   true,
	Authorization: Authorization{Params: map[string]string{"duration": "permanent"}},
	Answer: Answer{Errors: map[string]string{
		"400@refresh": "invalid_request", // not confirmed: that nothing else says so; it is asked twice, therefore
	}},
	API: API{Hosts: []string{"oauth.reddit.com"}},
}

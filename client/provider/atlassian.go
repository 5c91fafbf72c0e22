package provider

import (
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/endpoints"
)

// Atlassian is the profile of Jira and Confluence in the cloud (OAuth 2.0, 3LO). Refresh tokens need the scope offline_access.
// Which sites an account has, https://api.atlassian.com/oauth/token/accessible-resources tells.
var Atlassian = &Provider{
	Name:       "Atlassian",
	TokenHosts: []string{"auth.atlassian.com"},
	Endpoint: oauth2.Endpoint{
		AuthURL:  "https://auth.atlassian.com/authorize",
		TokenURL: "https://auth.atlassian.com/oauth/token",
	},
	SecretMethod:  "client_secret_post",
	Authorization: Authorization{Params: map[string]string{"audience": "api.atlassian.com", "prompt": "consent"}},
	Request:       Request{JSON: true},
	Answer: Answer{Errors: map[string]string{
		"unauthorized_client@refresh": "invalid_grant",  // said of a refresh token that is gone, under 403
		"access_denied":               "invalid_client", // a wrong secret
	}},
	API: API{Hosts: []string{"api.atlassian.com"}},
}

// Bitbucket is the profile of Bitbucket Cloud. Since May 2026 its refresh tokens are replaced at every use.
var Bitbucket = &Provider{
	Name:         "Bitbucket",
	TokenHosts:   []string{"bitbucket.org"},
	Endpoint:     endpoints.Bitbucket,
	SecretMethod: "client_secret_basic",
	Answer: Answer{
		Members: map[string]string{"scope": "scopes"}, // until May 2026
		Errors:  map[string]string{"invalid_request@refresh": "invalid_grant"},
	},
	API: API{Hosts: []string{"api.bitbucket.org"}},
}

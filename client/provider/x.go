package provider

import "golang.org/x/oauth2/endpoints"

// X is the profile of X, once Twitter. Refresh tokens need the scope offline.access.
var X = &Provider{
	Name:          "X",
	TokenHosts:    []string{"api.x.com", "api.twitter.com"},
	Endpoint:      endpoints.X,
	RevocationURL: "https://api.x.com/2/oauth2/revoke",
	SecretMethod:  "client_secret_basic",
	Answer: Answer{Errors: map[string]string{
		"invalid_request@refresh": "invalid_grant", // "Value passed for the token was invalid."
	}},
	API: API{Hosts: []string{"api.x.com", "api.twitter.com", "upload.x.com", "upload.twitter.com"}},
}

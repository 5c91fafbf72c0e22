package provider

import "golang.org/x/oauth2/endpoints"

// GitHub is the profile of github.com, for OAuth apps, whose tokens do not expire, and for GitHub Apps, whose tokens of users last
// eight hours and are renewed. Its errors come with the status 200.
var GitHub = &Provider{
	Name:         "GitHub",
	Issuers:      []string{"https://github.com/login/oauth"},
	TokenHosts:   []string{"github.com"},
	Endpoint:     endpoints.GitHub,
	SecretMethod: "client_secret_post",
	Authorization: Authorization{
		Iss: "https://github.com/login/oauth",
	},
	Answer: Answer{
		ScopeSeparator: ",",
		Errors: map[string]string{
			"bad_refresh_token":            "invalid_grant",
			"bad_verification_code":        "invalid_grant",
			"incorrect_client_credentials": "invalid_client",
		},
	},
	API: API{Hosts: []string{"api.github.com", "uploads.github.com"}},
}

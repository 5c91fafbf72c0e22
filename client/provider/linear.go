package provider

import "golang.org/x/oauth2"

// Linear is the profile of Linear.
var Linear = &Provider{
	Name:       "Linear",
	TokenHosts: []string{"api.linear.app"},
	Endpoint: oauth2.Endpoint{
		AuthURL:  "https://linear.app/oauth/authorize",
		TokenURL: "https://api.linear.app/oauth/token",
	},
	RevocationURL: "https://api.linear.app/oauth/revoke",
	SecretMethod:  "client_secret_post",
	Authorization: Authorization{ScopeSeparator: ","},
	Answer:        Answer{ScopeSeparator: ","}, // not confirmed: spaces do as well
	API: API{
		Hosts: []string{"api.linear.app", "uploads.linear.app"},
		Rejected: []Rejection{
			{Status: 400, Path: "errors.0.extensions.code", Values: []string{"AUTHENTICATION_ERROR"}}, // not confirmed
		},
	},
}

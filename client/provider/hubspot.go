package provider

import "golang.org/x/oauth2"

// HubSpot is the profile of HubSpot apps, with the token endpoint of 2026-03. Version 1, which ends on 16 February 2027, had the codes of
// its errors in another member.
var HubSpot = &Provider{
	Name:       "HubSpot",
	TokenHosts: []string{"api.hubapi.com"},
	Endpoint: oauth2.Endpoint{
		AuthURL:  "https://app.hubspot.com/oauth/authorize",
		TokenURL: "https://api.hubapi.com/oauth/2026-03/token",
	},
	RevocationURL: "https://api.hubapi.com/oauth/2026-03/token/revoke",
	SecretMethod:  "client_secret_post",
	Answer: Answer{
		Members: map[string]string{"error": "status", "error_description": "message"},
		Errors: map[string]string{
			"BAD_REFRESH_TOKEN": "invalid_grant",
			"BAD_AUTH_CODE":     "invalid_grant",  // not confirmed
			"BAD_CLIENT_ID":     "invalid_client", // not confirmed
			"BAD_CLIENT_SECRET": "invalid_client", // not confirmed
		},
	},
	API: API{Hosts: []string{"api.hubapi.com"}},
}

package provider

import "golang.org/x/oauth2/endpoints"

// Zoom is the profile of Zoom apps of users. The grant account_credentials of its server-to-server apps is none that is offered.
var Zoom = &Provider{
	Name:          "Zoom",
	TokenHosts:    []string{"zoom.us"},
	Endpoint:      endpoints.Zoom,
	RevocationURL: "https://zoom.us/oauth/revoke",
	SecretMethod:  "client_secret_basic",
	Answer: Answer{
		Members: map[string]string{"error_description": "reason"},
		Errors:  map[string]string{"invalid_request@refresh": "invalid_grant"}, // not confirmed: under 401, until 2022
	},
	API: API{Hosts: []string{"zoom.us", "*.zoom.us"}},
}

package provider

import "golang.org/x/oauth2/endpoints"

// Zoom is the profile of Zoom apps of users. The grant account_credentials of its server-to-server apps is none that is offered.
var Zoom = &Provider{
	Name:          "Zoom",
	TokenHosts:    []string{"zoom.us"},
	Endpoint:      endpoints.Zoom,
	RevocationURL: "https://zoom.us/oauth/revoke",
	SecretMethod:  "client_secret_basic",
	Answer:        Answer{Members: map[string]string{"error_description": "reason"}},
	API:           API{Hosts: []string{"zoom.us", "*.zoom.us"}},
}

package provider

import "golang.org/x/oauth2/endpoints"

// Google is the profile of Google accounts. Its issuer has metadata. access_type=offline is what a refresh token is given for, and
// prompt=consent has a new one given at every login: Google gives it with the first consent only.
var Google = &Provider{
	Name:          "Google",
	Issuers:       []string{"https://accounts.google.com"},
	TokenHosts:    []string{"oauth2.googleapis.com", "accounts.google.com", "www.googleapis.com"}, // older programs name the latter two
	Issuer:        "https://accounts.google.com",
	Endpoint:      endpoints.Google,
	RevocationURL: "https://oauth2.googleapis.com/revoke",
	SecretMethod:  "client_secret_post",
	Authorization: Authorization{Params: map[string]string{"access_type": "offline", "prompt": "consent"}},
}

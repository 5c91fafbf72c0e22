package provider

import "golang.org/x/oauth2/endpoints"

// Dropbox is the profile of Dropbox. token_access_type=offline is what a refresh token is given for.
var Dropbox = &Provider{
	Name:           "Dropbox",
	TokenHosts:     []string{"api.dropboxapi.com", "api.dropbox.com"},
	Endpoint:       endpoints.Dropbox,
	RevocationURL:  "https://api.dropboxapi.com/2/auth/token/revoke",
	RevokeByBearer: true,
	SecretMethod:   "client_secret_basic",
	Authorization:  Authorization{Params: map[string]string{"token_access_type": "offline"}},
	API:            API{Hosts: []string{"api.dropboxapi.com", "content.dropboxapi.com"}},
}

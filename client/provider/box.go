package provider

import "golang.org/x/oauth2"

// Box is the profile of Box. A refresh token is good for one use within 60 days.
var Box = &Provider{
	Name:       "Box",
	TokenHosts: []string{"api.box.com"},
	Endpoint: oauth2.Endpoint{
		AuthURL:  "https://account.box.com/api/oauth2/authorize",
		TokenURL: "https://api.box.com/oauth2/token",
	},
	RevocationURL: "https://api.box.com/oauth2/revoke",
	SecretMethod:  "client_secret_post",
	API:           API{Hosts: []string{"api.box.com", "upload.box.com"}},
}

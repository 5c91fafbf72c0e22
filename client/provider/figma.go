package provider

import "golang.org/x/oauth2"

// Figma is the profile of Figma, which renews tokens at an address of its own.
var Figma = &Provider{
	Name:       "Figma",
	TokenHosts: []string{"api.figma.com"},
	Endpoint: oauth2.Endpoint{
		AuthURL:  "https://www.figma.com/oauth",
		TokenURL: "https://api.figma.com/v1/oauth/token",
	},
	RefreshURL:    "https://api.figma.com/v1/oauth/refresh",
	SecretMethod:  "client_secret_basic",
	Authorization: Authorization{ScopeSeparator: ","},
	API:           API{Hosts: []string{"api.figma.com"}},
}

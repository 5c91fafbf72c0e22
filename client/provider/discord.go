package provider

import "golang.org/x/oauth2/endpoints"

// Discord is the profile of Discord. Revoking a token ends all of its grant. The tokens of bots are none of OAuth.
var Discord = &Provider{
	Name:          "Discord",
	TokenHosts:    []string{"discord.com"},
	Endpoint:      endpoints.Discord,
	RevocationURL: "https://discord.com/api/oauth2/token/revoke",
	SecretMethod:  "client_secret_basic",
	API:           API{Hosts: []string{"discord.com"}},
}

package provider

import "golang.org/x/oauth2"

// Notion is the profile of public connections to Notion. Its answers announce no lifetime. A program that wants another version of the
// API says so in the field Notion-Version of its requests.
var Notion = &Provider{
	Name:       "Notion",
	TokenHosts: []string{"api.notion.com"},
	Endpoint: oauth2.Endpoint{
		AuthURL:  "https://api.notion.com/v1/oauth/authorize",
		TokenURL: "https://api.notion.com/v1/oauth/token",
	},
	RevocationURL: "https://api.notion.com/v1/oauth/revoke",
	SecretMethod:  "client_secret_basic",
	Authorization: Authorization{Params: map[string]string{"owner": "user"}},
	Request:       Request{JSON: true, Header: map[string]string{"Notion-Version": "2022-06-28"}},
	API: API{
		Hosts:  []string{"api.notion.com"},
		Fields: map[string]string{"Notion-Version": "2022-06-28"},
	},
}

package provider

import "golang.org/x/oauth2"

// Zendesk is the profile of Zendesk. The variable subdomain is the customer's. Tokens expire where a lifetime is asked for, here a day,
// when they are given and when they are renewed.
var Zendesk = &Provider{
	Name:       "Zendesk",
	TokenHosts: []string{"*.zendesk.com"},
	Variables:  []Variable{{Name: "subdomain", Pattern: `[A-Za-z0-9][A-Za-z0-9-]*`}},
	Endpoint: oauth2.Endpoint{
		AuthURL:  "https://{subdomain}.zendesk.com/oauth/authorizations/new",
		TokenURL: "https://{subdomain}.zendesk.com/oauth/tokens",
	},
	SecretMethod: "client_secret_post",
	Request: Request{
		CodeParams:    map[string]string{"expires_in": "86400"},
		RefreshParams: map[string]string{"expires_in": "86400"},
	},
	API: API{Hosts: []string{"{subdomain}.zendesk.com"}},
}

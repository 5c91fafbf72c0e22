package provider

import "golang.org/x/oauth2/endpoints"

// Mailchimp is the profile of Mailchimp, whose tokens do not expire. Where the API of an account is,
// https://login.mailchimp.com/oauth2/metadata tells.
var Mailchimp = &Provider{
	Name:         "Mailchimp",
	TokenHosts:   []string{"login.mailchimp.com"},
	Endpoint:     endpoints.Mailchimp,
	SecretMethod: "client_secret_post",
	API: API{
		Hosts:  []string{"login.mailchimp.com", "*.api.mailchimp.com"},
		Header: "Authorization: OAuth {token}",
	},
}

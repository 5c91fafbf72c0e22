package provider

import "golang.org/x/oauth2"

// Salesforce is the profile of Salesforce. The variable domain is what stands before .salesforce.com: "login", "test" for
// sandboxes, or "acme.my" of an organization that has its own. Refresh tokens need the scope refresh_token or offline_access.
// Where the API is says the instance_url in the Extra of a token. How long tokens last is a setting of the organization that no
// answer tells, so that they are used until they are rejected.
var Salesforce = &Provider{
	Name:       "Salesforce",
	TokenHosts: []string{"*.salesforce.com"},
	Variables:  []Variable{{Name: "domain", Pattern: `login|test|[A-Za-z0-9-]+(\.[a-z]+)?\.my`, Default: "login"}},
	Endpoint: oauth2.Endpoint{
		AuthURL:  "https://{domain}.salesforce.com/services/oauth2/authorize",
		TokenURL: "https://{domain}.salesforce.com/services/oauth2/token",
	},
	RevocationURL: "https://{domain}.salesforce.com/services/oauth2/revoke",
	SecretMethod:  "client_secret_post",
	API: API{
		Hosts:    []string{"*.salesforce.com"},
		Rejected: []Rejection{{Status: 403, Text: "Bad_OAuth_Token"}}, // of the identity and UserInfo addresses
	},
}

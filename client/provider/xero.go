package provider

import "golang.org/x/oauth2"

// Xero is the profile of Xero. Refresh tokens need the scope offline_access. Requests name the organization in the field
// xero-tenant-id, which is the program's to set: https://api.xero.com/connections lists them.
var Xero = &Provider{
	Name:       "Xero",
	Issuers:    []string{"https://identity.xero.com"},
	TokenHosts: []string{"identity.xero.com"},
	Endpoint: oauth2.Endpoint{
		AuthURL:  "https://login.xero.com/identity/connect/authorize",
		TokenURL: "https://identity.xero.com/connect/token",
	},
	RevocationURL: "https://identity.xero.com/connect/revocation",
	SecretMethod:  "client_secret_basic",
	API:           API{Hosts: []string{"api.xero.com"}},
}

package provider

import "golang.org/x/oauth2"

// Intuit is the profile of QuickBooks. The company is the realmId in the Extra of a token. The value of a refresh token changes
// about once a day.
var Intuit = &Provider{
	Name:       "Intuit QuickBooks",
	TokenHosts: []string{"oauth.platform.intuit.com"},
	Endpoint: oauth2.Endpoint{
		AuthURL:  "https://appcenter.intuit.com/connect/oauth2",
		TokenURL: "https://oauth.platform.intuit.com/oauth2/v1/tokens/bearer",
	},
	SecretMethod:  "client_secret_basic",
	Authorization: Authorization{Keep: []string{"realmId"}},
	Answer:        Answer{Members: map[string]string{"refresh_token_expires_in": "x_refresh_token_expires_in"}},
	API:           API{Hosts: []string{"quickbooks.api.intuit.com", "sandbox-quickbooks.api.intuit.com"}},
}

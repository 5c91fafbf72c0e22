package provider

import "golang.org/x/oauth2"

// Shopify is the profile of apps for shops at Shopify, with offline access tokens that expire. The variable shop is what stands
// before .myshopify.com. The hmac of a callback is for the program to check.
var Shopify = &Provider{
	Name:       "Shopify",
	TokenHosts: []string{"*.myshopify.com"},
	Variables:  []Variable{{Name: "shop", Pattern: `[A-Za-z0-9][A-Za-z0-9-]*`}},
	Endpoint: oauth2.Endpoint{
		AuthURL:  "https://{shop}.myshopify.com/admin/oauth/authorize",
		TokenURL: "https://{shop}.myshopify.com/admin/oauth/access_token",
	},
	SecretMethod:  "client_secret_post",
	Authorization: Authorization{ScopeSeparator: ","},
	Request:       Request{CodeParams: map[string]string{"expiring": "1"}},
	Answer:        Answer{ScopeSeparator: ","},
	API: API{
		Hosts:  []string{"{shop}.myshopify.com"},
		Header: "X-Shopify-Access-Token: {token}",
	},
}

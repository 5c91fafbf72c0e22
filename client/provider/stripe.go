package provider

import "golang.org/x/oauth2"

// Stripe is the profile of Stripe Connect. The client secret is the platform's secret API key; the account is the stripe_user_id in
// the Extra of a token. Tokens do not expire. Stripe Apps, whose token endpoint is another and takes the key alone, are not
// covered.
var Stripe = &Provider{
	Name:       "Stripe Connect",
	TokenHosts: []string{"connect.stripe.com"},
	Endpoint: oauth2.Endpoint{
		AuthURL:  "https://connect.stripe.com/oauth/authorize",
		TokenURL: "https://connect.stripe.com/oauth/token",
	},
	SecretMethod: "client_secret_post",
	API:          API{Hosts: []string{"api.stripe.com", "files.stripe.com"}},
}

package provider

import "golang.org/x/oauth2/endpoints"

// Apple is the profile of Sign in with Apple. The client secret is a JWT that the program signs and that lasts at most six months.
// With scopes the answer comes as a form; its user, who is named at the first consent only, is in the Extra of the token.
var Apple = &Provider{
	Name:         "Apple",
	Issuers:      []string{"https://appleid.apple.com"},
	TokenHosts:   []string{"appleid.apple.com"},
	Issuer:       "https://appleid.apple.com",
	Endpoint:     endpoints.Apple,
	SecretMethod: "client_secret_post",
	Authorization: Authorization{
		Params: map[string]string{"response_mode": "form_post"},
		Keep:   []string{"user"},
	},
}

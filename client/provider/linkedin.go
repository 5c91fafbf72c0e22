package provider

import "golang.org/x/oauth2/endpoints"

// LinkedIn is the profile of LinkedIn. It has refresh tokens for approved partners only; they end a year after the login,
// however often they are used. Its web flow refuses a token request with a code_verifier as coming from a wrong client, so that
// logins go without PKCE; its id tokens have no nonce.
var LinkedIn = &Provider{
	Name:          "LinkedIn",
	Issuers:       []string{"https://www.linkedin.com/oauth"},
	TokenHosts:    []string{"www.linkedin.com"},
	Endpoint:      endpoints.LinkedIn,
	SecretMethod:  "client_secret_post", // metadata does not say so
	Authorization: Authorization{NoPKCE: true, NoNonce: true},
	API:           API{Hosts: []string{"api.linkedin.com"}},
}

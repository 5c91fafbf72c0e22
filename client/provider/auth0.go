package provider

// Auth0 is the profile of Auth0: the variable domain is the tenant's ("acme.eu.auth0.com", or one of its own). Access tokens are for
// the API that the parameter "audience" of the authorization request names. Refresh tokens need the scope offline_access.
var Auth0 = &Provider{
	Name:       "Auth0",
	TokenHosts: []string{"*.auth0.com"},
	Variables:  []Variable{{Name: "domain", Pattern: hostPattern}},
	Issuer:     "https://{domain}/",
}

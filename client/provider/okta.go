package provider

// Okta is the profile of authorization servers of Okta: the variable domain is the organization's ("acme.okta.com"), server the
// id of its authorization server. For the organization's own, set Config.Issuer. No host tells that a domain of the
// organization's own ("id.acme.com") is Okta's: set Config.Provider there. Refresh tokens need the scope offline_access.
var Okta = &Provider{
	Name:       "Okta",
	TokenHosts: []string{"*.okta.com", "*.oktapreview.com", "*.okta-emea.com"},
	Variables: []Variable{
		{Name: "domain", Pattern: hostPattern},
		{Name: "server", Pattern: `[A-Za-z0-9]+`, Default: "default"},
	},
	Issuer:          "https://{domain}/oauth2/{server}",
	AssertionForURL: true,
}

package provider

import "golang.org/x/oauth2"

// GitLab is the profile of gitlab.com and, by the variable host, of servers that customers run themselves. Its issuer has
// metadata.
var GitLab = &Provider{
	Name:       "GitLab",
	Issuers:    []string{"https://gitlab.com"},
	TokenHosts: []string{"gitlab.com"},
	Variables:  []Variable{{Name: "host", Pattern: hostPattern, Default: "gitlab.com"}},
	Issuer:     "https://{host}",
	Endpoint: oauth2.Endpoint{
		AuthURL:       "https://{host}/oauth/authorize",
		TokenURL:      "https://{host}/oauth/token",
		DeviceAuthURL: "https://{host}/oauth/authorize_device",
	},
	RevocationURL: "https://{host}/oauth/revoke",
	API:           API{Hosts: []string{"{host}"}},
}

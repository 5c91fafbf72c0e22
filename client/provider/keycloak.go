package provider

// Keycloak is the profile of Keycloak, which differs in nothing and is found by no address: its variables host and realm make an
// issuer. To set Config.Issuer is as good.
var Keycloak = &Provider{
	Name: "Keycloak",
	Variables: []Variable{
		{Name: "host", Pattern: hostPattern},
		{Name: "realm", Pattern: `[A-Za-z0-9][A-Za-z0-9._~-]*`},
	},
	Issuer: "https://{host}/realms/{realm}",
}

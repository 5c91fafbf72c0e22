package provider

// Keycloak is the profile of Keycloak, which is found by no address: name it, with the variables host and realm, or set
// Config.Issuer alone if the lifetime of refresh tokens does not matter.
var Keycloak = &Provider{
	Name: "Keycloak",
	Variables: []Variable{
		{Name: "host", Pattern: hostPattern},
		{Name: "realm", Pattern: `[A-Za-z0-9][A-Za-z0-9._~-]*`},
	},
	Issuer: "https://{host}/realms/{realm}",
	Answer: Answer{Members: map[string]string{"refresh_token_expires_in": "refresh_expires_in"}},
}

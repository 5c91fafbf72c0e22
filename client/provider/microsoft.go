package provider

import "golang.org/x/oauth2"

// Microsoft is the profile of Microsoft Entra ID, its External ID and Azure AD B2C, and of Microsoft accounts. The variable tenant is a directory by its id or
// one of its domains, or "common", "organizations" or "consumers". Refresh tokens need the scope offline_access. For id tokens
// that are checked, set Config.Issuer to https://login.microsoftonline.com/ with the id of the directory and /v2.0.
var Microsoft = &Provider{
	Name: "Microsoft Entra ID",
	TokenHosts: []string{
		"login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn", "login.chinacloudapi.cn",
		"*.ciamlogin.com", "*.b2clogin.com",
	},
	Variables: []Variable{{Name: "tenant", Pattern: `[A-Za-z0-9][A-Za-z0-9.-]*`, Default: "common"}},
	Endpoint: oauth2.Endpoint{
		AuthURL:       "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize",
		TokenURL:      "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/token",
		DeviceAuthURL: "https://login.microsoftonline.com/{tenant}/oauth2/v2.0/devicecode",
	},
	SecretMethod:         "client_secret_post",
	AssertionForEndpoint: true,
	AssertionType:        "JWT",
	// Tenants that let nobody but administrators consent refuse a person who is asked for it again (AADSTS90094).
	Authorization: Authorization{RefreshWithoutConsent: true},
	Answer: Answer{Errors: map[string]string{
		"interaction_required@refresh": "invalid_grant", // nobody but a person gets on from there
		"consent_required@refresh":     "invalid_grant", // not confirmed
	}},
}

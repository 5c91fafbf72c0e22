package provider

import "golang.org/x/oauth2"

// Zoho is the profile of Zoho, whose data centres have hosts of their own: the variable region is the end of theirs ("com", "eu",
// "com.au"). Canada's are called otherwise: set Config.Endpoint and RevocationURL to what lies at accounts.zohocloud.ca, and Origins to
// https://www.zohoapis.ca. Where the API is, the api_domain in the Extra of a token says. Do not ask for more than ten access tokens in ten minutes.
var Zoho = &Provider{
	Name: "Zoho",
	TokenHosts: []string{
		"accounts.zoho.com", "accounts.zoho.eu", "accounts.zoho.in", "accounts.zoho.com.au", "accounts.zoho.jp",
		"accounts.zoho.com.cn", "accounts.zoho.sa", "accounts.zoho.uk", "accounts.zohocloud.ca",
	},
	Variables: []Variable{{Name: "region", Pattern: `com|eu|in|jp|sa|uk|com\.au|com\.cn`, Default: "com"}},
	Endpoint: oauth2.Endpoint{
		AuthURL:  "https://accounts.zoho.{region}/oauth/v2/auth",
		TokenURL: "https://accounts.zoho.{region}/oauth/v2/token",
	},
	RevocationURL: "https://accounts.zoho.{region}/oauth/v2/token/revoke",
	SecretMethod:  "client_secret_post",
	Authorization: Authorization{
		Params:         map[string]string{"access_type": "offline", "prompt": "consent"},
		ScopeSeparator: ",", // not confirmed
		Keep:           []string{"location", "accounts-server"},
	},
	Answer: Answer{
		Members: map[string]string{"expires_in": "expires_in_sec"}, // not confirmed: beside an expires_in in milliseconds
		Errors: map[string]string{
			"invalid_code":          "invalid_grant",           // not confirmed: under 200, of refresh tokens too
			"invalid_client_secret": "invalid_client",          // not confirmed
			"Access Denied":         "temporarily_unavailable", // too many requests
		},
	},
	API: API{
		Hosts:  []string{"*.zohoapis.{region}", "*.zoho.{region}"},
		Header: "Authorization: Zoho-oauthtoken {token}",
	},
}

package provider

import "golang.org/x/oauth2"

// TikTok is the profile of TikTok's Login Kit for the web. Its PKCE is for desktop programs and finds the S256 of RFC 7636
// wrong, so that logins go without.
var TikTok = &Provider{
	Name:       "TikTok",
	TokenHosts: []string{"open.tiktokapis.com"},
	Endpoint: oauth2.Endpoint{
		AuthURL:  "https://www.tiktok.com/v2/auth/authorize/",
		TokenURL: "https://open.tiktokapis.com/v2/oauth/token/",
	},
	RevocationURL: "https://open.tiktokapis.com/v2/oauth/revoke/",
	SecretMethod:  "client_secret_post",
	Authorization: Authorization{
		ClientIDParam:  "client_key",
		ScopeSeparator: ",",
		NoPKCE:         true,
	},
	Answer: Answer{ScopeSeparator: ","},
	API:    API{Hosts: []string{"open.tiktokapis.com"}},
}

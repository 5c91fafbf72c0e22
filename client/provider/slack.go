package provider

import "golang.org/x/oauth2"

// Slack is the profile of Slack apps with OAuth v2. The token is the bot's; where no scopes of a bot were asked for, the
// user's. Ask for those of users by the parameter "user_scope", with commas.
var Slack = &Provider{
	Name:       "Slack",
	TokenHosts: []string{"slack.com"},
	Endpoint: oauth2.Endpoint{
		AuthURL:  "https://slack.com/oauth/v2/authorize",
		TokenURL: "https://slack.com/api/oauth.v2.access",
	},
	RevocationURL:  "https://slack.com/api/auth.revoke",
	RevokeByBearer: true,
	SecretMethod:   "client_secret_post",
	Authorization:  Authorization{ScopeSeparator: ","},
	Answer: Answer{
		Unwrap:         []string{"", "authed_user"},
		Success:        Match{"ok", "true"},
		Errors:         map[string]string{"invalid_refresh_token": "invalid_grant"}, // not confirmed
		ScopeSeparator: ",",
		BearerTypes:    []string{"bot", "user"},
	},
	API: API{
		Hosts: []string{"slack.com", "files.slack.com"},
		Rejected: []Rejection{{Status: 200, Path: "error", Values: []string{
			"invalid_auth", "token_expired", "token_revoked", "account_inactive", "not_authed",
		}}},
	},
}

package provider

import "golang.org/x/oauth2/endpoints"

// Slack is the profile of Slack apps with OAuth v2. The token is the bot's; where no scopes of a bot were asked for, the
// user's. Ask for those of users by the parameter "user_scope", with commas. Tokens are renewed where the app has token rotation
// turned on; without it they do not expire. An app with PKCE turned on has no client secret, and one with a secret goes without.
var Slack = &Provider{
	Name:           "Slack",
	TokenHosts:     []string{"slack.com"},
	Endpoint:       endpoints.Slack,
	RevocationURL:  "https://slack.com/api/auth.revoke",
	RevokeByBearer: true,
	SecretMethod:   "client_secret_post",
	Authorization:  Authorization{ScopeSeparator: ",", NoPKCE: true},
	Answer: Answer{
		Unwrap:  []string{"", "authed_user"},
		Success: Match{"ok", "true"},
		Errors: map[string]string{
			"invalid_refresh_token": "invalid_grant",
			"invalid_code":          "invalid_grant",
			"code_already_used":     "invalid_grant", // not confirmed
			"token_revoked":         "invalid_grant", // not confirmed: whether it is said of refresh tokens
			"invalid_client_id":     "invalid_client",
			"bad_client_secret":     "invalid_client",
			"invalid_grant_type":    "unsupported_grant_type",
			"ratelimited":           "temporarily_unavailable",
			"internal_error":        "server_error",
			"fatal_error":           "server_error",
			"service_unavailable":   "server_error", // not confirmed
			"request_timeout":       "server_error",
			"team_added_to_org":     "temporarily_unavailable", // a workspace is being moved
			"org_login_required":    "temporarily_unavailable",
		},
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

// SlackOpenID is the profile of "Sign in with Slack": OpenID Connect at the issuer https://slack.com, whose answers say ok as
// those of Slack do.
var SlackOpenID = &Provider{
	Name:           "Sign in with Slack",
	Issuers:        []string{"https://slack.com"},
	Issuer:         "https://slack.com",
	RevocationURL:  Slack.RevocationURL,
	RevokeByBearer: true,
	SecretMethod:   "client_secret_post",
	Authorization:  Authorization{NoPKCE: true},
	Answer:         Slack.Answer,
	API:            Slack.API,
}

package provider

import "golang.org/x/oauth2/endpoints"

// Twitch is the profile of Twitch, whose API wants the client id in every request. That tokens are validated every hour is the
// program's to do.
var Twitch = &Provider{
	Name:          "Twitch",
	Issuers:       []string{"https://id.twitch.tv/oauth2"},
	TokenHosts:    []string{"id.twitch.tv"},
	Endpoint:      endpoints.Twitch,
	RevocationURL: "https://id.twitch.tv/oauth2/revoke",
	SecretMethod:  "client_secret_post",
	Answer: Answer{
		Members: map[string]string{"error": "message"}, // "error" is the name of the status, if anything
		Errors: map[string]string{
			"Invalid refresh token":      "invalid_grant",
			"Invalid authorization code": "invalid_grant",  // not confirmed
			"invalid client":             "invalid_client", // not confirmed
			"invalid client secret":      "invalid_client", // not confirmed
		},
	},
	API: API{
		Hosts:  []string{"api.twitch.tv", "id.twitch.tv"},
		Fields: map[string]string{"Client-Id": "{client_id}"},
	},
}

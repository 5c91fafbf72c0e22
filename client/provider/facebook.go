package provider

import (
	"time"

	"golang.org/x/oauth2/endpoints"
)

// Facebook is the profile of Facebook Login. There are no refresh tokens: an access token that is good still is exchanged for one that
// lasts some 60 days, which is done a week before it ends. Whoever stays away longer logs in again.
var Facebook = &Provider{
	Name:          "Facebook",
	TokenHosts:    []string{"graph.facebook.com"},
	Endpoint:      endpoints.Facebook,
	SecretMethod:  "client_secret_post",
	Authorization: Authorization{ScopeSeparator: ","},
	Request: Request{
		RefreshGrant: "fb_exchange_token",
		RefreshParam: "fb_exchange_token",
		Ahead:        7 * 24 * time.Hour,
	},
	Answer: Answer{
		Members: map[string]string{
			"refresh_token":     "access_token",
			"error":             "error.code",
			"error_description": "error.message",
		},
		Errors: map[string]string{
			"190": "invalid_grant",
			"102": "invalid_grant",
			"101": "invalid_client", // not confirmed
			"1":   "temporarily_unavailable",
			"2":   "temporarily_unavailable",
			"4":   "temporarily_unavailable",
			"17":  "temporarily_unavailable",
			"341": "temporarily_unavailable",
		},
	},
	API: API{
		Hosts: []string{"graph.facebook.com", "graph-video.facebook.com"},
		Rejected: []Rejection{
			{Status: 400, Path: "error.code", Values: []string{"190", "102"}}, // not confirmed: that it is 400
		},
	},
}

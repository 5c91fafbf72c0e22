package provider

import "slices"

// hostPattern is of a host, with a port if it has one.
const hostPattern = `[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]+)?`

// all are looked through in this order.
var all = []*Provider{
	Apple, Atlassian, Auth0,
	Bitbucket, Box,
	Discord, Dropbox,
	Facebook, Figma,
	GitHub, GitLab, Google,
	HubSpot,
	Intuit,
	Keycloak,
	Linear, LinkedIn,
	Mailchimp, Microsoft,
	Notion,
	Okta,
	Reddit,
	Salesforce, Shopify, Slack, SlackOpenID, Spotify, Stripe,
	TikTok, Twitch,
	X, Xero,
	Zendesk, Zoho, Zoom,
}

// All returns the profiles of this package.
func All() []*Provider { return slices.Clone(all) }

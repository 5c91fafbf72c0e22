// Package provider says in what well-known authorization servers, and their APIs, differ from the RFCs. A [Provider]
// is data: there is no code per server, and one that a program writes itself is as good as those here.
//
//	c, err := client.New(client.Config{Provider: provider.Google, ClientID: id, ClientSecret: secret, Scopes: scopes})
//	c, err := client.New(client.Config{Provider: provider.Shopify.With("shop", "acme"), …})
//
// A client.Config without a Provider gets the one that [For] finds for its issuer or token endpoint, with all that it says: where
// tokens may go, and at a few servers what makes a login weaker, too. One with a &Provider{} gets none. What the Config itself
// says goes before what its Provider says.
//
// # What a profile may do
//
// Every zero value means what the RFCs say. TLS, state and the check of issuers cannot be turned off. What makes a login
// weaker is a setting of its own whose name begins with No, and which only [Authorization] has. Values of [Variable]s
// are held against their patterns before anything is sent, and what an API's answers name as its address gets no token unless it is
// among [API].Hosts.
//
// # What is not here
//
// Whether refresh tokens rotate, for how long a spent one is good still, and whether a revocation ends more than one token: the
// engine assumes the worst everywhere. How often a token may be renewed: it waits ever longer by itself. Limits on the size or the
// number of tokens, calls that have to be made by the hour, checks of a callback beside its state (Shopify's hmac), look-ups
// after a login: they are the program's. Scopes that a server wants before it gives a refresh token (offline_access): they are in
// Config.Scopes, because not every client may ask for them. Issuers with a placeholder for the tenant (Microsoft Entra ID):
// set Config.Issuer to the tenant's own. Further tokens in one answer (Slack's of the user beside the bot's): in the Extra of
// the token. Revocations by requests of other kinds (Facebook, Stripe, Intuit): Logout forgets such a grant, and says that it could
// do no more.
//
// Lines marked "not confirmed" are from memory: neither a document of the provider's nor a program that meets what they say was
// found.
package provider

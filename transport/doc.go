// Package transport makes HTTP requests with OAuth 2 access tokens (RFC 6750): an http.RoundTripper that
// attaches a token, recognises a rejected one, has it renewed, and sends the request once more.
//
//	hc := &http.Client{Transport: &transport.Transport{Source: source}}
//
// # The way of a request
//
// The Transport asks its [Source] for a token, copies the request shallowly, sets Authorization: Bearer,
// and sends the copy over Base. A request that has an Authorization header of its own is sent as it
// is.
//
// An answer of 401 to a request that carried the token rejects it, with or without a challenge, unless
// its challenges name only schemes other than Bearer and DPoP, or ask for a step-up
// (insufficient_scope, insufficient_user_authentication, insufficient_claims) or a DPoP proof. Then
// Source.Renew is called once, and the request is sent once more with the new token, if its body can
// be had again: there is none, or GetBody makes another, or nobody has read from it yet. Otherwise the
// caller gets the 401. Any other answer reaches the caller untouched, its body unread, a 403
// insufficient_scope included: see [Challenges] for what it asks for. [Transport.Rejected] adds other
// signals.
//
// An error of Source.Token or Source.Renew is returned as it is, in place of an answer.
//
// # Where tokens go
//
// With no Origins: to whatever origin (scheme, host, port) the program itself asks, over https, or
// over http to localhost, 127.0.0.0/8 or [::1]. With Origins: to the listed ones only; plain http to
// another machine only if it is listed so. In both cases never along a redirect that has left the
// origin, also not where it leads back. What may not carry the token is sent without it.
//
// # Contract
//
// The Transport keeps the contract of http.RoundTripper but in one point: it interprets a response, by
// sending a request once more when the first answer rejects its token. It does not change the
// request, closes its body once on every path, and is safe for concurrent use. The response's Request
// is the caller's, without the token.
package transport

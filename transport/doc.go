// Package transport makes HTTP requests with OAuth 2 access tokens (RFC 6750, RFC 9449): an http.RoundTripper that
// attaches a token, recognises a rejected one, has it renewed, and sends the request once more.
//
//	hc := &http.Client{Transport: &transport.Transport{Source: source}}
//	resp, err := hc.Get("https://api.example.com/me")
//
// # The way of a request
//
// The Transport asks its [Source] for a token, copies the request shallowly, sets "Authorization:
// Bearer …" and sends the copy over Base. A request whose header has the key Authorization already,
// with or without a value, is sent as it is: no token, no second send.
//
// A 401 to a request that carried the token rejects it, with or without a challenge, unless its
// challenges
//
//   - name only schemes that take no access token (Basic, Negotiate …), or
//   - ask for a step-up: insufficient_scope, insufficient_user_authentication (RFC 9470) or
//     insufficient_claims; see below, or
//   - ask for a DPoP proof: use_dpop_nonce or invalid_dpop_proof (RFC 9449); see below.
//
// Then Source.Renew is called, once, and the request is sent once more, if its body can be had again:
// there is none, or GetBody makes another, or nobody has read from it yet, as when a server answers
// without asking for an announced body (Expect: 100-continue). Where it cannot be had again the token is
// renewed all the same, for the requests to come. A request with a Bearer token is so sent twice at most, or three times
// with a step-up.
//
// Every other answer reaches the caller untouched, its body unread. For servers of other ways, [Transport.Rejected]
// recognises what they say in place of a 401, [Transport.Header] names another header for the token, and [Transport.Fields]
// adds further headers.
//
// # Step-ups
//
// A 403 insufficient_scope, a 401 insufficient_user_authentication and the like ask for what no other token of the grant can
// do. They reach the caller untouched, and [Challenges] tells what is wanted, in typed values: [Challenge.Scopes],
// [Challenge.ACRValues], [Challenge.MaxAge], [Challenge.Claims]. Only where the Source is a [StepUpper] is it asked for a
// token that does, once for a request, which is then sent once more if its body can be had again. Where there is
// none the caller gets the answer, untouched, as without.
//
// # Tokens that are bound to a key
//
// A token whose TokenType is DPoP goes as "Authorization: DPoP …", with a proof that its Source makes as a [Prover]; it
// never goes as a Bearer token, nor in plain text beyond this machine. Every send has a proof of its own, and so has
// every request along a redirect within the origin; a proof of the caller's own is replaced. A proof names the host as
// it goes over the wire: a request to a host whose name is not ASCII is not sent, so write such a name in punycode. (When
// net/http itself repeats a request, because a kept connection was dead, it sends the same proof again.) The nonces that servers
// give, with whatever answer, are kept by origin for the proofs to come (RFC 9449 §8.2).
//
// Where a 401 has DPoP challenges, they alone count. If one says use_dpop_nonce, the request is sent once more with the
// nonce of that very answer; if one says invalid_dpop_proof, once more with a new proof. Neither renews the
// token. A request is so sent three times at most, whatever its answers ask for: once more for the token, once more for the
// proof and once more for a step-up, in any order, as long as that makes three.
//
// # What the caller gets
//
//   - The answer to the last send, whatever it is; another 401 included.
//   - The answer before, whole, where there is no further send: Renew returned an error that wraps
//     [ErrRejected], or the same access token again; or a step-up has brought none; or the body cannot be had again.
//   - The error of Source.Token or StepUp, or any other error of Source.Renew, as it is, and no answer: that the
//     person has to log in again, or that the caller's own context ended, must not hide behind a 401.
//   - An error of Base, as it is, or one that wraps [ErrConfig] or [ErrToken].
//
// Waiting for a token is bounded by the request's context, as the Source minds it.
//
// # Where tokens go
//
// Without Origins: to whatever origin (scheme, host and port, RFC 6454) the program itself asks, over
// https, or over http to localhost, 127.0.0.0/8 or [::1]. With Origins: to those listed, and to plain
// http on another machine only if it is listed so. Names are compared as they are written but for the
// case of ASCII letters: "api.example.com." with a dot at its end is another host.
//
// In both cases a token never goes along a redirect that has left the origin where it began, not even
// where it leads back, and not to another origin of the list. http.Client records the chain of redirects
// in Request.Response; a chain that cannot be followed is taken for one that has left. A request that may not
// carry the token is sent without it; its answer, a 401 too, is the API's own and reaches the caller untouched.
//
// # The contract of http.RoundTripper
//
// One clause is bent: a RoundTripper should not interpret the response. The Transport interprets one that
// rejects its token. All others hold: the request is not changed, nor its header map; its body is
// closed, once, on every path, an error included, and possibly after RoundTrip has returned; an answer
// comes with a nil error, and its body is the caller's to close; the Transport is safe for concurrent
// use. An answer's Request is the caller's own, without the token, so that who logs answers does not log
// tokens. Base sees the token, as does what traces its connections.
//
// # Lifecycle
//
// A Transport has no goroutine and nothing to close, and a timer only while it reads the rest of an answer that is followed by
// another send: 64 KiB of it at most, for a second at most, so that its connection can be used again. It remembers the last token's header, so
// that a request costs no lock, and three small allocations if it has up to seven header fields.
package transport

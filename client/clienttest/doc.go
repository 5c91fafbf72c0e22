// Package clienttest is an authorization server for tests: strict by default, deviating by policy, and
// failing on command. It is what Evergrant tests itself with, and what a program that uses Evergrant, or
// any other OAuth 2 client, can be tested with.
//
// # Use
//
// A test of a program that uses Evergrant:
//
//	s := clienttest.New(t)
//	api := s.NewAPI("api.test")
//	alice := s.NewClient(client.Config{}).Session("alice")
//	err := alice.Adopt(t.Context(), s.Login("read"))
//	hc := alice.Wrap(s.HTTPClient(""))
//	… let the program call api.URL by hc …
//	s.RevokeAccessToken("") // and see how it gets over that
//
// The argument of HTTPClient is a name for the process that sends, which the ledger notes; "" is none. A program that
// calls client.Session.HTTPClient itself, rather than Wrap, sends over the real network: have it meet the Server there, by
// s.Listen(). One that logs in with a browser is given [Server.Open]; a web backend is driven by [Server.Browse].
//
// Any other OAuth 2 client is given s.Config(), s.HTTPClient("") and a token of s.Login.
//
// [Server.Fail] makes the next requests fail in the ways that networks and servers do; [Policy] says how
// the server differs from the strictest one; [Server.Requests] and its relatives say afterwards who sent
// what. Within a test, change a field of Policy or API while requests may be under way by [Server.Change].
//
// # Two networks
//
// A new Server and its APIs live in memory: [Server.HTTPClient] reaches them, nothing else does, and no
// socket is opened. Everything in it blocks in the way that testing/synctest calls durable, and the time
// is time.Now, so that a test in a synctest bubble waits for an hour within a microsecond. Make the
// Server inside the bubble. [Server.Listen] moves it to loopback ports instead, for other processes and
// for browsers.
//
// In memory as on a real network, a request whose context ends is over for the client, while the server
// may go on with it; bodies are streamed; a net/http/httptrace hook sees the connection and the writing.
//
// # Strictness
//
// The zero [Policy] is the strictest server. A refresh token is good once; presented again it kills its
// grant with every token of it (RFC 9700 section 4.14.2). The access token that came with it dies at the
// refresh. A code is good once, for a minute; presented again it kills what it gave (RFC 6749 section
// 4.1.2). PKCE with S256 is required of everybody (RFC 7636). A client authenticates exactly as it is
// registered. Redirection addresses are compared exactly, but for the port of a loopback address (RFC 8252
// section 7.3). Scopes and resources (RFC 8707) never grow at a refresh. A device that polls too fast is
// slowed down (RFC 8628 section 3.5). Proofs of possession, where Policy wants them, are checked in full, once-only
// use included (RFC 9449 section 4.3). A revoked token, of either kind, takes its grant along (RFC 7009).
//
// # Endpoints
//
// Below the issuer: /authorize, /token, /revoke, /device_authorization, /jwks, /register, and the metadata documents of RFC
// 8414 and OpenID Connect Discovery. These paths are the names that [Server.Fail] takes; the RFC 8414
// document, which is not below the issuer, goes by its whole path.
//
// # Concurrency and secrets
//
// All methods are safe for concurrent use. The ledger names tokens by kind and number of issue (RT1, AT7),
// never by value. The keys of id tokens and everything else secret here are of no worth outside a test.
package clienttest

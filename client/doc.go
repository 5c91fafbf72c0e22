// Package client keeps OAuth 2 grants usable: it logs a person in (or runs a grant that needs none),
// stores the grant, and gives out *http.Clients whose requests carry a good access token, whatever
// expires, is revoked early, restarts or fails in between.
//
//	c, err := client.New(client.Config{
//		Issuer:   "https://accounts.example.com",
//		ClientID: "my-program",
//		Scopes:   []string{"openid", "offline_access"},
//		Store:    store,
//	})
//	session := c.Session("alice")
//	resp, err := session.HTTPClient().Get("https://api.example.com/me")
//	if errors.Is(err, client.ErrLoginRequired) {
//		err = session.Login(ctx, client.Browser{})
//	}
//
// # Use
//
// A [Config] describes one OAuth client at one authorization server. [New] makes a [Client] of it, once
// in a program; [Client.Session] gives the [Session] of one account. A Session makes HTTP clients
// ([Session.HTTPClient], [Session.Wrap]), is a transport.Source, and gives an oauth2.TokenSource to
// libraries that want one. People log in by [Session.Login] in this process, by [Session.Start] and
// [Session.Finish] in a web backend; [Session.Adopt] takes over a token obtained elsewhere. With
// [Config.Grant] nobody logs in at all: [ClientCredentials], [JWTBearer], [TokenExchange]. [LogEvents]
// writes what happens to a slog.Logger.
//
// Package provider says, as data, in what well-known servers differ from the RFCs. [Config.Provider] names one; if it is nil,
// it is found by the issuer or by the host of the token endpoint.
//
// # Lifecycle
//
// A token is renewed in the background before it ends, while requests go on with it. When there is no
// usable token, or a resource server has rejected it, requests wait for the one renewal under way. A
// renewal loads the newest record from the store; if somebody else has renewed already, that is
// adopted. Otherwise it writes a lease into the record, which keeps other processes away and proves
// that the store can be written, spends the refresh token, saves what comes back, and only then lets
// requests use it. If the save fails, the tokens are kept in memory and saved again until it works.
// Close the Client at the end of the program: it waits for both. So does [Client.Wait], at the end of each invocation on a platform
// that freezes the process in between. [Config.OnEvent] is told of all this.
//
// One refresh token can bring access tokens for several resources (RFC 8707), and ones with fewer scopes: [Session.Resource]
// and [Session.Scoped] give a session for each. They have access tokens of their own and spend the refresh token one after
// the other.
//
// A resource server may want more than the grant gives: another scope, a better or fresher login. Its answer reaches the caller
// as it is, unless [Config.StepUp] has the person log in again: once for all requests that need it, after which each is sent
// once more. Flows ask for more by their Scopes. The new grant takes the place of the old one when it is saved; until then, and
// where it fails, requests go on with the old one.
//
// A renewal has its own deadlines: 30 seconds for the server's metadata, where that is to be fetched, 30 seconds for the token
// endpoint, 2 minutes in all, waiting for other processes included. A caller's context ends that caller's wait and nothing
// else.
//
// # Zero configuration
//
// A Config needs nothing but the address, Config.Resource, of a resource that publishes its metadata (RFC 9728), such as an
// MCP server. On first use the Client asks the resource without a token, reads its metadata, and takes the authorization
// server that it names: one GET each. (New and Session ask nobody; a call of Status is a use.) What the Client has learnt
// holds for as long as the metadata says, an hour if it says nothing, and at least 5 minutes. After a rejected token it is
// asked for again at once, if it is older than a minute. While the resource cannot be reached, what it said before holds. A
// Client that has heard nothing yet then gives an error, which is no logout. A resource that answers without a token and has
// no metadata needs no login: that error wraps errors.ErrUnsupported.
//
// A login is asked for as the client that was registered beforehand (ClientID with its Issuer), else as the one that a
// document describes (ClientID as its address, [Client.MetadataDocument]) where the server reads such, else as one that is
// registered for this login (RFC 7591). That registration is stored with the tokens and used to renew them. At a logout, and
// when the login comes to nothing, it is deleted at servers that allow that (RFC 7592). When the server has forgotten
// it, the grant is gone with it: ErrLoginRequired with the Cause "client gone", and the next login registers anew. When a
// person does not come back from a login that Start has begun, its registration stays at the server.
//
// The scopes asked for are the Config's; else those that the resource names in its challenge; else all that its metadata
// lists, as MCP wants it. In the last two cases offline_access is added if the server knows it. A server has to announce PKCE with S256.
//
// Grants are stored under the issuer, with the resource in the client id's place (tokenstore.Key). When the resource names
// another authorization server, the grants there are other ones: a login is required there, and nothing that belongs to the first is ever sent to the
// second. What is found on the way may lead to public addresses only (see Config.LocalNetwork); a proxy of
// the environment is trusted to look names up. Profiles of providers (Config.Provider) are found by Config.Issuer only.
//
// # Concurrency
//
// Clients and Sessions are safe for concurrent use. Any number of goroutines, Clients, processes and
// machines may share one store; they spend each refresh token once. An idle Session has no goroutine
// and no timer; an account is garbage-collected once nobody holds any of its Sessions.
//
// # Errors
//
// A request through a Session's HTTP client fails with what [Session.Token] and [Session.Renew] return,
// inside the *url.Error of net/http; use errors.Is and errors.As.
//
//	ErrLoginRequired            there is no grant, or the server has ended it: have the person log in.
//	                            The *Error around it names the Cause: absent, ended, revoked, expired,
//	                            lost answer, copied, other key, client gone
//	ErrClosed                   the Client was closed: make another one
//	ErrOtherSubject             the grant in the store belongs to somebody else than the person who logged in:
//	                            set Replace in the flow if that is meant, or use another key
//	ErrIDToken                  an id token, or what goes with it, is not good, or there is none: nothing was
//	                            saved, and it is not known who the person is
//	ErrAuthentication           the person has not authenticated as was asked for by acr_values or max_age
//	ErrPending                  a callback does not belong to the login it was brought to: begin anew
//	transport.ErrRejected       from Renew only: a resource server rejects even fresh tokens; requests get
//	                            that server's answer instead. Ask whoever runs it
//	transport.ErrToken          the server gave a token that is of another type than Bearer or DPoP, or one
//	                            that is not bound to a key though Config.DPoP is set
//	ErrNotRevoked               from Logout only: the grant is deleted, but the server may not know
//	errors.ErrUnsupported       the server cannot revoke (Logout, which has deleted all the same), the store
//	                            cannot list (Keys), Config.Resource asks for no token, or a token that is
//	                            bound to a key is asked for by Session.TokenSource
//	*ConfigError                a field of the Config cannot be right, or does not go with what the server
//	                            says of itself; it is named: correct it
//	*Error with a Code          the server's refusal (RFC 6749 §5.2, §4.1.2.1): do what its text says;
//	                            nothing is deleted
//	*Error with another cause   the network, the server or the store failed: try again later; the
//	                            grant stays. The cause is wrapped
//	context.Canceled, …         the caller's own context ended
//
// Until the Client is closed, no failure of a renewal reaches a caller while a usable access token exists.
//
// # Security
//
// The client authenticates at the server in one way, which the Config or the server's metadata names, and never tries
// another: see [Config.AuthMethod]. An assertion (RFC 7523) is made for one request.
//
// No token, code, verifier, client secret, key or assertion appears in an error of this package, nor when one of its
// values is formatted, logged or encoded, [Pending.MarshalText] excepted. Access tokens that are handed
// out as *oauth2.Token are x/oauth2's type, which shows them. Requests to the authorization server
// follow no redirect; access tokens go to allowed origins only (see package transport) and endpoints
// must be https or loopback addresses.
//
// With [Config.DPoP] tokens are bound to a key (RFC 9449), and of no use without it; SECURITY.md says what
// that protects against.
//
// An id token is checked as OpenID Connect Core §3.1.3.7 says: signature, issuer, audience, authorized party, times, nonce,
// at_hash and what was asked of the authentication. The keys are those of the issuer's jwks_uri alone, which may stand in its OpenID
// document only; the algorithm is one that its metadata offers. Where Config.Endpoint stands without an Issuer no keys are known, and the TLS of the token
// endpoint vouches for the signature (rule 6). Other audiences beside this client are accepted from an issuer that names
// this client as the authorized party. Times may be a minute off the server's clock. A refresh whose id token is not good
// is a good refresh: the event "id token refused" tells of it.
//
// # Compatibility
//
// Tokens, endpoints and configurations are x/oauth2's types. The refresh path of x/oauth2 is not used.
//
// # Coming from x/oauth2
//
// [FromOAuth2] takes the oauth2.Config, [Session.Adopt] the token. Its names are on the left, and on the right what takes
// their place here:
//
//	AuthCodeURL, Exchange           Session.Start, Session.Finish in a web backend; Session.Login with Browser{}
//	                                elsewhere. They make state and PKCE, and check them
//	DeviceAuth, DeviceAccessToken   Session.Login with Device{}
//	SetAuthURLParam                 the Params of AuthCode or Browser; provider.Google sets access_type itself
//	Config.Client                   Session.HTTPClient
//	Config.TokenSource              Session.TokenSource
//	ReuseTokenSource                nothing: a Session keeps its token. oauth2.NewClient adds one, so that requests
//	                                fail after an early revocation: use Session.HTTPClient instead
//	HTTPClient in a context         Config.AuthServerClient for the authorization server, Session.Wrap for APIs
//	*RetrieveError                  *Error: Code, Description, URI, StatusCode; it holds no body
//	clientcredentials, jwt          Config.Grant: ClientCredentials{}, JWTBearer{}
//
// Libraries are given one of these. An HTTP client renews when a token is revoked early, a token source at expiry only:
//
//	drive.NewService(ctx, option.WithHTTPClient(session.HTTPClient()))
//	grpc.NewClient(address, grpc.WithPerRPCCredentials(oauth.TokenSource{TokenSource: session.TokenSource()}), …)
package client

package transport

import (
	"context"
	"errors"

	"golang.org/x/oauth2"
)

// Source gives a Transport its tokens. Its methods are called concurrently, must return soon after their
// context has ended, and their errors reach the caller of the request as they are: they must hold no
// secret. Tokens are shared and immutable: nobody changes one that was handed out.
//
// A Source that has a method Replayed(status int) is told, before it happens, of every request that is sent
// again with another token and of the status that has refused the one before. It must return at once.
// One that has a method Refused(t *oauth2.Token) is told when t, which Renew has just given, was rejected as well: another
// renewal would hardly help. It must return at once too.
//
// A Source whose tokens are bound to a key is a [Prover] too, one that can get a grant that gives more a [StepUpper].
type Source interface {
	// Token returns a token that is usable now. It should be the same pointer for as long as it is
	// the same token, for a Transport keeps what it makes of one.
	Token(ctx context.Context) (*oauth2.Token, error)

	// Renew returns a usable token other than rejected. If rejected was replaced already, by
	// anyone, it returns the replacement without asking the server. A nil rejected: renew now. Where
	// no other token is to be had, an error that wraps ErrRejected says so.
	Renew(ctx context.Context, rejected *oauth2.Token) (*oauth2.Token, error)
}

// Prover is an optional ability of a Source: proofs of possession for tokens whose TokenType is DPoP (RFC 9449), without
// which they are not sent. Like a Source's methods, Prove is called concurrently, and its errors reach the caller of the
// request as they are.
//
// A Prover that has a method ProofAnswered(url string, answer http.Header, refused bool) is told of the header of every
// answer to a request with a proof for url, and once more, with refused, if the answer says that the proof was not good: it
// learns the server's nonces (DPoP-Nonce) and clock (Date) for the proofs to come of all its Transports. Where it is not, a
// Transport learns the nonces for itself. It must return at once.
type Prover interface {
	// Prove makes a proof, new each time, for one send of one request with t, which came from Token or
	// Renew: a JWT (RFC 9449 §4.2) with htm, htu, ath, iat, a jti of its own, and nonce; where that is
	// empty, with what was learnt by ProofAnswered, if anything. url is the request's in normal form, without query and
	// fragment, and with its Host if it has one of its own; it is https, or http on this machine.
	Prove(ctx context.Context, t *oauth2.Token, method, url, nonce string) (string, error)
}

// ErrRejected is wrapped by an error of Source.Renew to say that no other token is to be had at present,
// because the resource server rejects even fresh ones: the caller of the request then sees that
// server's answer instead of an error.
var ErrRejected = errors.New("transport: the resource server rejects fresh tokens")

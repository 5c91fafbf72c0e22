package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/dpop"
	"github.com/evergrant/evergrant/internal/jws"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/transport"
)

// DPoP has tokens bound to a key (RFC 9449): to whoever steals them without the key they are of no use. Every token
// request, and every request to a resource server, carries a proof signed with the key; the nonces that servers want
// are learnt from their answers. A server that gives Bearer tokens all the same is an error, which wraps
// transport.ErrToken, and such tokens are not used.
//
// A grant that was stored before Config.DPoP was set is bound by its next renewal, which comes before its next use. A
// Client without Config.DPoP goes on with bound grants, by their keys, and takes whatever tokens the server gives.
type DPoP struct {
	// Key signs the proofs of all grants, and only its thumbprint is stored: a grant that is bound to another
	// key needs a new login. Its ID is not used. Nil: every grant gets a key of its own, made when it begins and kept
	// in its record beside the refresh token, which other processes over the same store need as well. It is for ES256,
	// or what the server's metadata offers. See SECURITY.md for what each protects against.
	Key *Key
}

// LogValue implements slog.LogValuer.
func (d DPoP) LogValue() slog.Value { return slog.StringValue(fmt.Sprint(d)) }

// Format implements fmt.Formatter: a DPoP shows nothing of its key under any verb.
func (d DPoP) Format(f fmt.State, _ rune) {
	if d.Key == nil {
		fmt.Fprint(f, "client.DPoP(a key for each grant)")
		return
	}
	fmt.Fprintf(f, "client.DPoP(%v)", *d.Key)
}

// MarshalJSON implements json.Marshaler: it writes the description that Format shows.
func (d DPoP) MarshalJSON() ([]byte, error) { return json.Marshal(fmt.Sprint(d)) }

// proofs is what a Client knows of DPoP.
type proofs struct {
	wanted    bool     // Config.DPoP is set
	own       *jws.Key // of the program; nil: each grant has its own
	algorithm string   // of own; empty: the first that the server takes

	// One origin can be both, with nonces for each (RFC 9449 §9).
	issuers, resources dpop.Servers
}

// errUnbound says that the server has given a Bearer token where a bound one is wanted (RFC 9449 §5).
var errUnbound = fmt.Errorf("%w: the server has not bound it to a key, as DPoP wants it; have the server bind this client's tokens (dpop_bound_access_tokens), or leave Config.DPoP nil", transport.ErrToken)

// prepareDPoP reads Config.DPoP, which validate has checked.
func (c *Client) prepareDPoP(config *DPoP) {
	if config == nil {
		return
	}
	c.proofs.wanted = true
	if config.Key != nil {
		c.proofs.own, _ = config.Key.prepare("Config.DPoP.Key")
		c.proofs.algorithm = config.Key.Algorithm
	}
}

// newBinding is the key that a new grant's tokens shall be bound to; nil where none is wanted. offered are the
// algorithms that the server takes (RFC 9449 §5.1).
func (c *Client) newBinding(offered []string) (*record.Binding, error) {
	if !c.proofs.wanted {
		return nil, nil
	}
	offered = c.provable(offered)
	if c.proofs.own != nil {
		key, err := dpop.NewKey(c.proofs.own, c.proofs.algorithm, offered)
		if err != nil {
			return nil, &ConfigError{"Config.DPoP.Key", "cannot be used here: " + err.Error()}
		}
		return &record.Binding{Thumbprint: key.Thumbprint()}, nil
	}
	private, err := dpop.Generate(offered)
	if err != nil {
		return nil, &ConfigError{"Config.DPoP", "cannot be used here: " + err.Error()}
	}
	key, err := dpop.Parse(private)
	if err != nil {
		return nil, err
	}
	return &record.Binding{Thumbprint: key.Thumbprint(), Key: private}, nil
}

// pendingBinding is the key that the tokens of a login shall be bound to; nil: none. A login that was begun without
// one, by a process whose Config was another, gets it now.
func (c *Client) pendingBinding(p *Pending, offered []string) (*record.Binding, error) {
	if p.thumbprint == "" {
		return c.newBinding(offered)
	}
	return &record.Binding{Thumbprint: p.thumbprint, Key: json.RawMessage(p.key.Reveal()), Bound: true}, nil // the code is
}

// keyOf is the key of a binding; nil of none, and of one that nothing is bound to yet where nothing has to be. A grant is
// never renewed with another key than its own (RFC 9449 §5).
func (c *Client) keyOf(b *record.Binding, offered []string) (*dpop.Key, error) {
	switch {
	case b == nil, !b.Bound && !c.proofs.wanted:
		return nil, nil
	case len(b.Key) > 0:
		key, err := dpop.Parse(b.Key)
		if err != nil {
			return nil, fmt.Errorf("the grant's DPoP key is damaged: %w", err)
		}
		return key, nil
	case c.proofs.own == nil:
		return nil, &ConfigError{"Config.DPoP.Key", "is nil, and the grant is bound to a key that only the program has; set it, or log in again"}
	}
	key, err := dpop.NewKey(c.proofs.own, c.proofs.algorithm, offered)
	if err != nil {
		return nil, &ConfigError{"Config.DPoP.Key", "cannot be used here: " + err.Error()}
	}
	if key.Thumbprint() != b.Thumbprint {
		return nil, &ConfigError{"Config.DPoP.Key", "is not the key that the grant is bound to; set that one, or log in again"}
	}
	return key, nil
}

// binding is server as it renews rec, with the proofs of rec's key, and rec with a key of its own if it has none and is
// to have one. A configured grant loses nothing by another key, nor does one that nothing is bound to yet: they get one
// where their own is not at hand.
func (c *Client) binding(server *authserver.Client, m *authserver.Metadata, rec *record.Record) (*authserver.Client, *record.Record, error) {
	b := rec.DPoP
	_, err := c.keyOf(b, nil)
	if b == nil || err != nil && c.proofs.wanted && !c.needs(b) {
		if b, err = c.newBinding(m.DPoPSigningAlgs); b != nil {
			rec = rec.Clone()
			rec.DPoP = b
		}
	}
	if err == nil {
		server, err = c.proving(server, m, b)
	}
	return server, rec, err
}

// needs reports whether a grant is lost without the key of b.
func (c *Client) needs(b *record.Binding) bool { return b != nil && b.Bound && c.config.Grant == nil }

// proving is server with the proofs of b's key.
func (c *Client) proving(server *authserver.Client, m *authserver.Metadata, b *record.Binding) (*authserver.Client, error) {
	key, err := c.keyOf(b, m.DPoPSigningAlgs)
	if key == nil {
		return server, err
	}
	servers := &c.proofs.issuers
	bound := *server
	bound.DPoP = &authserver.DPoP{
		Servers: servers,
		Prove: func(target, nonce string) (string, error) {
			return key.Proof(dpop.Claims{Method: http.MethodPost, URL: target, Nonce: nonce, Time: c.proofTime(servers, target)})
		},
	}
	return &bound, nil
}

// rereading is server as it spends what l is for: before a form goes out again with another proof, the store is read
// again, as before every further send.
func (l *lease) rereading(server *authserver.Client) *authserver.Client {
	if server.DPoP == nil {
		return server
	}
	careful, proofs, old := *server, *server.DPoP, l.known().record
	proofs.Again = func(ctx context.Context) error { return l.stillFor(ctx, old) }
	careful.DPoP = &proofs
	return &careful
}

// proofTime is when a proof is made, by the clock of the server that is to judge it (RFC 9449 §4.3): as it was when it
// last refused one, else by the authorization server's.
func (c *Client) proofTime(servers *dpop.Servers, target string) time.Time {
	now := c.machine.Now().Wall
	if skew, known := servers.Skew(target); known {
		return now.Add(skew)
	}
	return c.serverTime(now)
}

// isBound reports whether tokenType is that of a token that is bound to a key.
func isBound(tokenType string) bool { return strings.EqualFold(tokenType, "DPoP") }

// checkBound refuses a token that has to be bound and is not.
func (c *Client) checkBound(answer *authserver.Answer) error {
	if c.proofs.wanted && !isBound(answer.TokenType) {
		return errUnbound
	}
	return nil
}

// boundBy is b after an answer.
func boundBy(b *record.Binding, answer *authserver.Answer) *record.Binding {
	if b == nil || b.Bound || !isBound(answer.TokenType) {
		return b
	}
	bound := *b
	bound.Bound = true
	return &bound
}

// adoptedBinding is the key of a token that was obtained elsewhere: the program's own, if it is bound at all. One that
// is not has to come with a refresh token, which gets one that is.
func (c *Client) adoptedBinding(t *oauth2.Token) (*record.Binding, error) {
	switch {
	case t.AccessToken == "":
		return nil, nil
	case !isBound(t.TokenType) && c.proofs.wanted && t.RefreshToken == "":
		return nil, errUnbound
	case !isBound(t.TokenType):
		return nil, nil
	}
	if c.proofs.own == nil {
		return nil, &ConfigError{"Config.DPoP.Key", "is nil, and the token is bound to a key; set that one, or log in"}
	}
	b, err := c.newBinding(nil)
	if err == nil {
		b.Bound = true
	}
	return b, err
}

var _ transport.Prover = (*Session)(nil)

// Prove makes the proof that a request with t needs, if t is bound to a key: see transport.Prover. HTTP clients of the
// session do so by themselves. The error wraps transport.ErrToken for a token that is not bound.
func (s *Session) Prove(ctx context.Context, t *oauth2.Token, method, address, nonce string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", s.fail("prove", errors.New("the address is malformed"))
	}
	p := s.current.Load()
	if p == nil { // replaced or forgotten since t was handed out
		if _, err := s.Token(ctx); err != nil {
			return "", err
		}
		p = s.current.Load()
	}
	if p == nil || p.key == nil {
		return "", s.fail("prove", fmt.Errorf("%w: there is no key for it", transport.ErrToken))
	}
	servers, target := &s.client.proofs.resources, dpop.Target(u, "")
	if nonce == "" {
		nonce = servers.Nonce(target)
	}
	// The key is that of the session's token now. If t is of a login before that, the server refuses it, as it would anyway.
	proof, err := p.key.Proof(dpop.Claims{
		Method: method, URL: target, Token: t.AccessToken, Nonce: nonce, Time: s.client.proofTime(servers, target),
	})
	if err != nil {
		return "", s.fail("prove", fmt.Errorf("the DPoP proof cannot be signed: %w", err))
	}
	return proof, nil
}

// ProofAnswered is told by a transport.Transport what a server has answered to a request with a proof, and whether that was
// refused: see transport.Prover. What is learnt, the nonce and how far the server's clock is off, holds for the proofs of all
// sessions of the Client.
func (s *Session) ProofAnswered(address string, answer http.Header, refused bool) {
	servers := &s.client.proofs.resources
	servers.NoticeNonce(address, answer)
	if refused {
		servers.NoticeDate(address, answer, s.client.machine.Now().Wall)
	}
}

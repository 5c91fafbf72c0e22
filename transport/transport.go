package transport

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/dpop"
)

const (
	maxDrain  = 64 << 10    // bytes of a rejecting answer, so that its connection can be used again
	drainTime = time.Second // that they may take to come: a request whose next token is there waits for them
	maxPeek   = 64 << 10    // bytes of an answer that Transport.Rejected looks at
	maxSends  = 3           // of one request, in all (I9)
)

var (
	// ErrConfig is wrapped by the error of every request of a Transport whose fields make no sense:
	// there is no Source, an element of Origins is not an origin, or Base answers with nothing.
	ErrConfig = errors.New("transport: bad configuration")

	// ErrToken is wrapped by the error of a request that was not sent because its Source gave a
	// token that cannot be: none, one of a type other than Bearer and DPoP, one of type DPoP where the
	// Source is no Prover, or the request would go in plain text or to a host beyond ASCII, or one that is no RFC 6750 §2.1
	// token because it holds spaces, control characters or anything beyond ASCII.
	ErrToken = errors.New("transport: the token cannot be sent")
)

// Transport is an http.RoundTripper that makes requests with an access token. Its fields must not be
// changed once it is in use, nor may it be copied; it is then safe for concurrent use.
type Transport struct {
	// Source gives the tokens. Required.
	Source Source

	// Base sends the requests. Nil: http.DefaultTransport.
	Base http.RoundTripper

	// Origins lists where tokens may go: "https://api.example.com", "http://10.0.0.7:8080". Nil: any
	// origin that the program itself asks, over TLS or on this machine. Empty but not nil: nowhere.
	// See "Where tokens go" in the package documentation.
	Origins []string

	// Header is the header field that a Bearer token goes in, with "{token}" in the token's place, for servers that want
	// it in another than RFC 6750 §2.1 has: "X-Access-Token: {token}". A request that has the field already is sent as
	// it is. Empty: "Authorization: Bearer {token}". A token that is bound to a key goes as RFC 9449 §7.1 says in any case.
	Header string

	// Fields are added to the header of requests that carry a token, where they do not have a field of the name. It is not
	// written to. Nil: none.
	Fields http.Header

	// Rejected reports whether an answer other than a 401 rejects the token: some servers say 403,
	// some 200 with an error inside. It is asked about answers to requests that carried the token.
	// It may read the body, of which it is given at most 64 KiB; what it reads is put back. It
	// must be safe for concurrent use. Nil: only a 401 rejects.
	Rejected func(*http.Response) bool

	header   atomic.Pointer[header]
	settings atomic.Pointer[settings] // what the fields say; nil: they have not been read yet
	servers  dpop.Servers             // of a Source that does not learn by itself
}

// header is the header field made of a token, kept because requests are so much more frequent than new
// tokens. It is immutable.
type header struct {
	token *oauth2.Token
	form  *form
	value [1]string
}

// isBound reports whether the token is good with a DPoP proof only.
func (h *header) isBound() bool { return h.form == bound }

// RoundTrip implements http.RoundTripper. Its errors are those of Source and of Base, as they are, and
// errors that wrap ErrConfig or ErrToken.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	set := t.read()
	if set.invalid != nil {
		closeBody(req)
		return nil, set.invalid
	}
	if has(req.Header, authorization) || set.form.name != authorization && has(req.Header, set.form.name) || !t.allows(req) {
		return t.base().RoundTrip(req)
	}
	token, err := t.Source.Token(req.Context())
	if err != nil {
		closeBody(req)
		return nil, err
	}
	h, err := t.authorization(token)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	body := newLoan(req)
	defer body.release()
	resp, err := t.send(req, body.first(), h, "")
	if err != nil {
		return resp, err
	}
	return t.settle(req, &body, resp, h)
}

// settle sends the request again as its answers ask for it, once each: with another token, with another proof, with what a
// step-up has brought (I9). It returns what comes then, or the answer before where there is no other token or no other body.
func (t *Transport) settle(req *http.Request, body *loan, resp *http.Response, h *header) (*http.Response, error) {
	renewed, proven, stepped := false, false, false
	for sends := 1; sends < maxSends; sends++ {
		said, nonce := t.judge(req, resp, h)
		switch {
		case said == rejected && !renewed, said == insufficient && !stepped:
			renewed, stepped = renewed || said == rejected, stepped || said == insufficient
			body.hold()
			fresh, err := t.another(req, resp, h, said)
			if err != nil {
				_ = resp.Body.Close()
				return nil, err
			}
			if fresh == nil {
				return resp, nil
			}
			h = fresh
		case said == unproven && !proven:
			proven = true
		case said == rejected:
			if s, ok := t.Source.(interface{ Refused(t *oauth2.Token) }); ok {
				s.Refused(h.token)
			}
			return resp, nil
		default:
			return resp, nil
		}
		again, ok := body.again()
		if !ok {
			return resp, nil
		}
		status := resp.StatusCode
		discard(resp)
		if s, ok := t.Source.(interface{ Replayed(status int) }); ok && said != unproven {
			s.Replayed(status)
		}
		var err error
		if resp, err = t.send(req, again, h, nonce); err != nil {
			return resp, err
		}
	}
	return resp, nil
}

// another has the Source get another token than that of old, for what resp says of it; nil: no other one is to be had.
func (t *Transport) another(req *http.Request, resp *http.Response, old *header, said verdict) (*header, error) {
	if said == insufficient {
		return t.stepUp(req, resp, old)
	}
	return t.renew(req, old)
}

// renew has a rejected token renewed; nil: no other one is to be had.
func (t *Transport) renew(req *http.Request, old *header) (*header, error) {
	fresh, err := t.Source.Renew(req.Context(), old.token)
	if errors.Is(err, ErrRejected) || err == nil && fresh != nil && fresh.AccessToken == old.token.AccessToken {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return t.authorization(fresh)
}

// send sends a copy of req with a body and a token, and with a proof if the token needs one. The answer names req
// itself, so that what logs answers does not get the token.
func (t *Transport) send(req *http.Request, body io.ReadCloser, h *header, nonce string) (*http.Response, error) {
	sent := *req
	sent.Body = body
	sent.Header = maps.Clone(req.Header)
	if sent.Header == nil {
		sent.Header = make(http.Header, 1)
	}
	sent.Header[h.form.name] = h.value[:]
	for name, values := range t.Fields {
		if !has(sent.Header, name) {
			sent.Header[name] = values
		}
	}
	if h.isBound() {
		if err := t.prove(&sent, h.token, nonce); err != nil {
			closeBody(&sent)
			return nil, err
		}
	}
	resp, err := t.base().RoundTrip(&sent)
	if err != nil {
		return resp, err
	}
	if resp == nil {
		return nil, fmt.Errorf("%w: Transport.Base returned neither an answer nor an error", ErrConfig)
	}
	resp.Request = req
	if resp.Body == nil {
		resp.Body = http.NoBody
	}
	if h.isBound() {
		t.notice(req, resp.Header, false)
	}
	return resp, nil
}

// authorization makes the header field of a token, or finds the one made before.
func (t *Transport) authorization(token *oauth2.Token) (*header, error) {
	if h := t.header.Load(); h != nil && h.token == token {
		return h, nil
	}
	f, err := t.formOf(token)
	if err != nil {
		return nil, err
	}
	h := &header{token, f, [1]string{f.before + token.AccessToken + f.after}}
	t.header.Store(h)
	return h, nil
}

const (
	authorization = "Authorization"
	schemeBearer  = "Bearer"
	schemeDPoP    = "DPoP"
)

// formOf is how a token is sent, or why it cannot be. It is always written in the same way: there are servers
// that give out "bearer" and refuse it. A token of type DPoP is never sent as another (RFC 9449 §7.1).
func (t *Transport) formOf(token *oauth2.Token) (*form, error) {
	switch {
	case token == nil || token.AccessToken == "":
		return nil, fmt.Errorf("%w: the source gave an empty one", ErrToken)
	case strings.ContainsFunc(token.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, fmt.Errorf("%w: it holds characters that no header can carry", ErrToken)
	case token.TokenType == "" || strings.EqualFold(token.TokenType, schemeBearer):
		return &t.read().form, nil
	case !strings.EqualFold(token.TokenType, schemeDPoP):
		// The type is not shown: where fields were mixed up it is the token.
		return nil, fmt.Errorf("%w: its TokenType is neither Bearer nor DPoP, the only ones spoken", ErrToken)
	}
	if _, ok := t.Source.(Prover); !ok {
		return nil, fmt.Errorf("%w: it is bound to a key (DPoP), and Transport.Source is no Prover", ErrToken)
	}
	return bound, nil
}

// has reports whether the caller has decided for himself. The key alone counts, however it is
// spelled: RFC 6750 §2 wants one token a request, and net/http sends every spelling there is.
func has(h http.Header, name string) bool {
	if _, ok := h[name]; ok {
		return true
	}
	for key := range h {
		if len(key) == len(name) && strings.EqualFold(key, name) {
			return true
		}
	}
	return false
}

// verdict is what an answer says about the token that its request carried.
type verdict int

const (
	indifferent  verdict = iota // nothing that this package can do anything about
	rejected                    // another token is wanted
	insufficient                // a token is wanted that can do more
	unproven                    // another proof is wanted
)

// judge says what resp wants, and which nonce a new proof has to carry, if it says so.
func (t *Transport) judge(req *http.Request, resp *http.Response, h *header) (said verdict, nonce string) {
	if resp.StatusCode == http.StatusUnauthorized {
		challenges := Challenges(resp)
		if h.isBound() {
			return t.judgeProof(req, resp, challenges)
		}
		return t.verdictOf(challenges), ""
	}
	if t.asksForMore(resp) {
		return insufficient, ""
	}
	if t.Rejected == nil {
		return indifferent, ""
	}
	peeked := &peekedBody{ReadCloser: resp.Body}
	looked := *resp
	looked.Body = peeked
	if t.Rejected(&looked) {
		said = rejected
	}
	resp.Body = peeked.restored()
	return said, ""
}

// verdictOf reads a 401 with these challenges. Without one it is about the token: many servers send none. It is
// not if all are for other schemes, nor if one asks for what no other token of the same grant can give.
func (t *Transport) verdictOf(challenges []Challenge) verdict {
	concerned := len(challenges) == 0
	for _, c := range challenges {
		if !c.isOAuth() && !strings.EqualFold(c.Scheme, t.read().form.scheme()) {
			continue
		}
		concerned = true
		switch code := c.Code(); {
		case c.IsStepUp():
			return insufficient
		case code == "use_dpop_nonce" || code == "invalid_dpop_proof":
			return indifferent // it is about a proof, of which a token without a key knows nothing
		}
	}
	if concerned {
		return rejected
	}
	return indifferent
}

// discard ends an answer that nobody gets. One that is not small, or does not come to its end, is not worth its
// connection. It is closed from another goroutine while it is read, which net/http's bodies allow and which ends the reading.
func discard(resp *http.Response) {
	if resp.ContentLength <= maxDrain {
		late := time.AfterFunc(drainTime, func() { _ = resp.Body.Close() })
		_, _ = io.CopyN(io.Discard, resp.Body, maxDrain)
		if !late.Stop() {
			return
		}
	}
	_ = resp.Body.Close()
}

// CloseIdleConnections closes Base's idle connections, if it can; http.Client's method of that name
// calls it.
func (t *Transport) CloseIdleConnections() {
	if b, ok := t.base().(interface{ CloseIdleConnections() }); ok {
		b.CloseIdleConnections()
	}
}

func (t *Transport) base() http.RoundTripper {
	if t.Base != nil {
		return t.Base
	}
	return http.DefaultTransport
}

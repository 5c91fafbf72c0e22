package transport

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync/atomic"

	"golang.org/x/oauth2"
)

const (
	maxDrain = 64 << 10 // of a rejected answer, so that its connection can be used again
	maxPeek  = 64 << 10 // of an answer that Transport.Rejected looks at
)

// Transport is an http.RoundTripper that makes requests with an access token. Its fields must not be
// changed once it is in use; it is then safe for concurrent use.
type Transport struct {
	// Source gives the tokens. Required.
	Source Source

	// Base sends the requests. Nil: http.DefaultTransport.
	Base http.RoundTripper

	// Origins lists where tokens may go, as "https://api.example.com". Nil: any origin that the
	// program itself asks over TLS or on the loopback interface. See the package documentation.
	Origins []string

	// Rejected recognises an answer, other than a 401, by which a server rejects the token: some
	// say 403, some 200 with an error inside. It is asked about answers to requests that carried
	// the token. It may read the body: it is given at most 64 KiB of it, and what it reads is put
	// back. Nil: only a 401 rejects.
	Rejected func(*http.Response) bool

	header atomic.Pointer[header]
}

// header is the Authorization header made of a token, kept because tokens change so much more
// seldom than requests are made. It is immutable.
type header struct {
	token *oauth2.Token
	value []string
}

// RoundTrip implements http.RoundTripper.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	allowed, err := t.allows(req)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	if !allowed || req.Header.Get("Authorization") != "" {
		return t.base().RoundTrip(req)
	}
	token, authorization, err := t.authorization(req)
	if err != nil {
		closeBody(req)
		return nil, err
	}
	body := newLoan(req)
	resp, err := t.send(req, body.first(), authorization)
	if err != nil || !t.isRejected(resp) {
		body.release()
		return resp, err
	}
	return t.again(req, &body, resp, token)
}

// again renews the token that resp rejects and sends the request once more, if its body can be. It
// returns what comes then, or resp when there is no other token or no other body.
func (t *Transport) again(req *http.Request, body *loan, resp *http.Response, rejected *oauth2.Token) (*http.Response, error) {
	defer body.release()
	fresh, err := t.Source.Renew(req.Context(), rejected)
	if errors.Is(err, ErrRejected) || err == nil && fresh.AccessToken == rejected.AccessToken {
		return resp, nil
	}
	if err != nil {
		_ = resp.Body.Close()
		return nil, err
	}
	replay, ok := body.again()
	if !ok {
		return resp, nil
	}
	authorization, err := t.headerOf(fresh)
	if err != nil {
		_ = resp.Body.Close()
		if replay != nil {
			_ = replay.Close()
		}
		return nil, err
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrain)
	_ = resp.Body.Close()
	return t.send(req, replay, authorization)
}

// send sends a copy of req. The answer names req itself, so that a logger of answers does not get the
// token.
func (t *Transport) send(req *http.Request, body io.ReadCloser, authorization []string) (*http.Response, error) {
	sent := *req
	sent.Body = body
	sent.Header = maps.Clone(req.Header)
	if sent.Header == nil {
		sent.Header = make(http.Header, 1)
	}
	sent.Header["Authorization"] = authorization
	resp, err := t.base().RoundTrip(&sent)
	if resp != nil {
		resp.Request = req
	}
	return resp, err
}

// authorization gives a usable token and its header.
func (t *Transport) authorization(req *http.Request) (*oauth2.Token, []string, error) {
	token, err := t.Source.Token(req.Context())
	if err != nil {
		return nil, nil, err
	}
	authorization, err := t.headerOf(token)
	return token, authorization, err
}

// headerOf makes the Authorization header of a token, or finds the one made before.
func (t *Transport) headerOf(token *oauth2.Token) ([]string, error) {
	if h := t.header.Load(); h != nil && h.token == token {
		return h.value, nil
	}
	if token == nil || token.AccessToken == "" {
		return nil, errors.New("transport: the source gave an empty token")
	}
	if token.TokenType != "" && !strings.EqualFold(token.TokenType, "Bearer") {
		return nil, fmt.Errorf("transport: a token of type %q is not sent: only Bearer tokens are", token.TokenType)
	}
	if strings.IndexFunc(token.AccessToken, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		return nil, errors.New("transport: the access token holds characters that a header cannot carry")
	}
	h := &header{token, []string{"Bearer " + token.AccessToken}}
	t.header.Store(h)
	return h.value, nil
}

// isRejected reports whether resp rejects the token that its request carried.
func (t *Transport) isRejected(resp *http.Response) bool {
	if resp.StatusCode == http.StatusUnauthorized {
		return rejects(Challenges(resp))
	}
	if t.Rejected == nil {
		return false
	}
	peeked := &peekedBody{ReadCloser: resp.Body}
	looked := *resp
	looked.Body = peeked
	rejected := t.Rejected(&looked)
	resp.Body = peeked.restored()
	return rejected
}

// rejects reports whether a 401 with these challenges is about the token. Without a challenge it is:
// many servers send none. One for other schemes only is not, nor is one that asks for more than
// another token of the same grant can give.
func rejects(challenges []Challenge) bool {
	spoken := false
	for _, c := range challenges {
		if !strings.EqualFold(c.Scheme, "Bearer") && !strings.EqualFold(c.Scheme, "DPoP") {
			continue
		}
		spoken = true
		switch c.Params["error"] {
		case "insufficient_scope", "insufficient_user_authentication", "insufficient_claims", // step-up
			"use_dpop_nonce", "invalid_dpop_proof":
			return false
		}
	}
	return spoken || len(challenges) == 0
}

// CloseIdleConnections closes Base's idle connections, if it can.
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

package transport

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/dpop"
	"github.com/evergrant/evergrant/internal/origin"
)

// prove puts a proof (RFC 9449 §4) for token into the header of a copy of the caller's request, in the place of
// whatever the caller has put there: no other proof goes with this token. nonce, if not empty, is what the server
// has just asked for.
func (t *Transport) prove(sent *http.Request, token *oauth2.Token, nonce string) error {
	if to, _ := origin.Of(sent.URL); !to.IsPrivate() {
		return fmt.Errorf("%w: it is bound to a key (DPoP) and goes over TLS only (RFC 9449 §2); ask for https", ErrToken)
	}
	if !origin.IsASCII(sent.URL.Host) || !origin.IsASCII(sent.Host) {
		return fmt.Errorf("%w: it is bound to a key (DPoP), and a proof names the host as it goes over the wire; write it in punycode (xn--…)", ErrToken)
	}
	target := dpop.Target(sent.URL, sent.Host)
	if nonce == "" {
		nonce = t.servers.Nonce(target)
	}
	method := sent.Method
	if method == "" {
		method = http.MethodGet
	}
	proof, err := t.Source.(Prover).Prove(sent.Context(), token, method, target, nonce)
	if err != nil {
		return err
	}
	for name := range sent.Header {
		if strings.EqualFold(name, schemeDPoP) {
			delete(sent.Header, name)
		}
	}
	sent.Header.Set(schemeDPoP, proof)
	return nil
}

// notice learns from an answer to a request with a proof, or has the Source learn for all its Transports. What is known
// goes by the name that the proof has called the server by.
func (t *Transport) notice(req *http.Request, answer http.Header, refused bool) {
	target := dpop.Target(req.URL, req.Host)
	if s, ok := t.Source.(interface {
		ProofAnswered(url string, answer http.Header, refused bool)
	}); ok {
		s.ProofAnswered(target, answer, refused)
		return
	}
	t.servers.NoticeNonce(target, answer)
}

// judgeProof reads a 401 to a request with a proof. Where there are DPoP challenges, they alone count (RFC 9449 §7.2).
func (t *Transport) judgeProof(req *http.Request, resp *http.Response, challenges []Challenge) (said verdict, nonce string) {
	ours := slices.DeleteFunc(slices.Clone(challenges), func(c Challenge) bool { return !strings.EqualFold(c.Scheme, schemeDPoP) })
	if len(ours) == 0 {
		ours = challenges
	}
	nonce = dpop.Nonce(resp.Header)
	for _, c := range ours {
		switch c.Params["error"] {
		case "use_dpop_nonce":
			if nonce == "" {
				return indifferent, "" // it does not say which
			}
			return unproven, nonce
		case "invalid_dpop_proof":
			t.notice(req, resp.Header, true)
			return unproven, nonce
		}
	}
	return t.verdictOf(ours), nonce
}

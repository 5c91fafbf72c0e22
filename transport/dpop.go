package transport

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

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
	if nonce == "" {
		nonce = t.known().Nonce(sent.URL)
	}
	method := sent.Method
	if method == "" {
		method = http.MethodGet
	}
	proof, err := t.Source.(Prover).Prove(sent.Context(), token, method, dpop.Target(sent.URL, sent.Host), nonce)
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

// known is what servers have said about proofs: what the Source remembers for all its Transports, or this one's own.
func (t *Transport) known() *dpop.Servers {
	if s, ok := t.Source.(interface{ ProofServers() *dpop.Servers }); ok {
		return s.ProofServers()
	}
	return &t.servers
}

// judgeProof reads a 401 to a request with a proof. Where there are DPoP challenges, they alone count (RFC 9449 §7.2).
func (t *Transport) judgeProof(req *http.Request, resp *http.Response, challenges []Challenge) (said verdict, nonce string) {
	ours := slices.DeleteFunc(slices.Clone(challenges), func(c Challenge) bool { return !strings.EqualFold(c.Scheme, schemeDPoP) })
	if len(ours) == 0 {
		ours = challenges
	}
	nonce = t.known().NoticeNonce(req.URL, resp.Header)
	for _, c := range ours {
		switch c.Params["error"] {
		case "use_dpop_nonce":
			if nonce == "" {
				return indifferent, "" // it does not say which
			}
			return unproven, nonce
		case "invalid_dpop_proof":
			t.known().NoticeDate(req.URL, resp.Header, time.Now())
			return unproven, nonce
		}
	}
	return verdictOf(ours), nonce
}

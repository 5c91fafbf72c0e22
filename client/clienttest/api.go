package clienttest

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// resourcePath is where an API says which authorization server it trusts (RFC 9728 section 3.1).
const resourcePath = "/.well-known/oauth-protected-resource"

// API is a resource server that lets in whoever has a live access token of its Server, one that was issued for
// no resource in particular or for an address of this API (RFC 8707). Set its fields before it is used, or by
// Server.Change.
type API struct {
	// URL is its origin, to be called at any path.
	URL string

	// Scope that the token must have, else 403 and insufficient_scope; empty: none.
	Scope string

	// Status, Challenge (the WWW-Authenticate header) and Body are the answer to a token that is not good; a
	// Status of 0: 401 with a Bearer challenge, invalid_token and the resource's metadata (RFC 6750 section 3,
	// RFC 9728 section 5.1). With another Status, an empty Challenge is none.
	Status    int
	Challenge string
	Body      string

	// Nonce is what proofs of possession have to carry, with Policy.DPoP (RFC 9449 section 9); it comes with every
	// answer. Empty: none.
	Nonce string

	// RejectAll turns every token away, fresh ones too.
	RejectAll bool

	// Handler answers requests whose token is good; nil: 200 with a JSON object of sub, scope and the body
	// received.
	Handler http.Handler

	s                 *Server
	accepted, refused int
}

// NewAPI adds an API to the network, at https://host in memory and at a port of its own on loopback.
func (s *Server) NewAPI(host string) *API {
	a := &API{s: s}
	address := s.Handle("https://"+host, a)
	s.Change(func() { a.URL = address })
	return a
}

// Fail makes the next requests to the API fail, one fault each.
func (a *API) Fail(faults ...Fault) { a.s.queue(a.endpoint(), faults) }

func (a *API) endpoint() string {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	return a.URL
}

func (a *API) refuses(*url.URL) bool { return a.s.unreachable(a.endpoint()) }

// Accepted returns how many requests had a good token so far.
func (a *API) Accepted() int {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	return a.accepted
}

// Refused returns how many requests were turned away for their token or the lack of one so far.
func (a *API) Refused() int {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	return a.refused
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.s.serve(a.endpoint(), w, r, http.HandlerFunc(a.answer))
}

func (a *API) answer(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == resourcePath {
		a.serveMetadata(w)
		return
	}
	token, given := bearer(r)
	a.s.mu.Lock()
	at, no := a.admitLocked(r, token)
	answer := *a
	a.s.mu.Unlock()
	if answer.Nonce != "" {
		w.Header().Set("DPoP-Nonce", answer.Nonce)
	}
	switch {
	case no != nil:
		w.Header().Set("WWW-Authenticate", `DPoP error="`+no.code+`", algs="ES256"`)
		w.WriteHeader(http.StatusUnauthorized)
	case at == nil:
		answer.turnAway(w, given)
	case answer.Scope != "" && !slices.Contains(at.scopes, answer.Scope):
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="`+answer.Scope+`"`)
		writeJSON(w, http.StatusForbidden, map[string]any{"error": "insufficient_scope"})
	case answer.Handler != nil:
		answer.Handler.ServeHTTP(w, r)
	default:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		writeJSON(w, http.StatusOK, map[string]any{"sub": at.family.subject, "scope": strings.Join(at.scopes, " "), "body": string(body)})
	}
}

// bearer returns the token of the one Authorization header.
func bearer(r *http.Request) (token string, given bool) {
	values := r.Header.Values("Authorization")
	if len(values) != 1 {
		return "", len(values) > 0
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Bearer") && !strings.EqualFold(scheme, "DPoP") {
		return "", true
	}
	return token, true
}

// admitLocked returns the token if it is good here, and counts; or what is wrong with the proof that goes with it.
func (a *API) admitLocked(r *http.Request, token string) (*accessToken, *refusal) {
	at := a.s.access[token]
	if at == nil || !at.live() || a.RejectAll || !a.meantLocked(at) {
		a.refused++
		return nil, nil
	}
	if no := a.provesLocked(r, at); no != nil {
		a.refused++
		return nil, no
	}
	a.accepted++
	if at.with != nil {
		at.with.used = true
	}
	return at, nil
}

func (a *API) meantLocked(at *accessToken) bool {
	here := func(resource string) bool {
		return resource == a.URL || strings.HasPrefix(resource, a.URL+"/")
	}
	return len(at.resources) == 0 || slices.ContainsFunc(at.resources, here)
}

// turnAway answers a token that is not good. Who gave none is told of no error (RFC 6750 section 3.1).
func (a *API) turnAway(w http.ResponseWriter, given bool) {
	status, challenge := a.Status, a.Challenge
	if status == 0 {
		status = http.StatusUnauthorized
		challenge = `Bearer resource_metadata="` + a.URL + resourcePath + `"`
		if given {
			challenge += `, error="invalid_token"`
		}
	}
	if challenge != "" {
		w.Header().Set("WWW-Authenticate", challenge)
	}
	if a.Body != "" {
		w.Header().Set("Content-Type", contentType(a.Body))
	}
	w.WriteHeader(status)
	_, _ = io.WriteString(w, a.Body)
}

func (a *API) serveMetadata(w http.ResponseWriter) {
	a.s.mu.Lock()
	members := map[string]any{
		"resource":                 a.URL,
		"authorization_servers":    []string{a.s.Issuer},
		"bearer_methods_supported": []string{"header"},
	}
	if a.s.Policy.Scopes != nil {
		members["scopes_supported"] = a.s.Policy.Scopes
	}
	a.s.mu.Unlock()
	writeJSON(w, http.StatusOK, members)
}

package clienttest

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// registerPath is where clients register (RFC 7591); below it each manages its own registration (RFC 7592).
const registerPath = "/register"

// dynamic is what a client that has registered itself may do.
type dynamic struct {
	members map[string]any // as answered
	token   string         // manages the registration
	order   int
}

// Registered returns the ids of the clients that have registered themselves and are still known, the oldest first.
func (s *Server) Registered() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var known []*registration
	for _, c := range s.clients {
		if c.dynamic != nil {
			known = append(known, c)
		}
	}
	slices.SortFunc(known, func(a, b *registration) int { return a.dynamic.order - b.dynamic.order })
	var ids []string
	for _, c := range known {
		ids = append(ids, c.id)
	}
	return ids
}

// Forget has the Server know a client no more, or with "" none of those that have registered themselves. Their grants
// end with them.
func (s *Server) Forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.clients {
		if c.id == id || id == "" && c.dynamic != nil {
			s.forgetLocked(c)
		}
	}
}

func (s *Server) forgetLocked(c *registration) {
	delete(s.clients, c.id)
	for _, rt := range s.refresh {
		rt.family.dead = rt.family.dead || rt.family.client == c
	}
	for _, at := range s.access {
		at.family.dead = at.family.dead || at.family.client == c
	}
}

// serveRegister registers a client (RFC 7591 section 3).
func (s *Server) serveRegister(w http.ResponseWriter, r *http.Request, _ *Request) {
	var asked map[string]any
	var no *refusal
	if media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); r.Method != http.MethodPost || media != "application/json" {
		no = refused("invalid_client_metadata", "this endpoint takes a POST of application/json")
	} else if json.Unmarshal(readAll(w, r), &asked) != nil {
		no = refused("invalid_client_metadata", "the body is not a JSON object")
	}
	var members map[string]any
	s.Change(func() {
		token, _ := bearer(r)
		switch {
		case !s.Policy.Registration:
			no = &refusal{status: http.StatusNotFound, code: "not_found"}
		case s.Policy.InitialAccessToken != "" && token != s.Policy.InitialAccessToken:
			no = &refusal{status: http.StatusUnauthorized, code: "invalid_token", challenge: "Bearer"}
		}
		if no == nil {
			members, no = s.registerLocked(asked)
		}
	})
	if no != nil {
		no.write(w)
		return
	}
	writeJSON(w, http.StatusCreated, members)
}

func (s *Server) registerLocked(asked map[string]any) (map[string]any, *refusal) {
	method, _ := asked["token_endpoint_auth_method"].(string)
	if method == "" {
		method = "client_secret_basic" // RFC 7591 section 2
	}
	redirects := texts(asked["redirect_uris"])
	kind, _ := asked["application_type"].(string)
	switch {
	case !slices.Contains(authMethods, method):
		return nil, refused("invalid_client_metadata", "no such token_endpoint_auth_method here")
	case slices.Contains(texts(asked["grant_types"]), "authorization_code") && len(redirects) == 0:
		return nil, refused("invalid_redirect_uri", "there is none")
	}
	for _, address := range redirects {
		if reason := wrongFor(kind, address); reason != "" {
			return nil, refused("invalid_redirect_uri", reason)
		}
	}
	s.numbers.client++
	c := &registration{id: fmt.Sprintf("dynamic-%d", s.numbers.client), method: method, redirects: redirects}
	c.dynamic = &dynamic{members: maps.Clone(asked), token: "rat." + rand.Text(), order: s.numbers.client}
	members := c.dynamic.members
	members["client_id"], members["token_endpoint_auth_method"] = c.id, method
	if method != "none" {
		c.secret = "secret." + rand.Text()
		members["client_secret"], members["client_secret_expires_at"] = c.secret, 0
	}
	if s.Policy.Management {
		members["registration_access_token"] = c.dynamic.token
		members["registration_client_uri"] = s.Issuer + registerPath + "/" + c.id
	}
	override(members, s.Policy.Registered)
	s.clients[c.id] = c
	return members, nil
}

// wrongFor says what is wrong with a redirection address of a native client or a web one (OpenID Connect Dynamic Client
// Registration section 2).
func wrongFor(kind, address string) string {
	u, err := url.Parse(address)
	if err != nil || !u.IsAbs() || u.Fragment != "" {
		return "it is not an absolute address without a fragment"
	}
	ip := net.ParseIP(u.Hostname())
	loopback := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
	switch {
	case kind == "native" && u.Scheme == "http" && !loopback, kind == "native" && u.Scheme == "https":
		return "a native client's is on loopback or of a private scheme"
	case kind != "native" && (u.Scheme != "https" || loopback):
		return "a web client's is https and not on this machine"
	}
	return ""
}

// texts are the strings in an array.
func texts(value any) []string {
	list, _ := value.([]any)
	var all []string
	for _, one := range list {
		if text, ok := one.(string); ok {
			all = append(all, text)
		}
	}
	return all
}

// serveRegistration lets a client read or delete its registration (RFC 7592).
func (s *Server) serveRegistration(w http.ResponseWriter, r *http.Request, id string) {
	token, _ := bearer(r)
	var members map[string]any
	s.Change(func() {
		c := s.clients[id]
		if c == nil || c.dynamic == nil || !s.Policy.Management || token != c.dynamic.token {
			return
		}
		members = c.dynamic.members
		if r.Method == http.MethodDelete {
			s.forgetLocked(c)
		}
	})
	switch {
	case members == nil: // of one that is not there nothing is said (RFC 7592 section 2.1)
		w.Header().Set("WWW-Authenticate", "Bearer")
		w.WriteHeader(http.StatusUnauthorized)
	case r.Method == http.MethodDelete:
		w.WriteHeader(http.StatusNoContent)
	case r.Method == http.MethodGet:
		writeJSON(w, http.StatusOK, members)
	default:
		w.WriteHeader(http.StatusMethodNotAllowed)
	}
}

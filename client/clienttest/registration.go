package clienttest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// registration is what the Server knows of a client.
type registration struct {
	id, secret, method string
	redirects          []string
	dynamic            *dynamic // of one that has registered itself; nil: of a test's
}

// Register adds a client, or replaces the one of that id. The method by which it authenticates is
// client_secret_basic, client_secret_post or none (a public client, without a secret).
func (s *Server) Register(id, secret, method string, redirects ...string) {
	if (method == "none") != (secret == "") || !slices.Contains(authMethods, method) {
		s.t.Errorf("clienttest: Register(%q): the method is client_secret_basic or client_secret_post with a secret, or none without; it is %q", id, method)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clients[id] = &registration{id: id, secret: secret, method: method, redirects: slices.Clone(redirects)}
}

var authMethods = []string{"client_secret_basic", "client_secret_post", "none"}

// refusal is an error answer (RFC 6749 section 5.2).
type refusal struct {
	status      int
	code        string
	description string
	challenge   string // WWW-Authenticate
}

func refused(code, description string) *refusal {
	return &refusal{status: http.StatusBadRequest, code: code, description: description}
}

func (r *refusal) write(w http.ResponseWriter) {
	if r.challenge != "" {
		w.Header().Set("WWW-Authenticate", r.challenge)
	}
	writeJSON(w, r.status, map[string]any{"error": r.code, "error_description": r.description})
}

// writeJSON writes an answer that nobody may keep (RFC 6749 section 5.1).
func writeJSON(w http.ResponseWriter, status int, members map[string]any) {
	body, err := json.Marshal(members)
	if err != nil {
		panic(fmt.Errorf("clienttest: a member that Policy gives is not JSON: %w", err))
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// repeatable are the parameters that may come more than once.
var repeatable = []string{"resource", "audience"}

// parameters checks what RFC 6749 section 3.1 and 3.2 say of all parameters: no repetition, and an empty one
// counts as left out.
func parameters(values url.Values) (url.Values, *refusal) {
	given := url.Values{}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		present := slices.DeleteFunc(slices.Clone(values[name]), func(v string) bool { return v == "" })
		if len(values[name]) > 1 && !slices.Contains(repeatable, name) {
			return nil, refused("invalid_request", "a parameter is repeated: "+name)
		}
		if len(present) > 0 {
			given[name] = present
		}
	}
	return given, nil
}

// form reads the parameters of a POST to one of the endpoints for clients.
func form(w http.ResponseWriter, r *http.Request) (url.Values, *refusal) {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	switch {
	case r.Method != http.MethodPost:
		return nil, &refusal{status: http.StatusMethodNotAllowed, code: "invalid_request", description: "this endpoint takes POST"}
	case !strings.EqualFold(strings.TrimSpace(media), "application/x-www-form-urlencoded"):
		return nil, refused("invalid_request", "the body must be application/x-www-form-urlencoded")
	case r.URL.RawQuery != "":
		return nil, refused("invalid_request", "parameters belong into the body, not the query")
	}
	values, err := url.ParseQuery(string(readAll(w, r)))
	if err != nil {
		return nil, refused("invalid_request", "the body is not form-encoded")
	}
	return parameters(values)
}

// authenticateLocked checks that the client authenticates exactly as it is registered (RFC 6749 section 2.3).
func (s *Server) authenticateLocked(r *http.Request, form url.Values) (*registration, *refusal) {
	id, secret, method := form.Get("client_id"), form.Get("client_secret"), "none"
	if secret != "" {
		method = "client_secret_post"
	}
	failed := &refusal{status: http.StatusUnauthorized, code: "invalid_client"}
	if r.Header.Get("Authorization") != "" {
		basicID, basicSecret, ok := basicAuth(r)
		switch {
		case !ok:
			return nil, refused("invalid_request", "the Authorization header is not Basic with a form-encoded id and secret (RFC 6749 section 2.3.1)")
		case secret != "":
			return nil, refused("invalid_request", "the client authenticates twice")
		case id != "" && id != basicID:
			return nil, refused("invalid_request", "client_id differs from the one in the Authorization header")
		}
		id, secret, method = basicID, basicSecret, "client_secret_basic"
		failed.challenge = `Basic realm="clienttest"`
	}
	known := s.clients[id]
	switch {
	case known == nil:
		failed.description = "there is no such client"
	case known.method != method:
		failed.description = fmt.Sprintf("the client is registered for %s and used %s", known.method, method)
	case known.secret != secret:
		failed.description = "the secret is wrong"
	default:
		return known, nil
	}
	return nil, failed
}

// basicAuth decodes Basic credentials; only what really is form-encoded passes.
func basicAuth(r *http.Request) (id, secret string, ok bool) {
	rawID, rawSecret, ok := r.BasicAuth()
	if !ok {
		return "", "", false
	}
	id, secret, ok = rawID, rawSecret, true
	for _, part := range []*string{&id, &secret} {
		if strings.ContainsAny(*part, " &=:?/") {
			return "", "", false
		}
		decoded, err := url.QueryUnescape(*part)
		if err != nil {
			return "", "", false
		}
		*part = decoded
	}
	return id, secret, true
}

// redirectAllowed reports whether a redirection address is a registered one. Only the port of a loopback
// literal may differ (RFC 8252 section 7.3).
func (c *registration) redirectAllowed(address string) bool {
	return slices.ContainsFunc(c.redirects, func(registered string) bool {
		return address == registered || withoutPort(address) == withoutPort(registered) && withoutPort(address) != ""
	})
}

// withoutPort returns a loopback address without its port, and nothing for any other address.
func withoutPort(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" || u.User != nil || u.Fragment != "" {
		return ""
	}
	ip := net.ParseIP(u.Hostname())
	if ip == nil || !ip.IsLoopback() {
		return ""
	}
	u.Host = ip.String()
	return u.String()
}

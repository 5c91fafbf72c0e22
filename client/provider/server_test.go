package provider_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/evergrant/evergrant/client"
)

// server plays the provider: its token endpoint and its API.
type server struct {
	replay
	answers map[string][]byte
	alice   *client.Session
	api     *http.Client

	mu       sync.Mutex // guards what follows
	redeemed string     // the case that a code is answered with; "": login
	renewed  string     // the case that a refresh is answered with
	deny     string     // the case that the API answers with if the token is the one below; "": it is content
	denied   string     // an access token
	last     asked      // the newest request of the token endpoint
	tokens   int        // how many there were
	used     []string   // the access tokens that the API was shown
	said     strings.Builder
	recorded map[string]bool // what said has already

	discovered bool // metadata was asked for
}

// asked is a request of a token endpoint.
type asked struct {
	address string
	form    map[string]string
}

// RoundTrip implements http.RoundTripper: every host is this one, so that requests keep the addresses that the profiles give
// them.
func (s *server) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		if err := r.Body.Close(); err != nil {
			return nil, err
		}
	}
	return http.ReadResponse(bufio.NewReader(bytes.NewReader(s.answer(r, body))), r)
}

// answer is a recorded answer: status line, header and body as they are on the wire, with plain line ends.
func (s *server) answer(r *http.Request, body []byte) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.URL.Scheme != "https" {
		panic(r.URL.Scheme)
	}
	api, _ := url.Parse(s.replay.api)
	answer := []byte("HTTP/1.1 200 OK\nContent-Type: application/json\n\n{\"fine\":true}\n")
	switch {
	case strings.Contains(r.URL.Path, "/.well-known/"):
		answer, s.discovered = s.answers["metadata"], true
	case r.URL.Host == api.Host && r.URL.Path == api.Path:
		s.record("api", r, body)
		s.used = append(s.used, tokenOf(r))
		if s.deny != "" && tokenOf(r) == s.denied {
			answer = s.answers[s.deny]
		}
	default:
		s.tokens++
		s.last = asked{"https://" + r.URL.Host + r.URL.Path, parameters(r, body)}
		switch form := s.last.form; {
		case form["code"] != "":
			s.record("code", r, body)
			answer = s.answers[cmp.Or(s.redeemed, "login")]
		case form["device_code"] != "":
			s.record("device", r, body)
			answer = s.answers["login"]
		case form["grant_type"] != "":
			s.record("refresh", r, body)
			answer = s.answers[s.renewed]
		case form["token"] != "" || tokenOf(r) != "":
			s.record("revoke", r, body)
			answer = s.answers["revoked"]
			if answer == nil {
				answer = []byte("HTTP/1.1 200 OK\n\n")
			}
		default:
			s.record("device authorization", r, body)
			answer = s.answers["device"]
		}
	}
	if answer == nil {
		answer = []byte("HTTP/1.1 404 Not Found\n\n")
	}
	return answer
}

// access is an access token in a header field.
var access = regexp.MustCompile(`access-[0-9]`)

// tokenOf is the access token of a request.
func tokenOf(r *http.Request) string {
	for name, values := range r.Header {
		if token := access.FindString(strings.Join(values, "")); token != "" && name != "" {
			return token
		}
	}
	return ""
}

// parameters are those of a token request, whichever way it is written.
func parameters(r *http.Request, body []byte) map[string]string {
	found := make(map[string]string)
	if strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		_ = json.Unmarshal(body, &found)
		return found
	}
	form, _ := url.ParseQuery(string(body))
	for name := range form {
		found[name] = form.Get(name)
	}
	return found
}

// random are parameters that differ every time.
var random = []string{"state", "code_challenge", "code_verifier", "nonce"}

// written shows parameters, one a line.
func written(params map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(params)) {
		value := params[name]
		if slices.Contains(random, name) {
			value = "..."
		}
		fmt.Fprintf(&b, "  %s=%s\n", name, value)
	}
	return b.String()
}

// record writes the first request of a kind down, as far as it is the profile's doing.
func (s *server) record(kind string, r *http.Request, body []byte) {
	if s.recorded[kind] {
		return
	}
	if s.recorded == nil {
		s.recorded = make(map[string]bool)
	}
	s.recorded[kind] = true
	fmt.Fprintf(&s.said, "%s: %s %s\n", kind, r.Method, r.URL)
	for _, name := range slices.Sorted(maps.Keys(r.Header)) {
		value := strings.Join(r.Header[name], ", ")
		if basic, ok := strings.CutPrefix(value, "Basic "); ok {
			plain, _ := base64.StdEncoding.DecodeString(basic)
			value = "Basic of " + string(plain)
		}
		if !slices.Contains([]string{"Accept-Encoding", "Content-Length", "User-Agent"}, name) {
			fmt.Fprintf(&s.said, "  %s: %s\n", name, value)
		}
	}
	if len(body) > 0 {
		s.said.WriteString(written(parameters(r, body)))
	}
}

// state is what is guarded, for tests.
func (s *server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

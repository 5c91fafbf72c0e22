package clienttest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// codeLife is how long an authorization code is good.
const codeLife = time.Minute

// serveAuthorize answers for Policy.Subject, who agrees to everything at once (RFC 6749 section 4.1.1), and adds
// the issuer (RFC 9207). A request from an unknown client or with another redirection address goes nowhere.
func (s *Server) serveAuthorize(w http.ResponseWriter, r *http.Request, _ *Request) {
	if r.Method != http.MethodGet {
		http.Error(w, "the authorization endpoint takes GET", http.StatusMethodNotAllowed)
		return
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		http.Error(w, "the query is malformed", http.StatusBadRequest)
		return
	}
	query, no := parameters(values)
	if no != nil {
		http.Error(w, no.description, http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	client, issuer := s.clients[query.Get("client_id")], s.Issuer
	s.mu.Unlock()
	redirect, err := url.Parse(query.Get("redirect_uri"))
	if client == nil || err != nil || !client.redirectAllowed(query.Get("redirect_uri")) {
		http.Error(w, "client_id and redirect_uri are not registered together", http.StatusBadRequest)
		return
	}
	answer := redirect.Query()
	answer.Set("iss", issuer)
	if state := query.Get("state"); state != "" {
		answer.Set("state", state)
	}
	if code, no := s.authorize(client, query); no != nil {
		answer.Set("error", no.code)
		answer.Set("error_description", no.description)
	} else {
		answer.Set("code", code)
	}
	redirect.RawQuery = answer.Encode()
	w.Header().Set("Location", redirect.String())
	w.WriteHeader(http.StatusSeeOther)
}

func (s *Server) authorize(client *registration, query url.Values) (string, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	scopes := strings.Fields(query.Get("scope"))
	switch {
	case query.Get("response_type") != "code":
		return "", refused("unsupported_response_type", "response_type must be code")
	case query.Get("code_challenge") == "" || query.Get("code_challenge_method") != "S256":
		return "", refused("invalid_request", "PKCE with S256 is required")
	case s.Policy.Deny:
		return "", refused("access_denied", "the person said no")
	}
	if no := s.scopesExistLocked(scopes); no != nil {
		return "", no
	}
	if no := targets(query["resource"]); no != nil {
		return "", no
	}
	value := "code." + rand.Text()
	s.codes[value] = &code{
		client:    client,
		redirect:  query.Get("redirect_uri"),
		challenge: query.Get("code_challenge"),
		nonce:     query.Get("nonce"),
		family:    &family{client: client, subject: s.Policy.subject(), scopes: scopes, resources: query["resource"], key: query.Get("dpop_jkt")},
		expires:   time.Now().Add(codeLife),
	}
	return value, nil
}

// targets refuses resources that are not absolute or have a fragment (RFC 8707 section 2).
func targets(resources []string) *refusal {
	malformed := func(resource string) bool {
		u, err := url.Parse(resource)
		return err != nil || !u.IsAbs() || strings.Contains(resource, "#")
	}
	if slices.ContainsFunc(resources, malformed) {
		return refused("invalid_target", "a resource is an absolute address without a fragment")
	}
	return nil
}

// Browse plays the person's browser: it opens the authorization URL and returns the address that the Server
// redirects to, with code, state and iss in its query, without opening that. An error means that the Server
// did not redirect.
func (s *Server) Browse(ctx context.Context, authURL string) (*url.URL, error) {
	browser := s.HTTPClient("browser")
	browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, authURL, nil)
	if err != nil {
		return nil, errors.New("clienttest: the authorization URL is malformed")
	}
	resp, err := browser.Do(req)
	if err != nil {
		// A *url.Error shows the URL, and with it the state.
		return nil, fmt.Errorf("clienttest: the authorization endpoint did not answer: %w", errors.Unwrap(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode < 300 || resp.StatusCode > 399 {
		page, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return nil, fmt.Errorf("clienttest: the authorization endpoint answered %d instead of redirecting: %s", resp.StatusCode, page)
	}
	return resp.Location()
}

// Open plays the person's browser to the end, and is made for the Open of a client.Browser: as Browse does, it opens
// the authorization URL; then it opens the address that the Server redirects to, in the Server's network if that is
// there, else on the loopback interface, where a client.Browser waits even if the Server is in memory. That is a
// real socket: in a synctest bubble log in by Server.Login, or by Browse. Open reads the page that it ends on and does
// not judge it; the login has its own error. An error means that the Server did not redirect or that nobody answered;
// it shows no code. Safe for concurrent use.
func (s *Server) Open(address string) error {
	back, err := s.Browse(s.ctx, address)
	if err != nil {
		return err
	}
	browser := s.HTTPClient("browser")
	if s.handler(back) == nil {
		browser = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	}
	req, err := http.NewRequestWithContext(s.ctx, http.MethodGet, back.String(), nil)
	if err != nil {
		return errors.New("clienttest: the redirection address is malformed")
	}
	resp, err := browser.Do(req)
	if err != nil {
		// A *url.Error shows the URL, and with it the code.
		return fmt.Errorf("clienttest: the redirection address did not answer: %w", errors.Unwrap(err))
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxBody)) // a page that is cut short has been opened all the same
	return nil
}

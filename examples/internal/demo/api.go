package demo

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
)

// apiID is the API as a client of the introspection endpoint.
const apiID = "api"

// API is a resource server on a loopback port (RFC 6750). It asks the provider about every token with every
// request, so that a token which was revoked a moment ago is refused at once.
type API struct {
	// URL is what to call.
	URL string

	server   *httptest.Server
	provider *Provider
	refused  atomic.Int64
}

// StartAPI starts an API behind p. Close it at the end.
func StartAPI(p *Provider) *API {
	a := &API{provider: p}
	a.server = httptest.NewServer(a)
	a.URL = a.server.URL + "/me"
	return a
}

// Refused returns how many requests the API has answered with 401.
func (a *API) Refused() int { return int(a.refused.Load()) }

// Close ends the API.
func (a *API) Close() { a.server.Close() }

// ServeHTTP says who the caller is.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		a.refuse(w, `Bearer realm="api"`)
		return
	}
	found, err := a.provider.introspect(r.Context(), token)
	switch {
	case err != nil:
		http.Error(w, "the provider does not answer", http.StatusBadGateway)
	case !found.Active:
		a.refuse(w, `Bearer realm="api", error="invalid_token"`)
	default:
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(map[string]string{"name": found.Username})
	}
}

func (a *API) refuse(w http.ResponseWriter, challenge string) {
	a.refused.Add(1)
	w.Header().Set("WWW-Authenticate", challenge)
	http.Error(w, "this takes a good access token", http.StatusUnauthorized)
}

// introspection is the answer of an introspection endpoint (RFC 7662 §2.2).
type introspection struct {
	Active   bool   `json:"active"`
	Username string `json:"sub"`
}

func introspect(ctx context.Context, hc *http.Client, endpoint, secret, token string) (introspection, error) {
	var found introspection
	body := strings.NewReader(url.Values{"token": {token}}.Encode())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, body)
	if err != nil {
		return found, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(apiID, secret)
	resp, err := hc.Do(r)
	if err != nil {
		return found, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return found, fmt.Errorf("introspection: %s", resp.Status)
	}
	return found, json.NewDecoder(resp.Body).Decode(&found)
}

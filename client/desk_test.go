package client_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
)

// desk is an authorization server at https://as.test that believes everything and keeps what it was sent. It is an
// http.RoundTripper, so that it works in synctest bubbles.
type desk struct {
	metadata map[string]any
	answer   func(n int, form url.Values) (status int, body string) // of the n-th POST, from 1; nil: tokens
	absent   bool                                                   // there is no metadata
	busyFor  string                                                 // Retry-After of what answer gives

	mu       sync.Mutex
	requests []letter // guarded by mu
}

// letter is one POST.
type letter struct {
	url    *url.URL
	header http.Header
	form   url.Values
}

func newDesk(methods ...string) *desk {
	d := &desk{metadata: map[string]any{
		"issuer": "https://as.test", "token_endpoint": "https://as.test/token", "revocation_endpoint": "https://as.test/revoke",
		"device_authorization_endpoint": "https://as.test/device",
	}}
	if methods != nil {
		d.metadata["token_endpoint_auth_methods_supported"] = methods
	}
	return d
}

func (d *desk) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodGet && d.absent {
		return answer(http.StatusNotFound, nil, ""), nil
	}
	if req.Method == http.MethodGet {
		data, err := json.Marshal(d.metadata)
		return answer(http.StatusOK, nil, string(data)), err
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	_ = req.Body.Close()
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	d.requests = append(d.requests, letter{req.URL, req.Header.Clone(), form})
	n := len(d.requests)
	d.mu.Unlock()
	if d.answer != nil {
		if status, text := d.answer(n, form); status != 0 {
			header := http.Header{}
			if d.busyFor != "" {
				header.Set("Retry-After", d.busyFor)
			}
			return answer(status, header, text), nil
		}
	}
	return answer(http.StatusOK, nil, fmt.Sprintf(`{"access_token":"AT%d","token_type":"Bearer","expires_in":3600}`, n)), nil
}

func (d *desk) letters() []letter {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.requests
}

// config is that of a client whose id has to be encoded wherever it goes.
func (d *desk) config(set func(*client.Config)) client.Config {
	c := client.Config{Issuer: "https://as.test", ClientID: "app/1", AuthServerClient: &http.Client{Transport: d}}
	if set != nil {
		set(&c)
	}
	return c
}

// session opens a session that has a refresh token, or a grant that needs none.
func (d *desk) session(t *testing.T, set func(*client.Config)) *client.Session {
	t.Helper()
	config := d.config(set)
	s := open(t, config).Session("alice")
	if config.Grant == nil {
		require.NoError(t, s.Adopt(t.Context(), &oauth2.Token{RefreshToken: "RT"}))
	}
	return s
}

// method is how the client of l has authenticated.
func (l letter) method() string {
	authorization := l.header.Get("Authorization")
	has := func(name string) bool { return l.form.Has(name) }
	switch {
	case strings.HasPrefix(authorization, "Basic ") && !has("client_secret") && !has("client_assertion") && !has("client_id"):
		return "client_secret_basic"
	case authorization != "" || !has("client_id"):
		return "more than one way, or none"
	case has("client_secret") && !has("client_assertion"):
		return "client_secret_post"
	case has("client_assertion") && !has("client_secret"):
		if strings.Contains(decoded(l.form.Get("client_assertion"), 0), `"alg":"HS`) {
			return "client_secret_jwt"
		}
		return "private_key_jwt"
	}
	return "client_id alone"
}

// decoded is a part of a JWS in compact serialization.
func decoded(signed string, part int) string {
	parts := strings.Split(signed, ".")
	if len(parts) != 3 {
		return ""
	}
	text, _ := base64.RawURLEncoding.DecodeString(parts[part])
	return string(text)
}

// verified is the header and the claims of a JWT that key has signed.
func verified(t *testing.T, signed string, key any) (header, claims map[string]any) {
	t.Helper()
	parsed, err := jose.ParseSignedCompact(signed, []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.PS256, jose.HS256, jose.HS512})
	require.NoError(t, err)
	payload, err := parsed.Verify(key)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(payload, &claims))
	require.NoError(t, json.Unmarshal([]byte(decoded(signed, 0)), &header))
	return header, claims
}

package authorization_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
)

// bank is a resource server that asks the provider about tokens (RFC 7662): it shows balances to whoever may read, takes
// payments from whoever may write, and transfers from those who have logged in since a transfer was last asked for.
type bank struct {
	issuer string

	mu        sync.Mutex
	wary      time.Time // of logins before this; guarded by mu
	payments  int       // guarded by mu
	transfers int       // guarded by mu
}

func (b *bank) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	said, err := b.introspect(strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	b.mu.Lock()
	defer b.mu.Unlock()
	scopes := strings.Fields(said.Scope)
	switch {
	case err != nil:
		http.Error(w, "the provider does not answer", http.StatusBadGateway)
	case !said.Active:
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == "/pay" && !slices.Contains(scopes, "api:write"):
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="api:write"`)
		w.WriteHeader(http.StatusForbidden)
	case r.URL.Path == "/pay":
		b.payments++
	case r.URL.Path == "/transfer" && time.Unix(said.IssuedAt, 0).Before(b.wary):
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_user_authentication", max_age="60"`)
		w.WriteHeader(http.StatusUnauthorized)
	case r.URL.Path == "/transfer":
		b.transfers++
	}
}

type introspected struct {
	Active   bool   `json:"active"`
	Scope    string `json:"scope"`
	IssuedAt int64  `json:"iat"`
}

func (b *bank) introspect(token string) (said introspected, err error) {
	form := url.Values{"token": {token}}
	req, err := http.NewRequest(http.MethodPost, b.issuer+"/token/introspection", strings.NewReader(form.Encode()))
	if err != nil {
		return said, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(oidcprovider.WebBasic), url.QueryEscape(oidcprovider.Secret))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return said, err
	}
	defer resp.Body.Close()
	return said, json.NewDecoder(resp.Body).Decode(&said)
}

// TestStepUpAtOIDCProvider has twenty requests at a time want more than the person has granted at first: another scope, then
// a fresher login. Each time one person logs in once, and every request is done once.
// Shows R6750-3.1-2, R9470-4-1, MCP25-ERR-1, MCP26-SCOPE-2.
func TestStepUpAtOIDCProvider(t *testing.T) {
	t.Parallel()
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true, RedirectURIs: []string{callback}})
	b := &bank{issuer: p.Issuer}
	api := httptest.NewServer(b)
	t.Cleanup(api.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)

	// As in a web backend, somebody else than the requests sees to the login.
	needs, done := make(chan client.StepUp), make(chan error)
	config := backend(p)
	config.StepUp = func(ctx context.Context, _ *client.Session, need client.StepUp) error {
		needs <- need
		return <-done
	}
	alice := newClient(t, config).Session("alice")
	login := func(scopes []string, params url.Values) error {
		pending, err := alice.Start(t.Context(), client.AuthCode{Scopes: scopes, Params: params})
		require.NoError(t, err)
		return alice.Finish(t.Context(), pending, p.SignIn(pending.URL, "alice").Query())
	}
	require.NoError(t, login(nil, nil))
	before := len(p.Log())

	all := func(path string, meet func(need client.StepUp)) {
		const requests = 20
		statuses := make(chan int, requests)
		hc := alice.HTTPClient()
		for range requests {
			go func() {
				resp, err := hc.Post(api.URL+path, "application/json", strings.NewReader(`{"amount":1}`))
				if err != nil {
					statuses <- 0
					return
				}
				_ = resp.Body.Close()
				statuses <- resp.StatusCode
			}()
		}
		meet(<-needs)
		for range requests {
			require.Equal(t, http.StatusOK, <-statuses)
		}
	}
	all("/pay", func(need client.StepUp) {
		require.Equal(t, []string{"openid", "offline_access", "api:read", "api:write"}, need.Scopes)
		done <- login(need.Scopes, need.Params)
	})
	next := time.Now().Truncate(time.Second).Add(time.Second) // iat counts whole seconds
	time.Sleep(time.Until(next))
	b.mu.Lock()
	b.wary = next
	b.mu.Unlock()
	all("/transfer", func(need client.StepUp) {
		require.Equal(t, url.Values{"max_age": {"60"}}, need.Params)
		require.Contains(t, need.Scopes, "api:write", "what was granted meanwhile is not lost")
		done <- login(need.Scopes, need.Params)
	})
	b.mu.Lock()
	require.Equal(t, []int{20, 20}, []int{b.payments, b.transfers})
	b.mu.Unlock()
	require.Len(t, p.Log(), before+2, "two logins, and nothing else asked of the provider")

	status, err := alice.Status(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, []string{"openid", "offline_access", "api:read", "api:write"}, status.Scopes)
	_, err = alice.Renew(t.Context(), nil)
	require.NoError(t, err, "the new grant is one that lasts")
}

package mcp_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/auth"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/modelcontextprotocol/go-sdk/oauthex"

	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
)

// server is an MCP server behind the go-sdk's own middleware, which asks its authorization server about every token.
type server struct {
	url      string
	provider *oidcprovider.Provider

	mu   sync.Mutex
	bare []string // requests of an MCP client without a token in its place; guarded by mu
}

// serve starts the server, and the oidc-provider that guards it.
func serve(t *testing.T, config oidcprovider.Config) *server {
	t.Helper()
	mux := http.NewServeMux()
	listener := httptest.NewServer(mux)
	t.Cleanup(listener.Close)
	s := &server{url: listener.URL + "/mcp"}
	config.Resources, config.Registration = []string{s.url}, true
	s.provider = oidcprovider.Start(t, config)

	tools := mcp.NewServer(&mcp.Implementation{Name: "tools", Version: "1"}, nil)
	mcp.AddTool(tools, &mcp.Tool{Name: "whoami", Description: "who asks"}, func(ctx context.Context, r *mcp.CallToolRequest, _ any) (*mcp.CallToolResult, any, error) {
		who := r.Extra.TokenInfo.Extra["sub"].(string)
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: who}}}, nil, nil
	})
	const wellKnown = "/.well-known/oauth-protected-resource/mcp"
	guarded := auth.RequireBearerToken(s.verify, &auth.RequireBearerTokenOptions{
		ResourceMetadataURL: listener.URL + wellKnown, Scopes: []string{"api:read"},
	})
	mux.Handle("/mcp", s.watch(guarded(mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return tools }, nil))))
	mux.Handle(wellKnown, auth.ProtectedResourceMetadataHandler(&oauthex.ProtectedResourceMetadata{
		Resource: s.url, AuthorizationServers: []string{s.provider.Issuer}, ScopesSupported: []string{"api:read", "api:write"},
		BearerMethodsSupported: []string{"header"},
	}))
	return s
}

// watch notes requests of MCP clients that carry no token, or carry one in the query.
func (s *server) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		probe := r.Method == http.MethodGet && r.Header.Get("User-Agent") == "evergrant"
		if !probe && (!strings.HasPrefix(r.Header.Get("Authorization"), "Bearer ") || r.URL.RawQuery != "") {
			s.mu.Lock()
			s.bare = append(s.bare, r.Method)
			s.mu.Unlock()
		}
		next.ServeHTTP(w, r)
	})
}

// withoutToken are the methods of the requests that watch has noted.
func (s *server) withoutToken() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.bare)
}

// verify is an auth.TokenVerifier by introspection (RFC 7662).
func (s *server) verify(ctx context.Context, token string, _ *http.Request) (*auth.TokenInfo, error) {
	form := url.Values{"token": {token}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.provider.Issuer+"/token/introspection", strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(oidcprovider.WebBasic, url.QueryEscape(oidcprovider.Secret))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	var said struct {
		Active     bool   `json:"active"`
		Subject    string `json:"sub"`
		Scope      string `json:"scope"`
		Expiry     int64  `json:"exp"`
		Audience   string `json:"aud"`
		Registered string `json:"client_id"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&said); err != nil {
		return nil, errors.New("the introspection cannot be read")
	}
	if !said.Active || said.Audience != s.url {
		return nil, fmt.Errorf("%w: it is over, or for somebody else", auth.ErrInvalidToken)
	}
	return &auth.TokenInfo{
		Scopes: strings.Fields(said.Scope), Expiration: time.Unix(said.Expiry, 0), UserID: said.Subject,
		Extra: map[string]any{"sub": said.Subject, "client_id": said.Registered},
	}, nil
}

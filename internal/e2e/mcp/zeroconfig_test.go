package mcp_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/chromium"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
)

// program is a run of a program that knows the URL of an MCP server, and nothing else.
func program(t *testing.T, s *server, store tokenstore.Store) *client.Client {
	t.Helper()
	c, err := client.New(client.Config{Resource: s.url, LocalNetwork: true, Store: store})
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, c.Close(context.Background()))
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	})
	return c
}

// logIn has alice log in with a real browser, which does not know her yet.
func logIn(t *testing.T, s *client.Session) {
	t.Helper()
	address, outcome := make(chan string, 1), make(chan error, 1)
	go func() {
		err := s.Login(t.Context(), client.Browser{Open: func(a string) error { address <- a; return nil }})
		outcome <- err
		close(address)
	}()
	if at, ok := <-address; ok {
		chromium.Start(t).SignIn(at, "alice")
	}
	require.NoError(t, <-outcome)
}

// connect makes a session of the MCP SDK's client over HTTP clients of s.
func connect(t *testing.T, s *client.Session, at string) *mcp.ClientSession {
	t.Helper()
	session, err := mcp.NewClient(&mcp.Implementation{Name: "program", Version: "1"}, nil).
		Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: at, HTTPClient: s.HTTPClient()}, nil)
	require.NoError(t, err)
	return session
}

// ask is who, in a session of its own.
func ask(t *testing.T, s *client.Session, at string) string {
	t.Helper()
	session := connect(t, s, at)
	defer func() { require.NoError(t, session.Close()) }()
	return who(t, session)
}

// who lists the tools of a server and calls the one that says who asks.
func who(t *testing.T, s *mcp.ClientSession) string {
	t.Helper()
	tools, err := s.ListTools(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, tools.Tools, 1)
	result, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: tools.Tools[0].Name})
	require.NoError(t, err)
	return result.Content[0].(*mcp.TextContent).Text
}

// Shows MCP25-TOK-1, MCP25-RES-1, MCP25-OVR-2: nothing is known but the URL. The token expires, the program is started
// again, the server forgets who had registered.
func TestMCPServerOfWhichTheURLIsKnown(t *testing.T) {
	t.Parallel()
	s := serve(t, oidcprovider.Config{Rotate: true, AccessTokenLife: 2 * time.Second})
	folder := t.TempDir()
	store, err := file.New(folder, file.Options{Plaintext: true})
	require.NoError(t, err)
	account := program(t, s, store).Session("alice")
	logIn(t, account)
	session := connect(t, account, s.url)
	require.Equal(t, "alice", who(t, session))
	require.Len(t, s.provider.Log(), 1)

	time.Sleep(2 * time.Second) // as long as a token lives
	require.Equal(t, "alice", who(t, session), "with another token")
	require.NoError(t, session.Close())
	log := s.provider.Log()
	require.Greater(t, len(log), 1)
	registered := log[0].ClientID
	for _, request := range log[1:] {
		require.Equal(t, []any{"refresh_token", registered, 200}, []any{request.GrantType, request.ClientID, request.Status})
	}

	again, err := file.New(folder, file.Options{Plaintext: true})
	require.NoError(t, err)
	account = program(t, s, again).Session("alice")
	require.Equal(t, "alice", ask(t, account, s.url), "without a login")

	s.provider.ForgetClient(registered)
	_, err = account.Renew(t.Context(), nil)
	require.ErrorIs(t, err, client.ErrLoginRequired)
	e, ok := errors.AsType[*client.Error](err)
	require.True(t, ok)
	require.Equal(t, "client gone", e.Cause)
	logIn(t, account)
	require.Equal(t, "alice", ask(t, account, s.url))
	log = s.provider.Log()
	require.NotEqual(t, registered, log[len(log)-1].ClientID)
	require.Empty(t, s.withoutToken(), "every request of an MCP client has its token, in the header")
}

// Shows R7592-2.3-1: the registration goes with the grant.
func TestOIDCProviderTakesRegistrationsBack(t *testing.T) {
	t.Parallel()
	s := serve(t, oidcprovider.Config{Rotate: true, Features: map[string]any{"registrationManagement": map[string]any{"enabled": true}}})
	c := program(t, s, nil)
	account := c.Session("alice")
	logIn(t, account)
	require.Equal(t, "alice", ask(t, account, s.url))
	require.Equal(t, 1, s.provider.Stats().Live.Registrations)
	require.NoError(t, account.Logout(t.Context()))
	require.NoError(t, c.Close(t.Context()))
	require.Zero(t, s.provider.Stats().Live.Registrations)
}

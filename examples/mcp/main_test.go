package main

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore/file"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newServer is an MCP server with two tools, and the authorization server that guards it.
func newServer(t *testing.T) (*clienttest.Server, string) {
	guard := clienttest.New(t)
	guard.Listen()
	guard.Change(func() { guard.Policy.Registration = true })
	tools := mcp.NewServer(&mcp.Implementation{Name: "tools", Version: "1"}, nil)
	for _, name := range []string{"add", "greet"} {
		mcp.AddTool(tools, &mcp.Tool{Name: name, Description: "a tool to " + name}, func(context.Context, *mcp.CallToolRequest, any) (*mcp.CallToolResult, any, error) {
			return &mcp.CallToolResult{}, nil, nil
		})
	}
	api := guard.NewAPI("mcp.test")
	guard.Change(func() {
		api.Handler = mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return tools }, &mcp.StreamableHTTPOptions{Stateless: true})
	})
	return guard, api.URL
}

func TestMCP_asksOnce(t *testing.T) {
	guard, address := newServer(t)
	dir := t.TempDir()
	config := func() client.Config {
		store, err := file.New(dir, file.Options{Plaintext: true})
		require.NoError(t, err)
		return client.Config{Resource: address, LocalNetwork: true, Store: store}
	}
	person := client.Browser{Open: func(address string) error {
		back, err := guard.Browse(t.Context(), address)
		if err != nil {
			return err
		}
		resp, err := http.Get(back.String())
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}}
	const want = "add: a tool to add\ngreet: a tool to greet\n"
	var first, second bytes.Buffer
	require.NoError(t, run(t.Context(), config(), person, &first))
	require.Equal(t, want, first.String())

	nobody := client.Browser{Open: func(string) error { return errors.New("nobody is there") }}
	guard.RevokeAccessToken("")
	require.NoError(t, run(t.Context(), config(), nobody, &second))
	require.Equal(t, want, second.String())
	require.Len(t, guard.Registered(), 1)
	require.Len(t, guard.Renewals(), 1)
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
}

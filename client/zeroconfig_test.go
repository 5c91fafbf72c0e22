package client_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore"
)

const appCallback = "https://app.test/callback"

// unknown is a resource of which a program knows the address alone, and the server that guards it.
type unknown struct {
	t      *testing.T
	server *clienttest.Server
	api    *clienttest.API
	store  tokenstore.Store
	seen   []*http.Request // what was asked of the resource and the server, in order
	asked  url.Values      // by the last authorization request
}

func newUnknown(t *testing.T) *unknown {
	u := &unknown{t: t, server: clienttest.New(t), store: tokenstore.NewMemory()}
	u.server.Policy.Registration = true
	u.api = u.server.NewAPI("mcp.test")
	return u
}

// RoundTrip implements http.RoundTripper: it notes what is asked.
func (u *unknown) RoundTrip(req *http.Request) (*http.Response, error) {
	u.seen = append(u.seen, req)
	return u.server.HTTPClient("").Transport.RoundTrip(req)
}

// addresses are those that were asked for, in order.
func (u *unknown) addresses() []string {
	var all []string
	for _, req := range u.seen {
		all = append(all, req.Method+" "+req.URL.String())
	}
	return all
}

// config is what is known of the resource.
func (u *unknown) config() client.Config {
	return client.Config{
		Resource: u.api.URL, LocalNetwork: true, RedirectURL: appCallback, Store: u.store, AuthServerClient: &http.Client{Transport: u},
	}
}

func (u *unknown) client(config client.Config) *client.Client {
	u.t.Helper()
	c, err := client.New(config)
	require.NoError(u.t, err)
	u.t.Cleanup(func() { require.NoError(u.t, c.Close(context.Background())) })
	return c
}

// login has the person log in, over the text of the Pending.
func (u *unknown) login(s *client.Session) error {
	u.t.Helper()
	begun, err := s.Start(u.t.Context(), client.AuthCode{})
	if err != nil {
		return err
	}
	address, err := url.Parse(begun.URL)
	require.NoError(u.t, err)
	u.asked = address.Query()
	text, err := begun.MarshalText()
	require.NoError(u.t, err)
	p := new(client.Pending)
	require.NoError(u.t, p.UnmarshalText(text))
	back, err := u.server.Browse(u.t.Context(), begun.URL)
	require.NoError(u.t, err)
	return s.Finish(u.t.Context(), p, back.Query())
}

// get makes a request to the resource.
func (u *unknown) get(s *client.Session) (int, error) {
	u.t.Helper()
	resp, err := s.Wrap(&http.Client{Transport: u}).Get(u.api.URL + "/tools")
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// Shows MCP25-OVR-2, MCP25-DISC-1, MCP25-SEC-5, MCP25-RES-1, R9728-7.4-1.
func TestNothingIsKnownButTheResource(t *testing.T) {
	u := newUnknown(t)
	c := u.client(u.config())
	s := c.Session("alice")
	_, err := u.get(s)
	require.ErrorIs(t, err, client.ErrLoginRequired)
	require.NoError(t, u.login(s))
	require.Equal(t, []string{"GET https://mcp.test", "GET https://mcp.test/.well-known/oauth-protected-resource",
		"GET https://as.test/.well-known/oauth-authorization-server", "POST https://as.test/register", "POST https://as.test/token"}, u.addresses())
	require.Equal(t, []string{u.api.URL}, u.asked["resource"])
	status, err := u.get(s)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)

	_, err = s.Renew(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, u.server.Registered(), 1)
	require.Len(t, u.server.Renewals(), 1)

	t.Run("another process goes on with the registration", func(t *testing.T) {
		again := u.client(u.config()).Session("alice")
		_, err := again.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, u.server.Registered()[0], u.server.Renewals()[1].ClientID)
		require.Len(t, u.server.Registered(), 1)
	})
}

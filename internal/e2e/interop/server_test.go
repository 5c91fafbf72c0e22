package interop_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore"
)

// role is what a client is registered for.
type role int

const (
	person  role = iota // people log in, and refresh
	web                 // likewise, with a secret
	gadget              // people log in on another device
	daemon              // client credentials, with a secret
	keyed               // with a key (private_key_jwt)
	bearing             // client credentials, with a certificate (RFC 8705)
)

// server is a column of the matrix.
type server struct {
	metadata string                 // the address of its metadata; empty: it has none
	clients  map[role]client.Config // those that it knows
	http     *http.Client           // reaches it
	api      string                 // a protected resource
	signIn   func(t *testing.T, address string) *url.URL
	approve  func(t *testing.T, v client.Verification)
	end      func(t *testing.T, accessToken string) // before its time; the refresh token lives on
	replayed replayed

	// call calls a protected resource in the name of a session and returns the status; nil: a GET of api.
	call func(t *testing.T, s *client.Session) int
	// own are the rows that go another way here.
	own map[string]func(t *testing.T, s *server) verdict
}

// replayed is what becomes of a refresh token that is presented again after its successor has been used.
type replayed struct {
	status int
	code   string
	spread bool // its successors die, too
}

// open opens a session of a client over a store of its own, and the wire to the server.
func (s *server) open(t *testing.T, r role, set ...func(*client.Config)) (*client.Session, *wire) {
	t.Helper()
	config, ok := s.clients[r]
	require.True(t, ok, "the server has no such client")
	w := &wire{base: s.http.Transport}
	config.AuthServerClient, config.Store = &http.Client{Transport: w}, tokenstore.NewMemory()
	for _, change := range set {
		change(&config)
	}
	c, err := client.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) })
	return c.Session("alice"), w
}

// confidential is the client with a secret for which people log in, if there is one.
func (s *server) confidential() role {
	if _, ok := s.clients[web]; ok {
		return web
	}
	return person
}

// login opens a session and has the person log in.
func (s *server) login(t *testing.T, r role, set ...func(*client.Config)) (*client.Session, *wire) {
	t.Helper()
	session, w := s.open(t, r, set...)
	pending, err := session.Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	require.NoError(t, session.Finish(t.Context(), pending, s.signIn(t, pending.URL).Query()))
	return session, w
}

// needsNobody has a client run the client credentials grant.
func needsNobody(c client.Config) client.Config {
	c.Grant = client.ClientCredentials{}
	return c
}

// requireWorks wants a protected resource to serve the session.
func (s *server) requireWorks(t *testing.T, session *client.Session) {
	t.Helper()
	call := s.call
	if call == nil {
		call = func(t *testing.T, session *client.Session) int { return get(t, session.Wrap(s.http), s.api) }
	}
	require.Equal(t, http.StatusOK, call(t, session))
}

func get(t *testing.T, hc *http.Client, address string) int {
	t.Helper()
	status, _ := read(t, hc, address)
	return status
}

func read(t *testing.T, hc *http.Client, address string) (status int, body []byte) {
	t.Helper()
	resp, err := hc.Get(address)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	require.NoError(t, err)
	return resp.StatusCode, body
}

// document is the server's metadata; nil: it has none.
func (s *server) document(t *testing.T) map[string]any {
	t.Helper()
	if s.metadata == "" {
		return nil
	}
	status, body := read(t, s.http, s.metadata)
	require.Equal(t, http.StatusOK, status)
	var members map[string]any
	require.NoError(t, json.Unmarshal(body, &members))
	require.NotEmpty(t, members["token_endpoint"])
	return members
}

// renew renews the session's token and returns it.
func renew(t *testing.T, session *client.Session) *oauth2.Token {
	t.Helper()
	token, err := session.Renew(t.Context(), nil)
	require.NoError(t, err)
	return token
}

// current is the session's token.
func current(t *testing.T, session *client.Session) *oauth2.Token {
	t.Helper()
	token, err := session.Token(t.Context())
	require.NoError(t, err)
	return token
}

package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
)

// newAlice is somebody who has logged in at an OpenID provider in memory.
func newAlice() (alice *client.Session, end func()) {
	ctx, t := context.Background(), new(example)
	provider := clienttest.New(t)
	api := provider.NewAPI("me.test")
	provider.Change(func() {
		provider.Policy.Metadata = map[string]any{"userinfo_endpoint": api.URL, "end_session_endpoint": "https://as.test/end"}
	})
	c := provider.NewClient(client.Config{
		Issuer: provider.Issuer, ClientID: "app", ClientSecret: provider.Config().ClientSecret, Scopes: []string{"openid"}, RedirectURL: "https://app.test/callback",
	})
	alice = c.Session("alice")
	pending, err := alice.Start(ctx, client.AuthCode{})
	if err != nil {
		panic(err)
	}
	callback, err := provider.Browse(ctx, pending.URL)
	if err != nil {
		panic(err)
	}
	if err := alice.Finish(ctx, pending, callback.Query()); err != nil {
		panic(err)
	}
	return alice, t.end
}

// example is what clienttest knows of a test, for an example.
type example struct {
	testing.TB
	cleanups []func()
}

func (e *example) Helper()                           {}
func (e *example) Cleanup(f func())                  { e.cleanups = append(e.cleanups, f) }
func (e *example) Context() context.Context          { return context.Background() }
func (e *example) Errorf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
func (e *example) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

func (e *example) end() {
	for len(e.cleanups) > 0 {
		last := len(e.cleanups) - 1
		e.cleanups[last]()
		e.cleanups = e.cleanups[:last]
	}
}

func ExampleSession_Claims() {
	alice, end := newAlice()
	defer end()
	var who struct {
		Issuer  string `json:"iss"`
		Subject string `json:"sub"`
	}
	if err := alice.Claims(context.Background(), &who); err != nil {
		panic(err)
	}
	fmt.Println(who.Subject, "of", who.Issuer)
	// Output: alice of https://as.test
}

func ExampleSession_UserInfo() {
	alice, end := newAlice()
	defer end()
	var who struct {
		Subject string `json:"sub"`
		Email   string `json:"email"` // with the scope email
	}
	err := alice.UserInfo(context.Background(), &who)
	if errors.Is(err, client.ErrIDToken) {
		panic("somebody else's claims")
	}
	fmt.Println(who.Subject, err)
	// Output: alice <nil>
}

// The address is taken first: Logout deletes the id token that it holds.
func ExampleSession_EndSessionURL() {
	alice, end := newAlice()
	defer end()
	logout := func(w http.ResponseWriter, r *http.Request) {
		params := url.Values{"post_logout_redirect_uri": {"https://app.test/bye"}}
		address, err := alice.EndSessionURL(r.Context(), params)
		if err := alice.Logout(r.Context()); err != nil {
			http.Error(w, "logged out here only", http.StatusBadGateway)
			return
		}
		if err != nil {
			address = "https://app.test/bye" // the server logs nobody out of itself
		}
		http.Redirect(w, r, address, http.StatusSeeOther)
	}
	_ = logout
	err := alice.Claims(context.Background(), new(any))
	fmt.Println(err)
	// Output: <nil>
}

// The server ends the grant, and the store forgets it, even if the server cannot be asked.
func ExampleSession_Logout() {
	alice, end := newAlice()
	defer end()
	err := alice.Logout(context.Background())
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		fmt.Println("logged out; the server cannot revoke, tokens end by themselves")
	case err != nil:
		fmt.Println("logged out, but the server may not know:", err)
	}
	_, err = alice.Token(context.Background())
	fmt.Println(errors.Is(err, client.ErrLoginRequired))
	// Output: true
}

// What does the server make of the token that the session has?
func ExampleSession_Introspect() {
	ctx := context.Background()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/oauth-authorization-server":
			fmt.Fprintf(w, `{"issuer":"http://%[1]s","token_endpoint":"http://%[1]s/token","introspection_endpoint":"http://%[1]s/introspect"}`, r.Host)
		case "/token":
			fmt.Fprint(w, `{"access_token":"access","token_type":"Bearer","expires_in":3600}`)
		case "/introspect":
			fmt.Fprint(w, `{"active":true,"scope":"read","client_id":"my-service"}`)
		}
	}))
	defer server.Close()
	c, err := client.New(client.Config{Issuer: server.URL, ClientID: "my-service", ClientSecret: "secret", Grant: client.ClientCredentials{}})
	if err != nil {
		panic(err)
	}
	defer c.Close(ctx)
	var token struct {
		Scope string `json:"scope"`
	}
	active, err := c.Session("").Introspect(ctx, &token)
	fmt.Println(active, token.Scope, err)
	// Output: true read <nil>
}

package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
)

// newAlice is somebody who has logged in at an OpenID provider in memory, which has no revocation endpoint, as many have none.
func newAlice() (alice *client.Session, end func()) {
	ctx, t := context.Background(), new(example)
	provider := clienttest.New(t)
	api := provider.NewAPI("me.test")
	provider.Change(func() {
		provider.Policy.Metadata = map[string]any{"userinfo_endpoint": api.URL, "end_session_endpoint": "https://as.test/end", "revocation_endpoint": nil}
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

// The address is taken first: Logout deletes the id token that it holds. A provider without a revocation endpoint can log
// out all the same.
func ExampleSession_EndSessionURL() {
	alice, end := newAlice()
	defer end()
	logout := func(w http.ResponseWriter, r *http.Request) {
		params := url.Values{"post_logout_redirect_uri": {"https://app.test/bye"}}
		address, err := alice.EndSessionURL(r.Context(), params)
		if err := alice.Logout(r.Context()); err != nil && !errors.Is(err, client.ErrNotRevoked) {
			http.Error(w, "still logged in; please try again", http.StatusBadGateway)
			return
		}
		if err != nil {
			address = "https://app.test/bye" // the server logs nobody out of itself
		}
		http.Redirect(w, r, address, http.StatusSeeOther)
	}
	w := httptest.NewRecorder()
	logout(w, httptest.NewRequest(http.MethodPost, "/logout", nil))
	address, _, _ := strings.Cut(w.Header().Get("Location"), "?")
	fmt.Println(w.Code, address)
	// Output: 303 https://as.test/end
}

// The server ends the grant, and the store forgets it, even if the server cannot be asked or, as here, cannot revoke.
func ExampleSession_Logout() {
	alice, end := newAlice()
	defer end()
	err := alice.Logout(context.Background())
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		fmt.Println("logged out; the server cannot revoke, tokens end by themselves")
	case errors.Is(err, client.ErrNotRevoked):
		fmt.Println("logged out, but the server may not know:", err)
	case err != nil:
		fmt.Println("still logged in; try again:", err)
	}
	_, err = alice.Token(context.Background())
	fmt.Println(errors.Is(err, client.ErrLoginRequired))
	// Output:
	// logged out; the server cannot revoke, tokens end by themselves
	// true
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

// One process begins a login and another may finish it: the Pending lies in the browser's own web session in between.
func ExamplePending() {
	ctx, t := context.Background(), new(example)
	defer t.end()
	server, webSession := clienttest.New(t), map[string]string{} // on the server, or sealed in a cookie
	c := server.NewClient(client.Config{Scopes: []string{"openid"}, RedirectURL: "https://app.test/callback"})

	login := func(account string) (address string, err error) {
		pending, err := c.Session(account).Start(ctx, client.AuthCode{})
		if err != nil {
			return "", err
		}
		text, err := pending.MarshalText()
		webSession["account"], webSession["login"] = account, string(text)
		return pending.URL, err // send the browser there
	}
	callback := func(query url.Values) error {
		pending, text := new(client.Pending), webSession["login"]
		delete(webSession, "login") // a Pending is good for one Finish
		if err := pending.UnmarshalText([]byte(text)); err != nil {
			return err
		}
		return c.Session(webSession["account"]).Finish(ctx, pending, query)
	}

	address, err := login("account 1")
	fmt.Println(err)
	back, err := server.Browse(ctx, address)
	fmt.Println(err)
	fmt.Println(callback(back.Query()))
	// Output:
	// <nil>
	// <nil>
	// <nil>
}

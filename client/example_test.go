package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/keychain"
)

func Example() {
	ctx, store := context.Background(), tokenstore.NewMemory()
	call := func() error {
		c, err := client.New(client.Config{
			Issuer:   "https://accounts.example.com",
			ClientID: "my-program",
			Scopes:   []string{"openid", "offline_access"},
			Store:    store,
		})
		if err != nil {
			return err
		}
		defer c.Close(context.WithoutCancel(ctx)) // saves what is under way, also after a signal
		alice := c.Session("alice")
		resp, err := alice.HTTPClient().Get("https://api.example.com/me")
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	fmt.Println(errors.Is(call(), client.ErrLoginRequired))
	// Output: true
}

// The issuer is all that has to be known of a server: its metadata says where its endpoints are, how clients authenticate
// and what else it can do.
func ExampleConfig_issuer() {
	ctx := context.Background()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/.well-known/oauth-authorization-server":
			_ = json.NewEncoder(w).Encode(map[string]any{
				"issuer": "http://" + r.Host, "token_endpoint": "http://" + r.Host + "/v2/token",
				"token_endpoint_auth_methods_supported": []string{"client_secret_post"},
			})
		case "/v2/token":
			fmt.Println("authenticated in the form:", r.PostFormValue("client_secret") != "")
			_ = json.NewEncoder(w).Encode(map[string]any{"access_token": "access", "token_type": "Bearer", "expires_in": 3600})
		}
	}))
	defer server.Close()
	c, err := client.New(client.Config{Issuer: server.URL, ClientID: "my-service", ClientSecret: "secret", Grant: client.ClientCredentials{}})
	if err != nil {
		panic(err)
	}
	defer c.Close(ctx)
	_, err = c.Session("").Token(ctx)
	fmt.Println(err)
	// Output:
	// authenticated in the form: true
	// <nil>
}

func ExampleSession_Login() {
	ctx := context.Background()
	login := func(alice *client.Session) error {
		err := alice.Login(ctx, client.Browser{}) // or client.Device; a web backend uses Start and Finish
		return err
	}
	_ = login
}

// A function that its platform freezes between invocations leaves nothing under way.
func ExampleClient_Wait() {
	c, err := client.New(client.Config{Issuer: "https://accounts.example.com", ClientID: "my-function"})
	if err != nil {
		panic(err)
	}
	handle := func(ctx context.Context) (err error) {
		defer func() { err = errors.Join(err, c.Wait(ctx)) }()
		// … requests with HTTP clients of c's Sessions
		return nil
	}
	fmt.Println(handle(context.Background()))
	// Output: <nil>
}

func ExampleSession_Wrap() {
	c, err := client.New(client.Config{Issuer: "https://accounts.example.com", ClientID: "my-program"})
	if err != nil {
		panic(err)
	}
	alice := c.Session("alice")
	hc := alice.Wrap(&http.Client{Timeout: 10 * time.Second})
	fmt.Println(hc.Timeout)
	// Output: 10s
}

func Example_keychain() {
	open := func() error {
		store, err := keychain.New("my-program", keychain.Options{})
		_ = store
		return err
	}
	_ = open
}

func ExampleFromOAuth2() {
	ctx := context.Background()
	// The token endpoint of the example gives whoever asks a new token.
	n := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n++
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": fmt.Sprint("access ", n), "token_type": "Bearer", "expires_in": 3600, "refresh_token": fmt.Sprint("refresh ", n),
		})
	}))
	defer server.Close()
	config := &oauth2.Config{ClientID: "my-program", Endpoint: oauth2.Endpoint{TokenURL: server.URL}}
	token := &oauth2.Token{RefreshToken: "refresh 0"}
	store := tokenstore.NewMemory()

	adopt := func() error {
		c, err := client.FromOAuth2(config, store)
		if err != nil {
			return err
		}
		err = c.Session("alice").Adopt(ctx, token) // the same token twice changes nothing
		if err != nil {
			return err
		}
		defer c.Close(ctx)
		fresh, err := c.Session("alice").Token(ctx)
		if err == nil {
			fmt.Println(fresh.AccessToken)
		}
		return err
	}
	fmt.Println(adopt())
	fmt.Println(adopt()) // as at the next start of the program
	// Output:
	// access 1
	// <nil>
	// access 1
	// <nil>
}

func ExampleLogEvents() {
	withoutTimes := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey || a.Key == "duration" {
			return slog.Attr{}
		}
		return a
	}}
	ctx, logger := context.Background(), slog.New(slog.NewTextHandler(os.Stdout, withoutTimes))
	c, err := client.New(client.Config{
		Issuer:   "https://accounts.example.com",
		ClientID: "my-program",
		OnEvent:  client.LogEvents(logger),
	})
	if err != nil {
		panic(err)
	}
	_, err = c.Session("alice").Token(ctx)
	if e, ok := errors.AsType[*client.Error](err); ok {
		fmt.Println(e.Cause)
	}
	_ = c.Close(ctx) // waits for events too
	// Unordered output:
	// absent
	// level=WARN msg="login required" issuer=https://accounts.example.com session=alice reason="there was no access token" error="client: renew \"alice\" at https://accounts.example.com: login required: there is no grant in the store"
}

func ExampleSession_Resource() {
	c, err := client.New(client.Config{Issuer: "https://accounts.example.com", ClientID: "my-program"})
	if err != nil {
		panic(err)
	}
	alice := c.Session("alice")
	mail, files := alice.Resource("https://mail.example.com"), alice.Resource("https://files.example.com")
	fmt.Println(mail == files, mail == alice.Resource("https://mail.example.com"))
	_, _ = mail.HTTPClient(), files.HTTPClient() // each sends access tokens of its own
	// Output: false true
}

// Who has logged in, and whose grant is still good.
func ExampleClient_Keys() {
	ctx, t := context.Background(), new(example)
	defer t.end()
	server := clienttest.New(t)
	c := server.NewClient(client.Config{Scopes: []string{"read"}})
	alice := c.Session("alice")
	if err := alice.Login(ctx, client.Browser{Open: server.Open}); err != nil {
		panic(err)
	}
	list := func() error {
		for account, err := range c.Keys(ctx) {
			if err != nil {
				return err
			}
			status, err := c.Session(account).Status(ctx)
			if err != nil {
				return err
			}
			fmt.Println(account, status.LoggedIn, status.Scopes)
		}
		return nil
	}
	logout := func() error {
		err := alice.Logout(ctx) // revokes the grant at the server, and deletes it
		return err
	}
	fmt.Println(list())
	fmt.Println(logout())
	fmt.Println(list())
	// Output:
	// alice true [read]
	// <nil>
	// <nil>
	// <nil>
}

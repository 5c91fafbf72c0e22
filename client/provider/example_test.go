package provider_test

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/provider"
	"github.com/evergrant/evergrant/tokenstore"
)

// A server that nobody has described yet needs a profile, and nothing else.
func ExampleProvider() {
	acme := &provider.Provider{
		Name:      "Acme",
		Variables: []provider.Variable{{Name: "region", Pattern: "[a-z]{2}", Default: "us"}},
		Endpoint: oauth2.Endpoint{
			AuthURL:  "https://login.{region}.acme.example/authorize",
			TokenURL: "https://login.{region}.acme.example/token",
		},
		SecretMethod: "client_secret_post",
		Authorization: provider.Authorization{
			Params:         map[string]string{"access_type": "offline"},
			ScopeSeparator: ",",
			CodeParam:      "auth_code",
		},
		Request: provider.Request{JSON: true},
		Answer: provider.Answer{
			Unwrap: []string{"data"},
			Errors: map[string]string{"TOKEN_GONE@refresh": "invalid_grant"},

			LifetimeUnit: provider.Milliseconds, DefaultLifetime: time.Hour,
		},
		API: provider.API{
			Hosts:    []string{"api.{region}.acme.example"},
			Header:   "X-Acme-Token: {token}",
			Rejected: []provider.Rejection{{Status: 200, Path: "error.code", Values: []string{"TOKEN_EXPIRED"}}},
		},
	}
	c, err := client.New(client.Config{
		Provider:     acme.With("region", "eu"),
		ClientID:     "my-program",
		ClientSecret: "from your configuration",
		RedirectURL:  "https://my-program.example/callback",
		Scopes:       []string{"read", "write"},
	})
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	defer c.Close(ctx)
	p, err := c.Session("alice").Start(ctx, client.AuthCode{})
	if err != nil {
		panic(err)
	}
	asked, err := url.Parse(p.URL)
	if err != nil {
		panic(err)
	}
	fmt.Println(asked.Host, asked.Query().Get("access_type"), asked.Query().Get("scope"))
	// Output: login.eu.acme.example offline read,write
}

// What a customer's address needs is set by name, and refused before anything is sent if it cannot be.
func ExampleProvider_With() {
	for _, shop := range []string{"acme", "acme.evil.example/"} {
		c, err := client.New(client.Config{
			Provider:    provider.Shopify.With("shop", shop),
			ClientID:    "my-program",
			RedirectURL: "https://my-program.example/callback",
		})
		fmt.Println(c != nil, err)
	}
	// Output:
	// true <nil>
	// false client: Config.Provider has a value for "shop" that does not fit [A-Za-z0-9][A-Za-z0-9-]*
}

// A profile that almost fits is copied and changed.
func ExampleFor() {
	p := *provider.For("", "https://acme.okta.com/oauth2/default/v1/token")
	p.API.Hosts = []string{"api.acme.example"}
	fmt.Println(p.Name)
	// Output: Okta
}

// The profile of Google asks for a refresh token in Google's own way: the scope offline_access, which Google does not know, is
// left out.
func Example_google() {
	id, secret, store := "1234.apps.googleusercontent.com", "a secret", tokenstore.NewMemory()
	config := client.Config{
		Provider:     provider.Google,
		ClientID:     id,
		ClientSecret: secret, // Google gives desktop programs one, too
		Scopes:       []string{"openid", "https://www.googleapis.com/auth/drive.readonly"},
		Store:        store,
	}
	c, err := client.New(config)
	if err != nil {
		panic(err)
	}
	fmt.Println(c)
	// Output: client.Config(issuer "https://accounts.google.com", token endpoint "", client id "1234.apps.googleusercontent.com")
}

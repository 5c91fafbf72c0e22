package client_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/transport"
)

// tokenEndpoint gives whoever asks a token, and prints the named parameters of what was asked.
func tokenEndpoint(shown ...string) *httptest.Server {
	return httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		for _, name := range shown {
			if r.PostForm.Has(name) {
				fmt.Println(name+":", strings.Join(r.PostForm[name], ", "))
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": "access", "token_type": "Bearer", "expires_in": 3600,
			"issued_token_type": "urn:ietf:params:oauth:token-type:access_token",
		})
	}))
}

// A client that has a key instead of a secret: the server knows the public half. The key may be any crypto.Signer, such as
// one of a hardware module.
func ExampleKey() {
	ctx := context.Background()
	server := tokenEndpoint("grant_type", "client_assertion_type", "client_secret")
	defer server.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	c, err := client.New(client.Config{
		Endpoint:  oauth2.Endpoint{TokenURL: server.URL}, // or an Issuer, whose metadata says more
		ClientID:  "my-service",
		ClientKey: &client.Key{Signer: key, ID: "2026-11"},
		Grant:     client.ClientCredentials{},
	})
	if err != nil {
		panic(err)
	}
	defer c.Close(ctx)
	_, err = c.Session("").Token(ctx)
	fmt.Println(err)
	// Output:
	// grant_type: client_credentials
	// client_assertion_type: urn:ietf:params:oauth:client-assertion-type:jwt-bearer
	// <nil>
}

func ExampleClientCredentials() {
	ctx := context.Background()
	server := tokenEndpoint("grant_type", "scope", "audience")
	defer server.Close()
	c, err := client.New(client.Config{
		Endpoint:     oauth2.Endpoint{TokenURL: server.URL},
		ClientID:     "my-service",
		ClientSecret: "secret",
		Scopes:       []string{"read"},
		Grant:        client.ClientCredentials{Params: url.Values{"audience": {"https://api.example.com"}}},
	})
	if err != nil {
		panic(err)
	}
	defer c.Close(ctx)
	_, err = c.Session("").Token(ctx)
	fmt.Println(err)
	// Output:
	// grant_type: client_credentials
	// scope: read
	// audience: https://api.example.com
	// <nil>
}

// A client that shows a certificate, to which the server binds the tokens.
func ExampleConfig_clientCertificate() {
	open := func() (*http.Client, error) {
		certificate, err := tls.LoadX509KeyPair("client.pem", "client.key")
		if err != nil {
			return nil, err
		}
		c, err := client.New(client.Config{
			Issuer:            "https://accounts.example.com",
			ClientID:          "my-service",
			ClientCertificate: &certificate,
			Grant:             client.ClientCredentials{},
		})
		if err != nil {
			return nil, err
		}
		return c.Session("").HTTPClient(), nil // shows the certificate to the APIs, too
	}
	_ = open
}

func ExampleJWTBearer() {
	ctx := context.Background()
	server := tokenEndpoint("grant_type", "scope")
	defer server.Close()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	c, err := client.New(client.Config{
		Endpoint: oauth2.Endpoint{TokenURL: server.URL},
		Scopes:   []string{"read"},
		Grant:    client.JWTBearer{Key: &client.Key{Signer: key}, Issuer: "https://sts.example.com", Subject: "alice"},
	})
	if err != nil {
		panic(err)
	}
	defer c.Close(ctx)
	_, err = c.Session("alice").Token(ctx)
	fmt.Println(err)
	// Output:
	// grant_type: urn:ietf:params:oauth:grant-type:jwt-bearer
	// scope: read
	// <nil>
}

func ExampleGoogleServiceAccount() {
	open := func(file []byte) (*http.Client, error) {
		config, err := client.GoogleServiceAccount(file, "", "https://www.googleapis.com/auth/devstorage.read_only")
		if err != nil {
			return nil, err
		}
		config.Origins = []string{"https://storage.googleapis.com"}
		c, err := client.New(config)
		if err != nil {
			return nil, err
		}
		return c.Session("").HTTPClient(), nil
	}
	_, err := open([]byte("a path is not a file"))
	fmt.Println(err)
	// Output: client: GoogleServiceAccount was given something other than JSON; give it the whole key file
}

// A service that calls another in the name of the person who has called it: each of its sessions exchanges the token of
// the person's session of the same key.
func ExampleTokenExchange() {
	ctx := context.Background()
	server := tokenEndpoint("subject_token", "subject_token_type", "audience")
	defer server.Close()
	base := client.Config{Endpoint: oauth2.Endpoint{TokenURL: server.URL}, ClientID: "my-service", ClientSecret: "secret"}
	people, err := client.New(base)
	if err != nil {
		panic(err)
	}
	defer people.Close(ctx)
	if err := people.Session("alice").Adopt(ctx, &oauth2.Token{AccessToken: "alice's token"}); err != nil {
		panic(err)
	}

	base.Grant = client.TokenExchange{
		Subject:     func(session string) transport.Source { return people.Session(session) },
		SubjectType: "access_token",
		Audiences:   []string{"files"},
	}
	files, err := client.New(base)
	if err != nil {
		panic(err)
	}
	defer files.Close(ctx)
	_, err = files.Session("alice").Token(ctx)
	fmt.Println(err)
	// Output:
	// subject_token: alice's token
	// subject_token_type: urn:ietf:params:oauth:token-type:access_token
	// audience: files
	// <nil>
}

func ExampleExtensionGrant() {
	ctx := context.Background()
	server := tokenEndpoint("grant_type", "account_id")
	defer server.Close()
	c, err := client.New(client.Config{
		Endpoint: oauth2.Endpoint{TokenURL: server.URL}, ClientID: "my-service", ClientSecret: "secret",
		Grant: client.ExtensionGrant{Type: "account_credentials", Params: func(context.Context) (url.Values, error) {
			return url.Values{"account_id": {"42"}}, nil
		}},
	})
	if err != nil {
		panic(err)
	}
	defer c.Close(ctx)
	_, err = c.Session("").Token(ctx)
	fmt.Println(err)
	// Output:
	// grant_type: account_credentials
	// account_id: 42
	// <nil>
}

// What only reads gets a token that can only read.
func ExampleSession_Scoped() {
	ctx := context.Background()
	server := tokenEndpoint("grant_type", "scope")
	defer server.Close()
	c, err := client.New(client.Config{Endpoint: oauth2.Endpoint{TokenURL: server.URL}, ClientID: "my-program"})
	if err != nil {
		panic(err)
	}
	defer c.Close(ctx)
	alice := c.Session("alice")
	if err := alice.Adopt(ctx, &oauth2.Token{RefreshToken: "refresh"}); err != nil {
		panic(err)
	}
	_, err = alice.Scoped("read").Token(ctx)
	fmt.Println(err)
	// Output:
	// grant_type: refresh_token
	// scope: read
	// <nil>
}

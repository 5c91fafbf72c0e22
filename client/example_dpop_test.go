package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
)

// Tokens that are of no use to a thief: each request proves the possession of a key that stays where it is.
func ExampleDPoP() {
	mux := http.NewServeMux()
	mux.HandleFunc("/token", func(w http.ResponseWriter, r *http.Request) {
		fmt.Println("the token request has a proof:", strings.Count(r.Header.Get("DPoP"), ".") == 2)
		fmt.Fprint(w, `{"access_token":"an-access-token","token_type":"DPoP","expires_in":3600}`)
	})
	mux.HandleFunc("/me", func(_ http.ResponseWriter, r *http.Request) {
		scheme, _, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		fmt.Println("the API is sent a token by the scheme", scheme)
		fmt.Println("the request to the API has a proof:", strings.Count(r.Header.Get("DPoP"), ".") == 2)
	})
	server := httptest.NewServer(mux)
	defer server.Close()

	c, err := client.New(client.Config{
		Endpoint:     oauth2.Endpoint{TokenURL: server.URL + "/token"},
		ClientID:     "my-program",
		ClientSecret: "its secret",
		Grant:        client.ClientCredentials{},
		DPoP:         &client.DPoP{}, // or DPoP{Key: …} for a key in a hardware module
	})
	if err != nil {
		panic(err)
	}
	defer c.Close(context.Background())
	resp, err := c.Session("").HTTPClient().Get(server.URL + "/me")
	if err != nil {
		panic(err)
	}
	resp.Body.Close()
	// Output:
	// the token request has a proof: true
	// the API is sent a token by the scheme DPoP
	// the request to the API has a proof: true
}

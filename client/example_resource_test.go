package client_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
)

// newServer is a resource of which nothing is known but its address, for an example; open plays the person's browser.
func newServer() (address string, network *http.Client, open func(string) error, end func()) {
	t := new(example)
	s := clienttest.New(t)
	s.Policy.Registration, s.Policy.Scopes = true, []string{"tools:list", "offline_access"}
	return s.NewAPI("mcp.test").URL, s.HTTPClient(""), s.Open, t.end
}

// Of an MCP server, or of any resource that publishes its metadata, the address is enough: the Client finds out who guards
// it, registers there, and asks for tokens for it alone.
func ExampleConfig_resource() {
	ctx := context.Background()
	address, network, open, end := newServer()
	defer end()
	config := client.Config{
		Resource:     address,
		Registration: &client.Registration{Name: "Tool box"},
	}
	config.LocalNetwork, config.AuthServerClient = true, network // where this example has its server
	c, err := client.New(config)
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	session := c.Session("alice")
	if err := session.Login(ctx, client.Browser{Open: open}); err != nil {
		log.Fatal(err)
	}
	resp, err := session.Wrap(network).Get(address + "/tools")
	if err != nil {
		log.Fatal(err)
	}
	defer resp.Body.Close()
	fmt.Println(resp.Status)
	// Output: 200 OK
}

// A program that authorization servers shall know by a document, rather than register it again and again, has its address
// as its client id.
func ExampleClient_MetadataDocument() {
	c, err := client.New(client.Config{
		Resource:     "https://mcp.example.com",
		ClientID:     "https://tools.example.com/client.json",
		Registration: &client.Registration{Name: "Tool box"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(context.Background())
	document, err := c.MetadataDocument() // to be served at https://tools.example.com/client.json
	if err != nil {
		log.Fatal(err)
	}
	var members map[string]any
	if err := json.Unmarshal(document, &members); err != nil {
		log.Fatal(err)
	}
	fmt.Println(members["client_id"], members["client_name"], members["redirect_uris"])
	// Output: https://tools.example.com/client.json Tool box [http://127.0.0.1/callback]
}

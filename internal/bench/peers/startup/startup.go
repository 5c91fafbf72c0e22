// Package startup is what the programs below it have in common: each makes one request with a stored grant and ends. What
// is measured is how long that takes from the start of the process on.
//
//	program FOLDER TOKEN-ENDPOINT API [TOKEN]
//
// TOKEN, as JSON, is stored first.
package startup

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore"
)

// Call makes the request with the grant that lies in store.
func Call(store tokenstore.Store, err error) {
	if err == nil {
		err = call(store)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func call(store tokenstore.Store) error {
	c, err := client.New(client.Config{Endpoint: oauth2.Endpoint{TokenURL: os.Args[2]}, ClientID: "app", Store: store})
	if err != nil {
		return err
	}
	session := c.Session("alice")
	if len(os.Args) > 4 {
		var token oauth2.Token
		if err := json.Unmarshal([]byte(os.Args[4]), &token); err != nil {
			return err
		}
		if err := session.Adopt(context.Background(), &token); err != nil {
			return err
		}
	}
	resp, err := session.HTTPClient().Get(os.Args[3])
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the API answers %s", resp.Status)
	}
	return c.Close(context.Background())
}

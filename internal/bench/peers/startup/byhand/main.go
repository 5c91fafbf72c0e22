// Byhand is the program that one writes without a library: x/oauth2 and a JSON file.
//
//	byhand FOLDER TOKEN-ENDPOINT API [TOKEN]
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"

	"golang.org/x/oauth2"
)

func main() {
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(folder, tokenEndpoint, api string) error {
	path := filepath.Join(folder, "token.json")
	if len(os.Args) > 4 {
		if err := os.WriteFile(path, []byte(os.Args[4]), 0o600); err != nil {
			return err
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var token oauth2.Token
	if err := json.Unmarshal(data, &token); err != nil {
		return err
	}
	config := &oauth2.Config{ClientID: "app", Endpoint: oauth2.Endpoint{TokenURL: tokenEndpoint}}
	source := config.TokenSource(context.Background(), &token)
	resp, err := oauth2.NewClient(context.Background(), source).Get(api)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the API answers %s", resp.Status)
	}
	now, err := source.Token()
	if err != nil || now.AccessToken == token.AccessToken {
		return err
	}
	if data, err = json.Marshal(now); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o600)
}

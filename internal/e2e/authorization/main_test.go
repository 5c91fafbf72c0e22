package authorization_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore/file"
)

// successor is the environment variable that makes a process of this test the next run of a program, whose Config has
// changed meanwhile.
const successor = "EVERGRANT_E2E_SUCCESSOR"

// changed is what successor holds, as JSON.
type changed struct{ Folder, Issuer, TokenURL string }

func TestMain(m *testing.M) {
	if text := os.Getenv(successor); text != "" {
		fmt.Println(succeed(text))
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// succeed asks for a token and says how that ended.
func succeed(text string) string {
	var c changed
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err.Error()
	}
	store, err := file.New(c.Folder, file.Options{Plaintext: true})
	if err != nil {
		return err.Error()
	}
	config := client.Config{Issuer: c.Issuer, ClientID: "native", Store: store}
	config.Endpoint.TokenURL = c.TokenURL
	evergrant, err := client.New(config)
	if err != nil {
		return err.Error()
	}
	_, err = evergrant.Session("alice").Token(context.Background())
	switch {
	case err == nil:
		return "a token"
	case errors.Is(err, client.ErrLoginRequired):
		return "login required"
	}
	return err.Error()
}

// Mcp lists the tools of an MCP server of which it knows nothing but the URL: who guards it, how to register there and
// what to ask for is found out. The first run opens the browser; the next ones find the grant and ask nobody.
//
//	go run -C examples ./mcp https://mcp.example.com/v1
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore/file"
)

func main() {
	config := client.Config{Registration: &client.Registration{Name: "Evergrant's MCP example"}}
	flag.BoolVar(&config.LocalNetwork, "local", false, "the server may be on this machine or in a private network")
	flag.Parse()
	config.Resource = flag.Arg(0)

	dir, err := os.UserConfigDir()
	if err != nil {
		log.Fatal(err)
	}
	// In files that only this user can read, as ssh keeps its keys. A program for people uses the keychain first.
	config.Store, err = file.New(filepath.Join(dir, "evergrant-mcp"), file.Options{Plaintext: true})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, config, client.Browser{Output: os.Stderr}, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run writes the names of the server's tools to out, after a login by flow if that is needed.
func run(ctx context.Context, config client.Config, flow client.Flow, out io.Writer) (err error) {
	c, err := client.New(config)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, c.Close(ctx))
	}()
	session := c.Session("")
	if _, err := session.Token(ctx); errors.Is(err, client.ErrLoginRequired) {
		if err := session.Login(ctx, flow); err != nil {
			return err
		}
	}
	return list(ctx, session, config.Resource, out)
}

// list writes the names of the tools of the server at address to out.
func list(ctx context.Context, session *client.Session, address string, out io.Writer) (err error) {
	program := mcp.NewClient(&mcp.Implementation{Name: "evergrant-example", Version: "1"}, nil)
	server, err := program.Connect(ctx, &mcp.StreamableClientTransport{Endpoint: address, HTTPClient: session.HTTPClient()}, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	for tool, err := range server.Tools(ctx, nil) {
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s: %s\n", tool.Name, tool.Description)
	}
	return nil
}

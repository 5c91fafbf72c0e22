// Quickstart logs in once and then calls an API from many goroutines for ten seconds. Meanwhile access
// tokens end every two seconds, one is revoked before its time, and half-way the program throws away all
// that it has in memory. No call fails, and nobody is asked to log in again.
//
//	go run -C examples ./quickstart
//
// The OpenID provider and the API are inside the program, and as real as they can be there. With these
// flags it talks to any others:
//
//	go run -C examples ./quickstart -issuer https://accounts.example.com -client-id my-program \
//		-scope "openid offline_access" -url https://api.example.com/me
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/evergrant/evergrant/client"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	context.AfterFunc(ctx, stop) // a second interrupt ends the program at once
	if err := run(ctx, parseOptions()); err != nil {
		fmt.Println("failed:", strings.ReplaceAll(err.Error(), "\n", "; "))
		os.Exit(1)
	}
}

// run is the story; an interrupt cuts it short. It prints the last line, unless it returns what went wrong.
func run(ctx context.Context, o options) error {
	w, err := newWorld(&o)
	if err != nil {
		return err
	}
	defer w.close()

	// The first life of the program. Nobody has logged in yet.
	c, alice, err := open(ctx, o, w)
	if err != nil {
		return err
	}
	w.say("program", "calls %s from %d goroutines", o.url, callers)
	story, end := context.WithCancel(ctx)
	defer end()
	go w.upset(story, alice)
	w.calls.make(ctx, alice, o.duration/2)
	if err := shut(c); err != nil {
		return err
	}
	w.say("program", "has made %d requests; throws its client away and starts anew", w.calls.requests)

	// The second one. The grant is in the store. An interrupt in between still ends with a logout.
	c, alice, err = open(context.WithoutCancel(ctx), o, w)
	if err != nil {
		return err
	}
	w.calls.make(ctx, alice, o.duration/2)
	err = alice.Logout(context.WithoutCancel(ctx))
	if errors.Is(err, errors.ErrUnsupported) { // some providers revoke nothing; the grant is deleted all the same
		err = nil
	}
	if err = errors.Join(err, shut(c)); err != nil {
		return err
	}
	w.say("program", "has logged out: the grant is deleted, and revoked where the provider can do that")
	return w.verdict(ctx)
}

// open does what a program does once, at its start: it makes the client and the session of one account, and
// has the person log in if that is needed.
func open(ctx context.Context, o options, w *world) (*client.Client, *client.Session, error) {
	store, err := w.store.open()
	if err != nil {
		return nil, nil, err
	}
	c, err := client.New(client.Config{
		Issuer:       o.issuer, // its endpoints are discovered
		ClientID:     o.clientID,
		ClientSecret: o.clientSecret, // empty for a public client
		Scopes:       strings.Fields(o.scope),
		Store:        store,
	})
	if err != nil {
		return nil, nil, err
	}
	alice := c.Session("alice") // any name for one account of one person
	_, err = alice.Token(ctx)
	if errors.Is(err, client.ErrLoginRequired) {
		w.say("program", "finds no grant in %s; asks for a login", w.store.name)
		err = alice.Login(ctx, w.browser(ctx)) // client.Browser{} is the system's browser
	} else if err == nil {
		w.say("program", "finds its grant in %s", w.store.name)
	}
	if err != nil {
		return nil, nil, errors.Join(err, shut(c))
	}
	return c, alice, nil
}

// shut closes the client at the end of a program: it waits for renewals under way and for tokens that are not
// saved yet, so it must not end with the context of an interrupt.
func shut(c *client.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	return c.Close(ctx)
}

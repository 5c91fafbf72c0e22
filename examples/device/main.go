// Device is a command-line program for machines without a browser: the person confirms the login on a
// phone or another computer (RFC 8628). The next run finds the grant and asks nobody.
//
//	go run -C examples ./device -issuer https://accounts.example.com -client-id my-device -url https://api.example.com/me
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore/file"
)

func main() {
	config := client.Config{Scopes: []string{"openid", "offline_access"}}
	flag.StringVar(&config.Issuer, "issuer", "", "issuer identifier of the authorization server")
	flag.StringVar(&config.ClientID, "client-id", "", "client id of this program")
	url := flag.String("url", "", "what to call")
	flag.Parse()

	dir, err := os.UserConfigDir()
	if err != nil {
		log.Fatal(err)
	}
	// A machine without a screen has no keychain either, and nobody to type a password: the grant is kept as
	// ssh keeps its keys, in files that only this user can read. Where there is a key, set file.Options.Key.
	config.Store, err = file.New(filepath.Join(dir, "evergrant-device"), file.Options{Plaintext: true})
	if err != nil {
		log.Fatal(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, config, os.Stdout, show(os.Stderr), *url); err != nil {
		log.Fatal(err)
	}
}

// prompt shows the person what to confirm, and where.
type prompt = func(context.Context, client.Verification) error

// run calls url, after a login if that is needed, and copies the answer to out.
func run(ctx context.Context, config client.Config, out io.Writer, ask prompt, url string) (err error) {
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
	err = get(ctx, session.HTTPClient(), out, url)
	if !errors.Is(err, client.ErrLoginRequired) {
		return err
	}
	if err := session.Login(ctx, client.Device{Prompt: ask}); err != nil {
		return err
	}
	return get(ctx, session.HTTPClient(), out, url)
}

// show writes for the person. The code goes to the terminal and into no log: who knows it can confirm with
// another account.
func show(out io.Writer) prompt {
	return func(_ context.Context, v client.Verification) error {
		_, err := fmt.Fprintf(out, "Open %s on any device and enter %s (until %s).\n", v.URI, v.UserCode, v.Expiry.Format(time.TimeOnly))
		if err == nil && v.URIComplete != "" {
			_, err = fmt.Fprintf(out, "Or open %s and compare the code.\n", v.URIComplete)
		}
		return err
	}
}

func get(ctx context.Context, hc *http.Client, out io.Writer, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := hc.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	_, err = io.Copy(out, resp.Body)
	return err
}

// Migrate is a program that used golang.org/x/oauth2 and kept its token in a JSON file, moved to Evergrant.
// The lines that went away are shown in comments. Nobody has to log in again.
//
//	go run -C examples ./migrate -config oauth2.json -token token.json -url https://api.example.com/me
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net/http"
	"os"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/keychain"
)

func main() {
	configFile := flag.String("config", "oauth2.json", "an oauth2.Config as JSON")
	tokenFile := flag.String("token", "token.json", "the oauth2.Token that the program has kept until now, as JSON")
	url := flag.String("url", "", "what to call")
	flag.Parse()

	store, err := keychain.New("evergrant-migrate", keychain.Options{})
	if err != nil {
		log.Fatal(err)
	}
	var config oauth2.Config
	if err := read(*configFile, &config); err != nil {
		log.Fatal(err)
	}
	if err := run(context.Background(), os.Stdout, &config, *tokenFile, store, *url); err != nil {
		log.Fatal(err)
	}
}

// run calls url and copies the answer to out.
func run(ctx context.Context, out io.Writer, config *oauth2.Config, tokenFile string, store tokenstore.Store, url string) (err error) {
	c, err := client.FromOAuth2(config, store)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = errors.Join(err, c.Close(ctx))
	}()
	session := c.Session("")

	// Once adopted, the grant lives in the store, and the file goes: after a logout it would be adopted anew. Adopting
	// the same token again changes nothing, should the program end in between.
	// Once no installation has the file any more, these lines go away too.
	var token oauth2.Token
	err = read(tokenFile, &token)
	if err == nil {
		err = session.Adopt(ctx, &token)
	}
	if err == nil {
		err = os.Remove(tokenFile)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}

	// hc := config.Client(ctx, &token) // renewed in memory only: the file went stale with the first rotation
	hc := session.HTTPClient()
	resp, err := hc.Get(url)
	if err != nil {
		return err // errors.Is(err, client.ErrLoginRequired): session.Login(ctx, client.Browser{})
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	_, err = io.Copy(out, resp.Body)
	return err
}

func read(name string, into any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, into); err != nil {
		return errors.New(name + " is not the JSON that it should be") // a syntax error may quote a token
	}
	return nil
}

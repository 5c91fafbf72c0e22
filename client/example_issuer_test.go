package client_test

import (
	"context"
	"fmt"
	"iter"
	"log"
	"strings"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore"
)

// renamed shows the grants that lie under a token endpoint, and them alone, under their issuer.
type renamed struct {
	store                    tokenstore.Store
	tokenURL, issuer, client string
}

func (r renamed) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	return r.store.Load(ctx, r.old(key))
}

func (r renamed) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	return r.store.Swap(ctx, r.old(key), old, value)
}

// Keys makes it a tokenstore.Lister, as Copy wants it. The store has to be one too.
func (r renamed) Keys(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		before, now := tokenstore.Key(r.tokenURL, r.client, ""), tokenstore.Key(r.issuer, r.client, "")
		for key, err := range r.store.(tokenstore.Lister).Keys(ctx, before) {
			if err == nil {
				key = now + strings.TrimPrefix(key, before)
			}
			if (err != nil || strings.HasPrefix(key, prefix)) && !yield(key, err) {
				return
			}
		}
	}
}

// old is where the grant of key has lain until now.
func (r renamed) old(key string) string {
	before, now := tokenstore.Key(r.tokenURL, r.client, ""), tokenstore.Key(r.issuer, r.client, "")
	return before + strings.TrimPrefix(key, now)
}

// A program that began with FromOAuth2 now names the issuer. Before it makes its Client, and with no program of before
// running, it moves the grants there: nobody logs in again. The second time there is nothing to move.
func ExampleFromOAuth2_issuer() {
	ctx, t := context.Background(), new(example)
	defer t.end()
	server := clienttest.New(t)
	server.Listen()
	config, store := server.Config(), tokenstore.NewMemory()
	logIn(config, store, server.Login("read"))

	old := renamed{store, config.Endpoint.TokenURL, server.Issuer, config.ClientID}
	if err := tokenstore.Copy(ctx, old, store); err != nil {
		log.Fatal(err)
	}
	c, err := client.New(client.Config{
		Issuer:       server.Issuer,
		ClientID:     config.ClientID,
		ClientSecret: config.ClientSecret,
		Store:        store,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close(ctx)
	token, err := c.Session("alice").Renew(ctx, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(token.Type())
	for key, err := range store.Keys(ctx, "") {
		fmt.Println(strings.HasPrefix(key, tokenstore.Key(server.Issuer, config.ClientID, "")), err)
	}
	// Output:
	// Bearer
	// true <nil>
}

// logIn is what the program did before.
func logIn(config *oauth2.Config, store tokenstore.Store, token *oauth2.Token) {
	c, err := client.FromOAuth2(config, store)
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Session("alice").Adopt(context.Background(), token); err != nil {
		log.Fatal(err)
	}
	if err := c.Close(context.Background()); err != nil {
		log.Fatal(err)
	}
}

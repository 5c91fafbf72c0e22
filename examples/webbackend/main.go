// Webbackend is a web application whose users sign in with an OpenID provider and let it call an API for them. Each
// browser has a web session, kept by a cookie, and each person an account, which a table finds by the provider's iss and
// sub; a login that one browser begins can be finished by no other.
//
//	CLIENT_SECRET=… go run -C examples ./webbackend -issuer https://accounts.example.com -client-id my-app \
//		-url https://api.example.com/me
//
// Register http://localhost:8080/callback as its redirect URL, and open http://localhost:8080.
package main

import (
	"context"
	"flag"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"time"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore"
)

func main() {
	// A grant in memory ends with the process, as the web sessions of this example do. A backend that keeps
	// those in Redis or SQL keeps the grants there too; replicas then share them.
	config := client.Config{Scopes: []string{"openid", "offline_access"}, Store: tokenstore.NewMemory()}
	flag.StringVar(&config.Issuer, "issuer", "", "issuer identifier of the authorization server")
	flag.StringVar(&config.ClientID, "client-id", "", "client id of this application")
	flag.StringVar(&config.RedirectURL, "redirect-url", "http://localhost:8080/callback", "where browsers come back to")
	listen := flag.String("listen", "localhost:8080", "address to serve on; put TLS in front of it in earnest")
	url := flag.String("url", "", "what to call for a user")
	flag.Parse()
	config.ClientSecret = os.Getenv("CLIENT_SECRET") // arguments are seen by everybody on the machine

	c, err := client.New(config)
	if err != nil {
		log.Fatal(err)
	}
	handler := newApp(c, *url, strings.HasPrefix(config.RedirectURL, "https:"))
	server := &http.Server{Addr: *listen, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	go func() {
		defer stop()
		log.Println(server.ListenAndServe())
	}()
	<-ctx.Done()

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	server.Shutdown(ctx)
	if err := c.Close(ctx); err != nil { // once no request needs a token any more
		log.Fatal(err)
	}
}

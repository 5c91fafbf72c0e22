// Clientcredentials is a daemon that calls an API in its own name: nobody logs in (RFC 6749 §4.4). It asks
// for a token when the first call needs one, and for the next one before that ends.
//
//	CLIENT_SECRET=… go run -C examples ./clientcredentials -issuer https://accounts.example.com \
//		-client-id my-daemon -url https://api.example.com/jobs
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/evergrant/evergrant/client"
)

func main() {
	var config client.Config
	flag.StringVar(&config.Issuer, "issuer", "", "issuer identifier of the authorization server")
	flag.StringVar(&config.ClientID, "client-id", "", "client id of this daemon")
	url := flag.String("url", "", "what to call")
	every := flag.Duration("every", 10*time.Second, "how often")
	flag.Parse()
	config.ClientSecret = os.Getenv("CLIENT_SECRET") // arguments are seen by everybody on the machine

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, config, *url, *every); err != nil {
		log.Fatal(err)
	}
}

// run calls url until ctx ends.
func run(ctx context.Context, config client.Config, url string, every time.Duration) (err error) {
	config.Grant = client.ClientCredentials{}
	// Replicas that share a store (Config.Store) share one token too, instead of asking for one each.
	c, err := client.New(config)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
		defer cancel()
		err = c.Close(ctx)
	}()

	hc := c.Session("").HTTPClient() // there is one account: the daemon's own
	hc.Timeout = 30 * time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		if err := call(ctx, hc, url); err != nil && ctx.Err() == nil {
			log.Println(err) // the next call tries again; the API or the authorization server may be back by then
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func call(ctx context.Context, hc *http.Client, url string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := hc.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, resp.Body); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}

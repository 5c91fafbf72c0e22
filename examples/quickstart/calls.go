package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/evergrant/evergrant/client"
)

// callers is how many goroutines call at once.
const callers = 8

// calls makes requests and keeps count.
type calls struct {
	url   string
	pause time.Duration // of each goroutine, between two requests

	mu               sync.Mutex // guards what follows while make runs
	requests, failed int
	first            error  // the first failure
	tokens           int    // access tokens seen
	token            string // the one seen last
}

// make calls from all goroutines until d is over, or ctx. All that it knows of OAuth is an *http.Client.
func (c *calls) make(ctx context.Context, session *client.Session, d time.Duration) {
	hc := session.HTTPClient()
	until := time.Now().Add(d)
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for time.Now().Before(until) && ctx.Err() == nil {
				c.note(get(ctx, hc, c.url))
				c.look(ctx, session)
				time.Sleep(c.pause)
			}
		})
	}
	group.Wait()
}

// get makes one request.
func get(ctx context.Context, hc *http.Client, url string) error {
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

func (c *calls) note(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.requests++
	if err != nil {
		c.failed++
		if c.first == nil {
			c.first = err
		}
	}
}

// look counts access tokens, for want of a provider that tells: one more is a renewal.
func (c *calls) look(ctx context.Context, session *client.Session) {
	t, err := session.Token(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil && t.AccessToken != c.token {
		c.tokens++
		c.token = t.AccessToken
	}
}

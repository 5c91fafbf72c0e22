package scale_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore"
)

// task is what a worker does with the accounts from From to To: "load" and "swap" ones at random for a while, "renew"
// each of them once.
type task struct {
	Place    Place
	Issuer   string
	Do       string
	From, To int
}

// work does a task and writes how long each piece of it took.
func work(text string) {
	var t task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		fail(err)
	}
	store, done := t.Place.open(false)
	defer done()
	var times []time.Duration
	switch t.Do {
	case "load":
		times = t.steadily(func(n int) error {
			_, _, err := store.Load(context.Background(), keyOf(t.Issuer, n))
			return err
		})
	case "swap":
		times = t.steadily(func(n int) error {
			key := keyOf(t.Issuer, n)
			value, version, err := store.Load(context.Background(), key)
			if err == nil {
				_, err = store.Swap(context.Background(), key, version, value)
			}
			if errors.Is(err, tokenstore.ErrConflict) {
				err = nil // another goroutine drew the same account
			}
			return err
		})
	case "renew":
		times = t.renew(store)
	}
	if err := json.NewEncoder(os.Stdout).Encode(times); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

// steadily does one thing to accounts drawn at random.
func (t task) steadily(do func(n int) error) []time.Duration {
	end := time.Now().Add(steady)
	return inParallel(func(note func(time.Duration)) {
		for began := time.Now(); began.Before(end); began = time.Now() {
			if err := do(t.From + rand.N(t.To-t.From)); err != nil {
				fail(err)
			}
			note(time.Since(began))
		}
	})
}

// renew asks every session for its token, which has expired.
func (t task) renew(store tokenstore.Store) []time.Duration {
	c, err := client.New(client.Config{Endpoint: oauth2.Endpoint{TokenURL: t.Issuer + "/token"}, ClientID: clientID, Store: store})
	if err != nil {
		fail(err)
	}
	var next atomic.Int64
	next.Store(int64(t.From))
	times := inParallel(func(note func(time.Duration)) {
		for n := int(next.Add(1)) - 1; n < t.To; n = int(next.Add(1)) - 1 {
			began := time.Now()
			if _, err := c.Session(sessionOf(n)).Token(context.Background()); err != nil {
				fail(err)
			}
			note(time.Since(began))
		}
	})
	if err := c.Close(context.Background()); err != nil {
		fail(err)
	}
	return times
}

// inParallel runs a part in each of the process's goroutines and gathers what they note.
func inParallel(part func(note func(time.Duration))) (all []time.Duration) {
	var mu sync.Mutex
	var group sync.WaitGroup
	for range perWorker {
		group.Go(func() {
			var times []time.Duration
			part(func(d time.Duration) { times = append(times, d) })
			mu.Lock()
			defer mu.Unlock()
			all = append(all, times...)
		})
	}
	group.Wait()
	return all
}

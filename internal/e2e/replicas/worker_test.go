package replicas_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/crew"
)

// What a worker's journal holds beside crew.Leased, Sending and Settled. Each detail begins with the account's name.
const (
	warm          = "warm"           // every account has been served once; the detail is empty
	called        = "called"         // so many calls more were answered; the detail is their number alone
	slow          = "slow"           // a call took the time in the detail, which is longer than slowCall, whatever came of it
	loginRequired = "login-required" // a call ended with client.ErrLoginRequired, for the cause in the detail
	failed        = "failed"         // a call ended otherwise; the process had no usable token as it began
	wronged       = "wronged"        // the same of a process that had one
)

const (
	slowCall  = time.Second
	callLimit = patience // a call waits for a dead holder's lease and a renewal, on a slow machine
)

func TestMain(m *testing.M) { crew.Run(m, work) }

// order is what a replica needs to know beside its crew.Task.
type order struct {
	Place    place
	Tokens   string // the path of the gate's list
	Accounts int
}

// replica is one process of a web backend: it calls the API for every account, again and again.
type replica struct {
	order
	api     *api
	client  *client.Client
	journal *crew.Journal
	served  atomic.Int32 // how many accounts have been served
	calls   atomic.Int64 // that were answered, and are not in the journal
}

// work does a worker's task until the standard input ends.
func work(t crew.Task, j *crew.Journal) error {
	r := &replica{journal: j}
	if err := json.Unmarshal(t.Order, &r.order); err != nil {
		return err
	}
	s, closeStore, err := r.Place.open()
	if err != nil {
		return err
	}
	if r.api, err = openAPI(r.Tokens); err != nil {
		return err
	}
	watched := &notes{journal: j}
	config := t.Server.Config(watchedStore{s, watched})
	wire := &http.Transport{IdleConnTimeout: time.Second} // as short as the client's own
	config.AuthServerClient = &http.Client{Transport: watchedWire{wire, watched}}
	if r.client, err = client.New(config); err != nil {
		return err
	}
	r.callUntilEOF()
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	return errors.Join(r.client.Close(ctx), closeStore())
}

// callUntilEOF serves all accounts at once. No call is cut short.
func (r *replica) callUntilEOF() {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is what counts
	}()
	var group sync.WaitGroup
	for n := range r.Accounts {
		group.Go(func() { r.serve(ctx, account(n)) })
	}
	group.Go(func() {
		for rest(ctx, time.Second) {
			r.count()
		}
	})
	group.Wait()
	r.count()
}

// count writes into the journal how many calls there were since the last time.
func (r *replica) count() { r.journal.Write(called, strconv.FormatInt(r.calls.Swap(0), 10)) }

// serve calls the API for one account, and waits between two calls, and before the first, so that they come evenly.
func (r *replica) serve(ctx context.Context, account string) {
	hc := r.client.Session(account).Wrap(&http.Client{Transport: r.api})
	usable, first := time.Time{}, true
	for pause := rand.N(pauseMost); rest(ctx, pause); pause = pauseLeast + rand.N(pauseMost-pauseLeast) {
		begun := time.Now()
		until, err := call(hc, apiAddress+account)
		if lasted := time.Since(begun); lasted > slowCall {
			r.journal.Write(slow, fmt.Sprint(account, " ", lasted))
		}
		switch {
		case errors.Is(err, client.ErrLoginRequired):
			r.journal.Write(loginRequired, fmt.Sprint(account, " ", cause(err)))
		case err != nil && begun.Before(usable):
			r.journal.Write(wronged, fmt.Sprint(account, " ", err))
		case err != nil:
			r.journal.Write(failed, fmt.Sprint(account, " ", err))
		}
		if err != nil {
			continue
		}
		usable = until
		r.calls.Add(1)
		if first && int(r.served.Add(1)) == r.Accounts {
			r.journal.Write(warm, "")
		}
		first = false
	}
}

// rest waits for d; false when ctx ends before.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// call calls the API once, and returns until when the token that it took is surely of use to the client.
func call(hc *http.Client, address string) (usable time.Time, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return time.Time{}, err
	}
	resp, err := hc.Do(req)
	if err != nil {
		return time.Time{}, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return time.Time{}, fmt.Errorf("the API answers %s", resp.Status)
	}
	until, err := strconv.ParseInt(resp.Header.Get(usableHeader), 10, 64)
	return time.Unix(0, until), err
}

// cause is why err requires a login.
func cause(err error) string {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return e.Cause
	}
	return ""
}

// Package processes_test runs Evergrant in several processes at once over one store, against a real authorization server
// that ends a grant when a refresh token is presented twice. The processes are this test binary, run again.
package processes_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/keychain"
)

const (
	taskVariable = "EVERGRANT_E2E_TASK" // holds the task of a test binary that is a worker
	service      = "evergrant-e2e"      // in the keychain
	account      = "alice"
	callers      = 2 // goroutines of a worker that call the API
	pause        = 20 * time.Millisecond
	callLimit    = 20 * time.Second // the slowest call waits for a dead holder's lease and a renewal
)

func TestMain(m *testing.M) {
	text := os.Getenv(taskVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	if err := perform(text); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// task is what a worker does: it calls the API until its standard input ends, or it logs in.
type task struct {
	Place   place
	Issuer  string
	API     string        // empty: log in
	Journal string        // where it writes what happens
	Slow    time.Duration // a token request takes up to this to leave the machine
	Want    string        // the error that a login must end with: a name in wanted
}

// place is where a store lies.
type place struct {
	Keychain bool // else a folder of sealed files
	Dir      string
	Key      []byte // seals the files
}

// store is what both stores can do.
type store interface {
	tokenstore.Store
	tokenstore.Liveness
}

func (p place) open() (store, error) {
	if p.Keychain {
		return keychain.New(service, keychain.Options{Dir: p.Dir})
	}
	return file.New(p.Dir, file.Options{Key: file.RawKey(p.Key)})
}

func perform(text string) error {
	var t task
	if err := json.Unmarshal([]byte(text), &t); err != nil {
		return err
	}
	j, err := openJournal(t.Journal)
	if err != nil {
		return err
	}
	s, err := t.Place.open()
	if err != nil {
		return err
	}
	c, err := client.New(client.Config{
		Issuer:           t.Issuer,
		ClientID:         oidcprovider.Native,
		Scopes:           []string{"openid", "offline_access"},
		Store:            watchedStore{s, j},
		AuthServerClient: &http.Client{Transport: watchedWire{http.DefaultTransport, j, t.Slow}},
	})
	if err != nil {
		return err
	}
	if t.API == "" {
		err = expectFailure(c.Session(account), j, t.Want)
	} else {
		callUntilEOF(c.Session(account).HTTPClient(), t.API, j)
	}
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	return errors.Join(err, c.Close(ctx))
}

// callUntilEOF calls the API from all goroutines until the standard input ends. No call is cut short.
func callUntilEOF(hc *http.Client, api string, j *journal) {
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin) // its end is what counts
	}()
	var group sync.WaitGroup
	for range callers {
		group.Go(func() {
			for ctx.Err() == nil {
				switch err := call(hc, api); {
				case err == nil:
					j.write(called, "")
				case errors.Is(err, client.ErrLoginRequired):
					j.write(loginRequired, "")
				default:
					j.write(failed, err.Error())
				}
				time.Sleep(pause)
			}
		})
	}
	group.Wait()
}

func call(hc *http.Client, api string) error {
	ctx, cancel := context.WithTimeout(context.Background(), callLimit)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, api, nil)
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
		return fmt.Errorf("the API answers %s", resp.Status)
	}
	return nil
}

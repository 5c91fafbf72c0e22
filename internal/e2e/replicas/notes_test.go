package replicas_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

// notes are what a worker writes into its journal of what it does to the store and to the authorization server: crew's
// events, with the account before each refresh token. They are safe for concurrent use.
type notes struct {
	journal *crew.Journal
	leased  sync.Map // the account, by the name of the refresh token that is leased
}

// taken notes that the store has taken value under key.
func (n *notes) taken(key string, value []byte) error {
	_, _, account, err := tokenstore.SplitKey(key)
	if err != nil {
		return err
	}
	r, err := record.Decode(value)
	if err != nil {
		return fmt.Errorf("the store was given what is no record: %w", err)
	}
	token := ledger.Name(r.RefreshToken)
	event := crew.Settled
	if r.Lease != nil {
		event = crew.Leased
		n.leased.Store(token, account)
	}
	n.journal.Write(event, account+" "+token)
	return nil
}

// sending notes that a token request is about to leave.
func (n *notes) sending(r *http.Request) error {
	body, err := r.GetBody()
	if err != nil {
		return err
	}
	text, err := io.ReadAll(body)
	if err != nil {
		return err
	}
	form, err := url.ParseQuery(string(text))
	if err != nil {
		return err
	}
	token := ledger.Name(form.Get("refresh_token"))
	account, ok := n.leased.Load(token)
	if !ok {
		return fmt.Errorf("%s is sent without a lease", token)
	}
	n.journal.Write(crew.Sending, fmt.Sprint(account, " ", token))
	return nil
}

// watchedStore notes what the store has taken.
type watchedStore struct {
	store
	notes *notes
}

// Swap implements tokenstore.Store.
func (s watchedStore) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	version, err := s.store.Swap(ctx, key, old, value)
	if err == nil {
		err = s.notes.taken(key, value)
	}
	return version, err
}

// SwapUntil implements tokenstore.Expirer.
func (s watchedStore) SwapUntil(ctx context.Context, key string, old tokenstore.Version, value []byte, until time.Time) (tokenstore.Version, error) {
	version, err := s.store.SwapUntil(ctx, key, old, value, until)
	if err == nil {
		err = s.notes.taken(key, value)
	}
	return version, err
}

// watchedWire notes that a token request is about to be sent.
type watchedWire struct {
	http.RoundTripper
	notes *notes
}

// RoundTrip implements http.RoundTripper.
func (w watchedWire) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/token") {
		if err := w.notes.sending(r); err != nil {
			return nil, err
		}
	}
	return w.RoundTripper.RoundTrip(r)
}

// leftBehind are the refresh tokens that a worker with these events has leased without noting what came of it, each with
// its account; and those of them that it has sent, or nearly.
func leftBehind(events []crew.Event) (leased, inDoubt map[string]string) {
	each := map[string][]crew.Event{}
	for _, e := range events {
		switch e.Name {
		case crew.Leased, crew.Sending, crew.Settled:
			account, token, _ := strings.Cut(e.Detail, " ")
			each[account] = append(each[account], crew.Event{At: e.At, Name: e.Name, Detail: token})
		}
	}
	leased, inDoubt = map[string]string{}, map[string]string{}
	for account, events := range each {
		if last := events[len(events)-1]; last.Name != crew.Settled {
			leased[last.Detail] = account
		}
		if token := crew.InDoubt(events); token != "" {
			inDoubt[token] = account
		}
	}
	return leased, inDoubt
}

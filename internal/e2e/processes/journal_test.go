package processes_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

// The events of a journal.
const (
	leased        = "leased"         // the store holds our lease; the detail names the refresh token as the ledger does
	sending       = "sending"        // a token request is about to leave, or has left
	settled       = "settled"        // the store holds what came of it, and no lease
	called        = "called"         // a call of the API was answered
	loginRequired = "login-required" // a call ended with ErrLoginRequired
	failed        = "failed"         // a call ended otherwise; the detail is the error
	opened        = "opened"         // the detail is the address for the person's browser
)

// journal is the file in which a worker writes what happens, a line an event, so that its death tells where it was. It is
// safe for concurrent use.
type journal struct{ file *os.File }

func openJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &journal{f}, err
}

// write adds an event. A journal that cannot be written makes everything it proves worthless.
func (j *journal) write(event, detail string) {
	line := fmt.Sprintf("%d %s %s\n", time.Now().UnixNano(), event, strconv.Quote(detail))
	if _, err := j.file.WriteString(line); err != nil {
		panic(err)
	}
}

// event is one line of a journal.
type event struct {
	at           time.Time
	name, detail string
}

// readJournal reads a journal; one that is not begun is empty. A line that is being written is left out.
func readJournal(t testing.TB, path string) []event {
	t.Helper()
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	text := string(data)
	var events []event
	for line := range strings.Lines(text[:strings.LastIndexByte(text, '\n')+1]) {
		var e event
		var nanoseconds int64
		_, err := fmt.Sscanf(line, "%d %s %q", &nanoseconds, &e.name, &e.detail)
		require.NoError(t, err, "the line %q", line)
		e.at = time.Unix(0, nanoseconds)
		events = append(events, e)
	}
	return events
}

// inDoubt returns the refresh token that a worker with these events has sent, or nearly, without its successor being
// known to be saved; "" when there is none.
func inDoubt(events []event) string {
	var token string
	sent := false
	for _, e := range events {
		switch e.name {
		case leased:
			token = e.detail
		case sending:
			sent = true
		case settled:
			sent = false
		}
	}
	if !sent {
		return ""
	}
	return token
}

// watchedStore writes into the journal what the store has taken.
type watchedStore struct {
	store
	journal *journal
}

// Swap implements tokenstore.Store.
func (s watchedStore) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	version, err := s.store.Swap(ctx, key, old, value)
	if err != nil {
		return version, err
	}
	r, err := record.Decode(value)
	if err != nil {
		return "", fmt.Errorf("the store was given what is no record: %w", err)
	}
	if r.Lease == nil {
		s.journal.write(settled, "")
	} else {
		s.journal.write(leased, ledgerName(r.RefreshToken))
	}
	return version, nil
}

// ledgerName is a refresh token's name in the provider's ledger.
func ledgerName(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])[:12]
}

// watchedWire writes into the journal that a token request is about to be sent, and is slow to send it: a kill can so come
// before it has left.
type watchedWire struct {
	http.RoundTripper
	journal *journal
	slow    time.Duration
}

// RoundTrip implements http.RoundTripper.
func (w watchedWire) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/token") {
		w.journal.write(sending, "")
		if w.slow > 0 {
			time.Sleep(rand.N(w.slow))
		}
	}
	return w.RoundTripper.RoundTrip(r)
}

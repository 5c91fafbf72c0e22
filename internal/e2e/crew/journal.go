package crew

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

// The events of a journal. Refresh tokens are named as in a ledger.
const (
	Leased        = "leased"         // the store holds our lease; the detail names the refresh token beside it
	Sending       = "sending"        // a token request is about to leave, or has left
	Settled       = "settled"        // the store holds what came of it, and no lease; the detail names the refresh token
	Called        = "called"         // a call of the API was answered
	LoginRequired = "login-required" // a call ended with client.ErrLoginRequired; the detail is the Cause
	Failed        = "failed"         // a call ended otherwise; the detail is the error
	Told          = "told"           // the session had an event; the detail is its kind, reason and error
)

// Journal is the file in which a worker writes what happens, a line an event, so that its death tells where it was. It is
// safe for concurrent use.
type Journal struct{ file *os.File }

func openJournal(path string) (*Journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	return &Journal{f}, err
}

// Write adds an event. A journal that cannot be written makes everything it proves worthless.
func (j *Journal) Write(event, detail string) {
	line := fmt.Sprintf("%d %s %s\n", time.Now().UnixNano(), event, strconv.Quote(detail))
	if _, err := j.file.WriteString(line); err != nil {
		panic(err)
	}
}

// Event is one line of a journal.
type Event struct {
	At           time.Time
	Name, Detail string
}

// readJournal reads a journal from an offset on, and returns how much it has read. One that is not begun is empty; a line
// that is being written is left for the next time.
func readJournal(t testing.TB, path string, from int64) (events []Event, read int64) {
	t.Helper()
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0
	}
	require.NoError(t, err)
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, from, math.MaxInt64-from))
	require.NoError(t, err)
	lines := string(data[:bytes.LastIndexByte(data, '\n')+1])
	for line := range strings.Lines(lines) {
		var e Event
		var nanoseconds int64
		_, err := fmt.Sscanf(line, "%d %s %q", &nanoseconds, &e.Name, &e.Detail)
		require.NoError(t, err, "the line %q", line)
		e.At = time.Unix(0, nanoseconds)
		events = append(events, e)
	}
	return events, int64(len(lines))
}

// InDoubt returns the refresh token that a worker with these events has sent, or nearly, without its successor being
// known to be saved; "" when there is none.
func InDoubt(events []Event) string {
	var token string
	sent := false
	for _, e := range events {
		switch e.Name {
		case Leased: // again, while a request is out: extended
			sent = sent && e.Detail == token
			token = e.Detail
		case Sending:
			sent = true
		case Settled:
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
	Store
	journal *Journal
}

// Swap implements tokenstore.Store.
func (s watchedStore) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	version, err := s.Store.Swap(ctx, key, old, value)
	if err != nil {
		return version, err
	}
	r, err := record.Decode(value)
	if err != nil {
		return "", fmt.Errorf("the store was given what is no record: %w", err)
	}
	if r.Lease == nil {
		s.journal.Write(Settled, ledger.Name(r.RefreshToken))
	} else {
		s.journal.Write(Leased, ledger.Name(r.RefreshToken))
	}
	return version, nil
}

// watchedWire writes into the journal that a token request is about to be sent, and is slow to send it: a kill can so come
// before it has left.
type watchedWire struct {
	http.RoundTripper
	journal *Journal
	slow    time.Duration
}

// RoundTrip implements http.RoundTripper.
func (w watchedWire) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/token") {
		w.journal.Write(Sending, "")
		if w.slow > 0 {
			time.Sleep(rand.N(w.slow))
		}
	}
	return w.RoundTripper.RoundTrip(r)
}

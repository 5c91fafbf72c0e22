package faults_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/ledger"
)

const (
	obeys   = "obey"    // the act of a hand
	renew   = "renew"   // what a hand is told: to renew now
	call    = "call"    // and to call the API, whose address follows
	renewed = "renewed" // in its journal: a renewal has ended well; the detail names the access token

	renewLimit = time.Minute                 // with the wait for a stopped holder's lease
	patient    = renewLimit + 10*time.Second // for everything that must come
)

// hand is a worker that does what it is told, one thing after the other, and nothing else.
type hand struct {
	*crew.Worker
	t    *testing.T
	told int
}

// obey is what a hand does. Every line that it reads has one outcome in its journal.
func obey(s *client.Session, j *crew.Journal) error {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		outcome, detail := crew.Called, ""
		var err error
		switch what, address, _ := strings.Cut(lines.Text(), " "); what {
		case renew:
			outcome = renewed
			detail, err = renewNow(s)
		case call:
			err = crew.Call(s.HTTPClient(), address)
		default:
			return fmt.Errorf("told to %q", what)
		}
		if refusal, ok := errors.AsType[*client.Error](err); ok && errors.Is(err, client.ErrLoginRequired) {
			outcome, detail = crew.LoginRequired, refusal.Cause
		} else if err != nil {
			outcome, detail = crew.Failed, err.Error()
		}
		j.Write(outcome, detail)
	}
	return lines.Err()
}

func renewNow(s *client.Session) (name string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), renewLimit)
	defer cancel()
	token, err := s.Renew(ctx, nil)
	if err != nil {
		return "", err
	}
	return ledger.Name(token.AccessToken), nil
}

// tell has the hand do something and does not wait for it.
func (h *hand) tell(what string) {
	h.t.Helper()
	h.told++
	h.Tell(what)
}

// outcome waits for the outcome of what the hand was told last.
func (h *hand) outcome() crew.Event {
	h.t.Helper()
	return h.await(h.told, renewed, crew.Called, crew.LoginRequired, crew.Failed)
}

// await waits until the hand's journal holds count events of the given names, and returns the last of them.
func (h *hand) await(count int, names ...string) crew.Event {
	h.t.Helper()
	what := fmt.Sprintf("have %d of %v", count, names)
	return h.Await(what, patient, count, func(e crew.Event) bool { return slices.Contains(names, e.Name) })
}

// requireRenewed wants the hand's last renewal to have ended well, and returns the name of the access token.
func (h *hand) requireRenewed() string {
	h.t.Helper()
	e := h.outcome()
	require.Equal(h.t, renewed, e.Name, e.Detail)
	return e.Detail
}

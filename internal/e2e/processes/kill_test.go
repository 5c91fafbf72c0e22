package processes_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/internal/record"
)

// siege is a crew whose workers are killed.
type siege struct {
	*crew.Crew
	t      *testing.T
	losses int
}

// I1, I6 and the store's promise: whenever a process dies, the store stays whole, and a grant is lost only if the process
// died with the answer to its token request on the way.
func TestKilledProcesses(t *testing.T) {
	const (
		processes = 3
		duration  = 30 * time.Second
		calm      = 5 * time.Second // longer than a dead process's lease is honoured
		delay     = 100 * time.Millisecond
	)
	p := strict(t)
	s := &siege{Crew: crew.New(t, crew.AtOIDCProvider(p), crew.InFolder(t)), t: t}
	s.Task.Slow = 4 * delay // about as long as the server takes: a kill falls before the sending as often as after it
	p.Fail(oidcprovider.Faults{Delay: delay, AnswerDelay: delay})
	for range processes {
		s.Hire()
	}
	whole := s.watchStore()
	for end := time.Now().Add(duration); time.Now().Before(end); {
		time.Sleep(300*time.Millisecond + rand.N(700*time.Millisecond))
		s.Strike(4 * delay)
		s.replaceLost()
	}
	for end := time.Now().Add(calm); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		s.replaceLost()
	}
	s.RequireAll("go on", crew.Called, time.Now())
	s.Dismiss()
	whole()
	s.judge()
}

// watchStore looks at the store all the time. The function returned ends that and wants every look to have succeeded.
func (s *siege) watchStore() (whole func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	key := s.Site.StoreKey()
	looks, ended := 0, make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			data, _, err := s.Store.Load(context.Background(), key)
			if err == nil {
				_, err = record.Decode(data)
			}
			_, statusErr := s.Session.Status(context.Background())
			if err := errors.Join(err, statusErr); err != nil {
				ended <- err
				return
			}
			looks++
			time.Sleep(5 * time.Millisecond)
		}
		ended <- nil
	}()
	s.t.Cleanup(cancel)
	return func() {
		cancel()
		require.NoError(s.t, <-ended, "the store is damaged")
		require.Greater(s.t, looks, s.Strikes)
	}
}

// replaceLost logs in if the grant is lost.
func (s *siege) replaceLost() {
	s.t.Helper()
	if s.ReplaceLost() {
		s.losses++
	}
}

// judge compares what the provider's ledger says with the kills.
func (s *siege) judge() {
	calls := 0
	for _, w := range s.All {
		for _, e := range w.Events() {
			assert.NotEqual(s.t, crew.Failed, e.Name, e.Detail)
			if e.Name == crew.Called {
				calls++
			}
		}
	}
	presented, served, refused := map[string]int{}, map[string]time.Time{}, map[string]bool{}
	lines := s.Site.Refreshes()
	for _, line := range lines {
		presented[line.Presented]++
		switch line.Status {
		case http.StatusOK:
			served[line.Presented] = line.Time
		case http.StatusBadRequest:
			assert.Equal(s.t, "invalid_grant", line.Error)
			refused[line.Presented] = true
		default:
			assert.Fail(s.t, "the provider is not well", "%+v", line)
		}
	}
	for token, times := range presented {
		assert.LessOrEqual(s.t, times, 1+len(s.Doubts[token]), "a refresh token was presented again without a kill")
	}
	for token := range refused {
		assert.Contains(s.t, s.Doubts, token, "a grant was lost without a kill between sending and saving")
	}
	doubtful, saved, broughtBack := 0, 0, 0
	for token, kills := range s.Doubts {
		doubtful += len(kills)
		at, ok := served[token]
		switch {
		case refused[token]:
		case ok && at.After(kills[0]):
			broughtBack++
		case ok:
			saved++
		}
	}
	s.t.Logf("%d calls, %d renewals; %d kills, %d of them between sending and saving, of %d refresh tokens: "+
		"the successors of %d were saved all the same, %d were brought back by sending once more, %d lost",
		calls, len(lines), s.Strikes, doubtful, len(s.Doubts), saved, broughtBack, s.losses)
	assert.Equal(s.t, s.losses, len(refused), "each loss is the server's word about one refresh token")
	assert.LessOrEqual(s.t, s.losses, doubtful)
	assert.Positive(s.t, doubtful, "no kill has fallen between sending and saving: this run has proved nothing about that")
	assert.Greater(s.t, len(lines), s.losses, "nothing was renewed but what was lost")
}

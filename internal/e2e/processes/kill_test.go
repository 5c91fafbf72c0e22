package processes_test

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/internal/record"
)

// siege is a crew whose workers are killed, and the count of it.
type siege struct {
	*crew.Crew
	t        *testing.T
	provider *oidcprovider.Provider
	kills    int
	doubts   map[string][]time.Time // by refresh token: the kills while it was sent and its successor not known to be saved
	login    time.Time              // when somebody logged in last
	losses   int
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
	s := &siege{Crew: newCrew(t, p, crew.InFolder(t)), t: t, provider: p, doubts: map[string][]time.Time{}, login: time.Now()}
	s.Task.Slow = 4 * delay // about as long as the server takes: a kill falls before the sending as often as after it
	p.Fail(oidcprovider.Faults{Delay: delay, AnswerDelay: delay})
	for range processes {
		s.Hire()
	}
	whole := s.watchStore()
	for end := time.Now().Add(duration); time.Now().Before(end); {
		time.Sleep(300*time.Millisecond + rand.N(700*time.Millisecond))
		s.strike()
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
	key := s.Task.Server.StoreKey()
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
		require.Greater(s.t, looks, s.kills)
	}
}

// strike kills a worker and puts another into its place. Every second time it is, if there is one soon, the one that has a
// token request out, at a random moment of it. The repetition that follows is left to chance, or nothing would be renewed.
func (s *siege) strike() {
	s.t.Helper()
	victim := rand.N(len(s.Workers))
	if s.kills%2 == 1 {
		if busy := s.awaitBusy(); busy >= 0 {
			victim = busy
			time.Sleep(rand.N(400 * time.Millisecond))
		}
	}
	w := s.Workers[victim]
	at := s.Replace(w)
	s.kills++
	if token := crew.InDoubt(w.Events()); token != "" {
		s.doubts[token] = append(s.doubts[token], at)
	}
}

// awaitBusy returns a worker that has sent a token that nobody was killed with; -1 if there is none for two seconds.
func (s *siege) awaitBusy() int {
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		for i, w := range s.Workers {
			if token := crew.InDoubt(w.Events()); token != "" && s.doubts[token] == nil {
				return i
			}
		}
	}
	return -1
}

// replaceLost logs in if the grant is lost, once the workers have said so.
func (s *siege) replaceLost() {
	s.t.Helper()
	status, err := s.Session.Status(s.t.Context())
	require.NoError(s.t, err)
	if status.LoggedIn {
		return
	}
	require.ErrorIs(s.t, status.Failure, client.ErrLoginRequired)
	s.losses++
	s.RequireAll("report the loss", crew.LoginRequired, s.login)
	s.SignIn()
	s.login = time.Now()
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
	lines := refreshes(s.provider)
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
		assert.LessOrEqual(s.t, times, 1+len(s.doubts[token]), "a refresh token was presented again without a kill")
	}
	for token := range refused {
		assert.Contains(s.t, slices.Collect(maps.Keys(s.doubts)), token, "a grant was lost without a kill between sending and saving")
	}
	doubtful, saved, broughtBack := 0, 0, 0
	for token, kills := range s.doubts {
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
		calls, len(lines), s.kills, doubtful, len(s.doubts), saved, broughtBack, s.losses)
	assert.Equal(s.t, s.losses, len(refused), "each loss is the server's word about one refresh token")
	assert.LessOrEqual(s.t, s.losses, doubtful)
	assert.Positive(s.t, doubtful, "no kill has fallen between sending and saving: this run has proved nothing about that")
	assert.Greater(s.t, len(lines), s.losses, "nothing was renewed but what was lost")
}

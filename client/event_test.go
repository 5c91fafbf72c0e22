package client_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/transport"
)

// heard is what a client has told.
type heard struct {
	mu     sync.Mutex
	events []client.Event // guarded by mu
}

func (h *heard) hear(e client.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

// take returns what was told since it was last asked.
func (h *heard) take() []client.Event {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	events := h.events
	h.events = nil
	return events
}

func kinds(events []client.Event) []string {
	var names []string
	for _, e := range events {
		names = append(names, e.Kind)
	}
	return names
}

// eventful runs f with a server and a logged-in session that tells its events.
func eventful(t *testing.T, f func(t *testing.T, s *clienttest.Server, store *spied, alice *client.Session, h *heard)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, h := clienttest.New(t), &heard{}
		store := &spied{Store: tokenstore.NewMemory(), vault: &vault{kinds: map[string]map[string]bool{}}}
		config := web(store)
		config.OnEvent = h.hear
		alice := s.NewClient(config).Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), s.Login("openid", "read")))
		require.Equal(t, []string{"login"}, kinds(h.take()))
		f(t, s, store, alice, h)
	})
}

func TestEventsOfARenewal(t *testing.T) {
	eventful(t, func(t *testing.T, s *clienttest.Server, _ *spied, alice *client.Session, h *heard) {
		s.Fail("/token", clienttest.Fault{Status: 429, Header: http.Header{"Retry-After": {"2"}}})
		_, err := alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		events := h.take()
		require.Equal(t, []string{"renewed", "rotated"}, kinds(events))
		for _, e := range events {
			require.Equal(t, "alice", e.Session)
			require.Equal(t, s.Issuer, e.Issuer)
			require.Equal(t, 2, e.Attempt)
			require.GreaterOrEqual(t, e.Duration, 2*time.Second)
			require.NotEmpty(t, e.Reason)
			require.NotZero(t, e.Generation)
			require.NoError(t, e.Err)
			require.WithinDuration(t, time.Now(), e.Time, time.Second)
		}
	})
}

func TestEventsOfARejectedToken(t *testing.T) {
	eventful(t, func(t *testing.T, s *clienttest.Server, _ *spied, alice *client.Session, h *heard) {
		api := s.NewAPI("api.test")
		token, err := alice.Token(t.Context())
		require.NoError(t, err)
		s.RevokeAccessToken(token.AccessToken)
		require.Equal(t, http.StatusOK, get(t, alice.Wrap(s.HTTPClient("")), api.URL))
		require.Equal(t, []string{"rejected", "renewed", "rotated", "replayed"}, kinds(h.take()))
	})
}

func TestEventsOfALostAnswer(t *testing.T) {
	eventful(t, func(t *testing.T, s *clienttest.Server, _ *spied, alice *client.Session, h *heard) {
		s.Fail("/token", clienttest.Fault{LoseAnswer: true})
		_, err := alice.Renew(t.Context(), nil)
		require.ErrorIs(t, err, client.ErrLoginRequired)
		events := h.take()
		require.Equal(t, []string{"lost answer", "replayed", "login required"}, kinds(events))
		require.Error(t, events[0].Err)
		require.ErrorIs(t, events[2].Err, client.ErrLoginRequired)
		time.Sleep(2 * time.Hour)
		_, err = alice.Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired)
		require.Empty(t, h.take(), "it is told once")
	})
}

func TestEventsOfAStoreThatFails(t *testing.T) {
	eventful(t, func(t *testing.T, s *clienttest.Server, store *spied, alice *client.Session, h *heard) {
		s.Fail("/token", clienttest.Fault{WaitAnswer: time.Second})
		time.AfterFunc(500*time.Millisecond, func() { store.fail(errDisk) })
		_, err := alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		store.fail(nil)
		time.Sleep(time.Minute)
		events := h.take()
		require.Equal(t, []string{"save failed", "renewed", "rotated"}, kinds(events[:3]))
		require.ErrorIs(t, events[0].Err, errDisk)
		require.Equal(t, "saved", events[len(events)-1].Kind)
		for i, e := range events[3 : len(events)-1] {
			require.Equal(t, "save failed", e.Kind)
			require.Equal(t, i+2, e.Attempt)
		}
	})
}

func TestEventsOfAnotherProcess(t *testing.T) {
	eventful(t, func(t *testing.T, s *clienttest.Server, store *spied, alice *client.Session, h *heard) {
		other := s.NewClient(web(store)).Session("alice")
		first, err := alice.Token(t.Context())
		require.NoError(t, err)
		_, err = other.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, h.take())
		_, err = alice.Renew(t.Context(), first)
		require.NoError(t, err)
		require.Equal(t, []string{"rejected", "adopted"}, kinds(h.take()))
		require.NoError(t, other.Logout(t.Context()))
		time.Sleep(2 * time.Hour)
		_, err = alice.Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired)
		require.NoError(t, alice.Adopt(t.Context(), s.Login("openid", "read")))
		require.NoError(t, alice.Logout(t.Context()))
		require.NoError(t, alice.Logout(t.Context()))
		require.Equal(t, []string{"login required", "login", "logout"}, kinds(h.take()))
	})
}

// A login through another process ends what was told of the session.
func TestEventsOfALoginElsewhere(t *testing.T) {
	eventful(t, func(t *testing.T, s *clienttest.Server, store *spied, alice *client.Session, h *heard) {
		other := s.NewClient(web(store)).Session("alice")
		require.NoError(t, other.Logout(t.Context()))
		time.Sleep(2 * time.Hour)
		_, err := alice.Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired)
		require.NoError(t, other.Adopt(t.Context(), s.Login("openid", "read")))
		_, err = alice.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"login required", "adopted"}, kinds(h.take()))
	})
}

// The next grant may end like the last one: that is told too, even if it has brought no access token.
func TestEventsOfEveryGrantThatEnds(t *testing.T) {
	eventful(t, func(t *testing.T, s *clienttest.Server, _ *spied, alice *client.Session, h *heard) {
		mail := alice.Resource("https://mail.test")
		for range 2 {
			s.KillAll()
			for _, session := range []*client.Session{alice, mail} {
				_, err := session.Renew(t.Context(), nil)
				require.ErrorIs(t, err, client.ErrLoginRequired)
			}
			token := s.Login("openid", "read")
			token.AccessToken = ""
			require.NoError(t, mail.Adopt(t.Context(), token))
			events := h.take()
			require.Equal(t, []string{"login required", "login required", "login"}, kinds(events))
			require.Equal(t, "https://mail.test", events[1].Resource)
		}
	})
}

func TestEventsOfALogoutThatCannotRevoke(t *testing.T) {
	eventful(t, func(t *testing.T, s *clienttest.Server, _ *spied, alice *client.Session, h *heard) {
		s.Fail("/revoke", clienttest.Fault{Status: 500})
		err := alice.Logout(t.Context())
		require.Error(t, err)
		events := h.take()
		require.Equal(t, []string{"logout"}, kinds(events))
		require.Same(t, err, events[0].Err)
	})
}

// A login takes the place of tokens that could not be saved.
func TestEventsOfALoginOverUnsavedTokens(t *testing.T) {
	eventful(t, func(t *testing.T, s *clienttest.Server, store *spied, alice *client.Session, h *heard) {
		s.Fail("/token", clienttest.Fault{WaitAnswer: time.Second})
		time.AfterFunc(500*time.Millisecond, func() { store.fail(errDisk) })
		_, err := alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		store.fail(nil)
		require.NoError(t, alice.Adopt(t.Context(), s.Login("openid", "read")))
		time.Sleep(time.Minute)
		require.Equal(t, []string{"save failed", "renewed", "rotated", "saved", "login"}, kinds(h.take()))
	})
}

// An OnEvent may use the session that it is told of.
func TestEventsMayBeActedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, done := clienttest.New(t), make(chan error, 2)
		config := web(nil)
		var alice *client.Session
		config.OnEvent = func(e client.Event) {
			if e.Kind == "login" {
				_, err := alice.Renew(context.Background(), nil)
				done <- err
				done <- alice.Logout(context.Background())
			}
		}
		alice = s.NewClient(config).Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), s.Login("openid", "read")))
		require.NoError(t, <-done)
		require.NoError(t, <-done)
	})
}

// A failure that is remembered is not told again, however often it is met.
func TestEventsOfAFailure(t *testing.T) {
	for name, words := range map[string]string{"for a while": "unauthorized_client", "in doubt": "invalid_request"} {
		t.Run(name, func(t *testing.T) {
			eventful(t, func(t *testing.T, s *clienttest.Server, _ *spied, alice *client.Session, h *heard) {
				time.Sleep(2 * time.Hour)
				refusal := clienttest.Fault{Status: 400, Body: `{"error":"` + words + `"}`}
				s.Fail("/token", clienttest.Fault{Unreachable: true}, refusal, refusal)
				_, err := alice.Token(t.Context())
				for range 10 {
					_, again := alice.Token(t.Context())
					require.Same(t, err, again)
				}
				events := h.take()
				require.Equal(t, []string{"failed"}, kinds(events))
				require.Same(t, err, events[0].Err)
				require.Equal(t, 2, events[0].Attempt)
				time.Sleep(time.Minute)
				_, err = alice.Token(t.Context())
				require.Error(t, err)
				events = h.take()
				require.Len(t, events, 1, "another one")
				require.Equal(t, 1, events[0].Attempt)
			})
		})
	}
}

// While it is too soon to ask the server for a rejected token once more, nothing has failed unless the store does.
func TestEventsOfARejectionTooSoon(t *testing.T) {
	eventful(t, func(t *testing.T, _ *clienttest.Server, store *spied, alice *client.Session, h *heard) {
		token, err := alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		token, err = alice.Renew(t.Context(), token)
		require.NoError(t, err)
		h.take()
		_, err = alice.Renew(t.Context(), token)
		require.ErrorIs(t, err, transport.ErrRejected)
		require.Equal(t, []string{"rejected"}, kinds(h.take()))
		store.fail(errDisk)
		_, err = alice.Renew(t.Context(), token)
		require.ErrorIs(t, err, errDisk)
		require.Equal(t, []string{"rejected", "failed"}, kinds(h.take()))
	})
}

// An OnEvent that panics or never returns is its program's trouble alone.
func TestEventsStopNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := clienttest.New(t)
		config := web(nil)
		config.OnEvent = func(client.Event) { panic("of the program") }
		alice := s.NewClient(config).Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), s.Login("openid", "read")))
		_, err := alice.Renew(t.Context(), nil)
		require.NoError(t, err)

		var missed []int
		release := make(chan struct{})
		config.OnEvent = func(e client.Event) { <-release; missed = append(missed, e.Missed) }
		c := s.NewClient(config)
		bob := c.Session("bob")
		require.NoError(t, bob.Adopt(t.Context(), s.Login("openid", "read")))
		for range 1000 {
			_, err = bob.Renew(t.Context(), nil)
			require.NoError(t, err)
		}
		close(release)
		_, err = bob.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.NoError(t, c.Close(t.Context()))
		require.Len(t, missed, 1+1024+2)
		require.Equal(t, 2*1000-1024, missed[1+1024], "the next one says how many were dropped")
	})
}

func TestLogEvents(t *testing.T) {
	var out bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&out, nil))
	logger.Info("told", "event", client.Event{Kind: "renewed"})
	require.Contains(t, out.String(), "event.kind=renewed")
	out.Reset()
	log := client.LogEvents(logger)
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	log(client.Event{Kind: "rotated", Time: at})
	require.Empty(t, out.String(), "a matter for debugging")
	log(client.Event{Kind: "save failed", Time: at, Issuer: "https://as.test", Session: "alice", Reason: "why", Attempt: 2, Duration: time.Second, Generation: 7, Err: errDisk, Missed: 3})
	require.Equal(t, `time=2026-01-02T03:04:05.000Z level=WARN msg="save failed" issuer=https://as.test session=alice reason=why attempt=2 duration=1s generation=7 error="`+errDisk.Error()+`" missed=3`+"\n", out.String())
}

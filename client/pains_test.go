package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/internal/machine"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/keychain"
	"github.com/evergrant/evergrant/transport"
)

// The tests of this file are named after the rows of docs/pains.md: what users of other clients have suffered from.

// pain runs f in a bubble, over a server, an API and a store with the grant of alice.
func pain(t *testing.T, f func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, store := clienttest.New(t), newFaulty()
		require.NoError(t, aliceOf(s, store).Adopt(t.Context(), s.Login("read")))
		f(t, s, s.NewAPI("api.test"), store)
	})
}

// aliceOf is alice in one more program over store.
func aliceOf(s *clienttest.Server, store tokenstore.Store) *client.Session {
	return s.NewClient(client.Config{Store: store}).Session("alice")
}

// together calls f n times at once, and waits.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// Shows R6749-6-6.
func TestPain01_ProcessesShareOneRefreshToken(t *testing.T) {
	pain(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty) {
		var programs []*client.Session
		for range 5 {
			programs = append(programs, aliceOf(s, store))
		}
		for life := range 20 {
			time.Sleep(2 * time.Hour)
			together(len(programs), func(i int) {
				require.Equal(t, http.StatusOK, get(t, programs[i].Wrap(s.HTTPClient("")), api.URL))
			})
			require.Len(t, s.Renewals(), life+1)
		}
		require.Empty(t, s.Reuses())
	})
}

func TestPain02_ParallelRequestsRenewOnce(t *testing.T) {
	pain(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty) {
		c := s.NewClient(client.Config{Store: store})
		time.Sleep(2 * time.Hour)
		together(1000, func(i int) {
			if i%2 == 0 {
				require.Equal(t, http.StatusOK, get(t, c.Session("alice").Wrap(s.HTTPClient("")), api.URL))
				return
			}
			_, err := c.Session("alice").TokenSource().Token()
			require.NoError(t, err)
		})
		require.Len(t, s.Requests(), 1)
	})
}

// Shows R6749-6-2, R9700-2.2.2-1, O21-4.3.2-1.
func TestPain03_TokensAreStoredBeforeTheyAreUsed(t *testing.T) {
	pain(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty) {
		s.Change(func() {
			api.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				stored, _, err := store.Load(r.Context(), tokenstore.Key(s.Issuer, "app", "alice"))
				token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
				if err != nil || !bytes.Contains(stored, []byte(token)) {
					w.WriteHeader(http.StatusTeapot)
				}
			})
		})
		store.set(func(_ int, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) {
			time.Sleep(time.Second)
			return apply()
		})
		for range 10 { // programs that start, make some calls and are gone without Close
			time.Sleep(2 * time.Hour)
			hc := aliceOf(s, store).Wrap(s.HTTPClient(""))
			together(30, func(i int) {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond) // some come while the new token is being saved
				require.Equal(t, http.StatusOK, get(t, hc, api.URL))
			})
		}
		require.Len(t, s.Renewals(), 10)
		require.Empty(t, s.Reuses())
	})
}

func TestPain04_ABlipIsNoLogout(t *testing.T) {
	for name, fault := range map[string]clienttest.Fault{
		"no network":      {Unreachable: true},
		"request lost":    {LoseRequest: true},
		"500":             {Status: http.StatusInternalServerError, Body: "oops"},
		"502 with a page": {Status: http.StatusBadGateway, Body: "<html>"},
		"429":             {Status: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {"20"}}},
		"a firewall":      {Status: http.StatusForbidden, Body: "<html>"},
		"a hotel's page":  {Status: http.StatusOK, Body: "<html>"},
		"a page gone":     {Status: http.StatusNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			pain(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty) {
				alice := aliceOf(s, store)
				time.Sleep(2 * time.Hour)
				s.Fail("/token", slices.Repeat([]clienttest.Fault{fault}, 10_000)...)
				for range 30 {
					_, err := alice.Token(t.Context())
					require.Error(t, err)
					require.NotErrorIs(t, err, client.ErrLoginRequired)
					time.Sleep(time.Minute)
				}
				s.Heal()
				time.Sleep(2 * time.Minute)
				require.Equal(t, http.StatusOK, get(t, alice.Wrap(s.HTTPClient("")), api.URL))
				require.Empty(t, s.Reuses())
			})
		})
	}
}

// Shows R7009-2.1-5, O21-3.2.3-1.
func TestPain06_TokenThatDiesBeforeItsExpiry(t *testing.T) {
	pain(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty) {
		hc := aliceOf(s, store).Wrap(s.HTTPClient(""))
		for n := range 10 {
			require.Equal(t, http.StatusOK, get(t, hc, api.URL))
			require.Len(t, s.Renewals(), n)
			s.RevokeAccessToken("")
			time.Sleep(time.Minute)
		}
	})
}

func TestPain07_NobodyLogsInForAKeychainThatCannotBeUsed(t *testing.T) {
	for name, trouble := range map[string]error{"locked": keychain.ErrLocked, "unavailable": keychain.ErrUnavailable} {
		t.Run(name, func(t *testing.T) {
			s := clienttest.New(t)
			alice := aliceOf(s, broken{trouble})
			asked := func() error { t.Error("a person was asked"); return errors.New("nobody is there") }
			for _, flow := range []client.Flow{
				client.Browser{Open: func(string) error { return asked() }},
				client.Device{Prompt: func(context.Context, client.Verification) error { return asked() }},
			} {
				require.ErrorIs(t, alice.Login(t.Context(), flow), trouble)
			}
			require.Empty(t, s.Requests())
		})
	}
}

// broken is a store that answers everything with one error.
type broken struct{ err error }

func (b broken) Load(context.Context, string) ([]byte, tokenstore.Version, error) {
	return nil, "", b.err
}

func (b broken) Swap(context.Context, string, tokenstore.Version, []byte) (tokenstore.Version, error) {
	return "", b.err
}

func TestPain08_ContextOfTheFirstCallIsNotKept(t *testing.T) {
	pain(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty) {
		alice := aliceOf(s, store)
		login, cancel := context.WithCancel(t.Context())
		_, err := alice.Token(login)
		require.NoError(t, err)
		require.NoError(t, alice.Adopt(login, s.Login()))
		cancel()
		for range 3 {
			time.Sleep(2 * time.Hour)
			require.Equal(t, http.StatusOK, get(t, alice.Wrap(s.HTTPClient("")), api.URL))
		}

		time.Sleep(2 * time.Hour)
		s.Fail("/token", clienttest.Fault{Wait: 10 * time.Second})
		impatient, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		begin := time.Now()
		_, err = alice.Token(impatient)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, time.Second, time.Since(begin), "and a caller can end its own wait")
	})
}

func TestPain09_KeychainThatHangs(t *testing.T) {
	pain(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty) {
		hanging := &hanging{Memory: store.Memory, answers: make(chan struct{})}
		close(hanging.answers)
		alice := aliceOf(s, hanging)
		current := token(t, alice)
		hanging.answers = make(chan struct{})

		time.Sleep(58 * time.Minute) // stale
		begin := time.Now()
		for range 100 {
			require.Equal(t, current, token(t, alice))
		}
		require.Zero(t, time.Since(begin), "a token in memory needs no keychain")
		time.Sleep(time.Hour)
		begin = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := alice.Token(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(begin))
		require.Empty(t, s.Requests())

		close(hanging.answers) // somebody has typed the password
		require.Equal(t, http.StatusOK, get(t, alice.Wrap(s.HTTPClient("")), api.URL))
		require.Len(t, s.Requests(), 1)
	})
}

// hanging is a store that waits until somebody answers, or the caller gives up.
type hanging struct {
	*tokenstore.Memory
	answers chan struct{}
}

func (h *hanging) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	select {
	case <-h.answers:
		return h.Memory.Load(ctx, key)
	case <-ctx.Done():
		return nil, "", ctx.Err()
	}
}

func TestPain10_SaveThatFailsAfterTheRotation(t *testing.T) {
	pain(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty) {
		alice := aliceOf(s, store)
		time.Sleep(2 * time.Hour)
		store.set(failFrom(1))
		_, err := alice.Token(t.Context())
		require.ErrorIs(t, err, errDisk)
		require.Empty(t, s.Requests(), "what cannot be saved is not asked for")

		store.set(failFrom(2)) // the disk fills up while the answer comes
		time.Sleep(time.Minute)
		require.Equal(t, http.StatusOK, get(t, alice.Wrap(s.HTTPClient("")), api.URL))
		time.Sleep(10 * time.Minute)
		store.set(nil)
		time.Sleep(2 * time.Minute)
		for range 3 { // the next programs find the successor
			require.Equal(t, http.StatusOK, get(t, aliceOf(s, store).Wrap(s.HTTPClient("")), api.URL))
			time.Sleep(2 * time.Hour)
		}
		require.Empty(t, s.Reuses())
	})
}

func TestPain18_NobodyWaitsForARenewalAhead(t *testing.T) {
	for name, fault := range map[string]clienttest.Fault{
		"slow": {Wait: 20 * time.Second}, "failing": {Status: http.StatusInternalServerError},
	} {
		t.Run(name, func(t *testing.T) {
			pain(t, func(t *testing.T, s *clienttest.Server, _ *clienttest.API, store *faulty) {
				alice := aliceOf(s, store)
				current := token(t, alice)
				s.Fail("/token", slices.Repeat([]clienttest.Fault{fault}, 100)...)
				time.Sleep(56 * time.Minute)
				for range 15 {
					together(20, func(int) {
						begin := time.Now()
						require.Equal(t, current, token(t, alice))
						require.Zero(t, time.Since(begin))
					})
					time.Sleep(time.Second)
				}
				require.NotEmpty(t, s.Requests())
				s.Heal()
				time.Sleep(20 * time.Minute)
				require.NotEqual(t, current, token(t, alice))
			})
		})
	}
}

func TestPain20_APostIsNeverRepeatedEmpty(t *testing.T) {
	for name, body := range map[string]func() io.Reader{
		"a body that can be read again": func() io.Reader { return strings.NewReader("content") },
		"one that cannot":               func() io.Reader { return io.MultiReader(strings.NewReader("content")) },
		"a long one that cannot":        func() io.Reader { return io.MultiReader(strings.NewReader(strings.Repeat("content", 100_000))) },
	} {
		for _, reads := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, and is read before it is turned away: %t", name, reads), func(t *testing.T) {
				pain(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty) {
					whole, err := io.ReadAll(body())
					require.NoError(t, err)
					var received []string
					read := func(r *http.Request) {
						got, err := io.ReadAll(r.Body)
						received = append(received, fmt.Sprint(len(got), bytes.Equal(got, whole), err))
					}
					address := s.Handle("https://posts.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if reads {
							read(r)
						}
						api.ServeHTTP(w, r)
					}))
					if !reads {
						s.Change(func() { api.Handler = http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { read(r) }) })
					}
					hc := aliceOf(s, store).Wrap(s.HTTPClient(""))
					s.RevokeAccessToken("")
					status := 0
					for range 2 { // at the latest the program's own second try gets there
						resp, err := hc.Post(address, "text/plain", body())
						require.NoError(t, err)
						require.NoError(t, resp.Body.Close())
						status = resp.StatusCode
					}
					require.Equal(t, http.StatusOK, status)
					require.NotEmpty(t, received)
					for _, each := range received {
						require.Equal(t, fmt.Sprint(len(whole), true, nil), each)
					}
				})
			})
		}
	}
}

func TestPain22_ARenewalHasItsOwnDeadline(t *testing.T) {
	pain(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty) {
		alice := aliceOf(s, store)
		time.Sleep(2 * time.Hour)
		s.Fail("/token", clienttest.Fault{Wait: 20 * time.Second})
		first, leave := context.WithCancel(t.Context())
		left := make(chan error, 1)
		go func() { _, err := alice.Token(first); left <- err }()
		synctest.Wait()
		time.AfterFunc(time.Second, leave)
		token(t, alice) // the one who stays gets it
		require.ErrorIs(t, <-left, context.Canceled)
		require.Len(t, s.Requests(), 1)

		time.Sleep(2 * time.Hour)
		s.Fail("/token", clienttest.Fault{Wait: time.Hour})
		wrapped := s.HTTPClient("")
		wrapped.Timeout = 3 * time.Second
		begin := time.Now()
		_, err := alice.Wrap(wrapped).Get(api.URL)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 3*time.Second, time.Since(begin), "the time-out of the client that was wrapped")
		_, err = alice.Token(t.Context())
		require.Error(t, err)
		require.NotErrorIs(t, err, client.ErrLoginRequired)
		require.Equal(t, 30*time.Second, time.Since(begin), "nobody waits for ever")
	})
}

func TestPain26_ReplicasOverAStoreWithoutLocks(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		var replicas []*process
		for i := range 4 {
			replicas = append(replicas, w.start(fmt.Sprint("replica ", i), func(v *view) tokenstore.Store { return lockless{v, v} }))
		}
		for life := range 20 {
			together(len(replicas), func(i int) {
				_, err := replicas[i].alice().Token(t.Context())
				require.NoError(t, err)
			})
			require.Len(t, w.as.Renewals(), life+1)
			time.Sleep(2 * time.Hour)
		}
		for _, r := range replicas {
			r.stop()
			_, err := r.alice().Token(t.Context())
			require.ErrorIs(t, err, errStopped, "the store is down, which is another thing than busy")
		}
		require.Len(t, w.as.Requests(), 20)
	})
}

// lockless is a store that can Load and Swap and nothing else.
type lockless struct {
	tokenstore.Store
	clocks machine.Machine
}

func (l lockless) Machine() machine.Machine { return l.clocks }

func TestPain27_RejectionsCauseNoStorm(t *testing.T) {
	pain(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty) {
		alice := aliceOf(s, store)
		hc := alice.Wrap(s.HTTPClient(""))
		s.Change(func() { api.RejectAll = true })
		for range 600 {
			resp, err := hc.Get(api.URL)
			if err == nil {
				require.NoError(t, resp.Body.Close())
				require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
			} else {
				require.ErrorIs(t, err, transport.ErrRejected)
			}
			time.Sleep(time.Second)
		}
		require.Less(t, len(s.Requests()), 20, "in ten minutes")

		s.Change(func() { api.RejectAll = false })
		s.KillAll()
		before := len(s.Requests())
		time.Sleep(time.Hour)
		for range 600 {
			_, err := hc.Get(api.URL)
			require.ErrorIs(t, err, client.ErrLoginRequired)
			time.Sleep(time.Second)
		}
		require.Len(t, s.Requests(), before+1, "a dead refresh token is sent once")
	})
}

// Shows R6749-4.1.2-1, OIDC-3.1.3.1-1.
func TestPain29_NothingIsProbedWithASecret(t *testing.T) {
	pain(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty) {
		time.Sleep(2 * time.Hour)
		wrong := client.Config{Store: store} // the server wants client_secret_basic
		wrong.Issuer, wrong.Endpoint.AuthStyle = s.Issuer, oauth2.AuthStyleInParams
		_, err := s.NewClient(wrong).Session("alice").Token(t.Context())
		e, ok := errors.AsType[*client.Error](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, "invalid_client", e.Code)
		require.ErrorContains(t, err, "Endpoint.AuthStyle")
		require.Len(t, s.Requests(), 1)

		require.Equal(t, http.StatusOK, get(t, aliceOf(s, store).Wrap(s.HTTPClient("")), api.URL))
		require.Len(t, s.Requests(), 2)
	})
}

func TestPain32_TwoAccountsDoNotOverwriteEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := clienttest.New(t), tokenstore.NewMemory()
		api := s.NewAPI("api.test")
		s.Register("other", "", "none")
		sessions := map[string]*client.Session{}
		for _, subject := range []string{"alice", "bob", "alice/bob"} {
			s.Change(func() { s.Policy.Subject = subject })
			sessions[subject] = s.NewClient(client.Config{Store: store}).Session(subject)
			require.NoError(t, sessions[subject].Adopt(t.Context(), s.Login()))
		}
		require.NoError(t, s.NewClient(client.Config{Store: store, ClientID: "other"}).Session("alice").Adopt(t.Context(), &oauth2.Token{AccessToken: "another program's"}))
		for range 3 {
			time.Sleep(2 * time.Hour)
			for subject, session := range sessions {
				resp, err := session.Wrap(s.HTTPClient("")).Get(api.URL)
				require.NoError(t, err)
				answer, err := io.ReadAll(resp.Body)
				require.NoError(t, err)
				require.NoError(t, resp.Body.Close())
				require.JSONEq(t, fmt.Sprintf(`{"sub":%q,"scope":"","body":""}`, subject), string(answer))
			}
		}
		require.Empty(t, s.Reuses())
	})
}

func TestPain34_LostAnswer(t *testing.T) {
	for name, row := range map[string]struct {
		policy clienttest.Policy
		fault  clienttest.Fault
		sent   []string
		cause  string // of a login; empty: none is needed
	}{
		"never sent":                     {fault: clienttest.Fault{Unreachable: true}, sent: []string{"RT1"}},
		"lost, and the server forgives":  {clienttest.Policy{LeewayUntilUsed: true}, clienttest.Fault{LoseAnswer: true}, []string{"RT1", "RT1"}, ""},
		"lost, and the server does not":  {clienttest.Policy{}, clienttest.Fault{LoseAnswer: true}, []string{"RT1", "RT1"}, "lost answer"},
		"slow, and the caller has left":  {fault: clienttest.Fault{WaitAnswer: 20 * time.Second}, sent: []string{"RT1"}},
		"cut, and the server forgives":   {clienttest.Policy{LeewayUntilUsed: true}, clienttest.Fault{CutBody: true}, []string{"RT1", "RT1"}, ""},
		"lost before the server read it": {fault: clienttest.Fault{LoseRequest: true}, sent: []string{"RT1"}},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *fleet) {
				w.as.Change(func() { w.as.Policy = row.policy })
				w.as.Fail("/token", row.fault)
				p := w.process("p1")
				hasty, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				_, _ = p.alice().Token(hasty)
				_, err := p.alice().Token(t.Context())
				require.Equal(t, row.sent, w.presented())
				if row.cause == "" {
					require.NoError(t, err)
					return
				}
				requireCause(t, row.cause, "invalid_grant", err)
			})
		})
	}
}

func TestPain35_LateRejectionOfAnOldToken(t *testing.T) {
	pain(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty) {
		alice := aliceOf(s, store)
		old, err := alice.Token(t.Context())
		require.NoError(t, err)
		fresh, err := alice.Renew(t.Context(), old)
		require.NoError(t, err)
		require.NotEqual(t, old.AccessToken, fresh.AccessToken)
		together(50, func(int) {
			got, err := alice.Renew(t.Context(), old)
			require.NoError(t, err)
			require.Equal(t, fresh.AccessToken, got.AccessToken)
		})
		require.Len(t, s.Requests(), 1)
		require.Equal(t, fresh.AccessToken, token(t, alice), "a good one is not thrown away")

		time.Sleep(time.Minute)
		s.RevokeAccessToken("")
		s.Fail("/token", clienttest.Fault{Wait: 10 * time.Second})
		together(50, func(i int) {
			time.Sleep(time.Duration(i) * 100 * time.Millisecond)
			require.Equal(t, http.StatusOK, get(t, alice.Wrap(s.HTTPClient("")), api.URL), "a rejected one is of no more use to anybody")
		})
		require.Len(t, s.Requests(), 2)
	})
}

// Shows R6749-6-3.
func TestPain36_AnswerWithoutARefreshToken(t *testing.T) {
	for name, policy := range map[string]clienttest.Policy{
		"omitted": {NoRefreshToken: true},
		"empty":   {NoRotation: true, Answer: map[string]any{"refresh_token": ""}},
		"null":    {NoRotation: true, Answer: map[string]any{"refresh_token": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			pain(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty) {
				s.Change(func() { s.Policy = policy })
				for range 5 {
					time.Sleep(2 * time.Hour)
					require.Equal(t, http.StatusOK, get(t, aliceOf(s, store).Wrap(s.HTTPClient("")), api.URL))
				}
				for _, r := range s.Renewals() {
					require.Equal(t, "RT1", r.Token)
				}
				require.Len(t, s.Renewals(), 5)
			})
		})
	}
}

func TestPain38_TokenSourceDoesNotCache(t *testing.T) {
	pain(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty) {
		s.Change(func() { s.Policy.KeepAccessToken = true })
		source := aliceOf(s, store).TokenSource()
		hc := &http.Client{Transport: &oauth2.Transport{Source: source, Base: s.HTTPClient("").Transport}}
		require.Equal(t, http.StatusOK, get(t, hc, api.URL))
		old, err := source.Token()
		require.NoError(t, err)
		time.Sleep(56 * time.Minute)
		require.Equal(t, http.StatusOK, get(t, hc, api.URL))
		synctest.Wait()
		require.Len(t, s.Renewals(), 1, "renewed ahead, by a library that asks this source for every request")
		fresh, err := source.Token()
		require.NoError(t, err)
		require.NotEqual(t, old.AccessToken, fresh.AccessToken)
	})
}

func TestPain39_GrantCopiedToASecondMachine(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		on := func(w *fleet, machine string) *client.Session {
			return w.start(machine, func(v *view) tokenstore.Store { return &named{&localView{v, w}, machine} }).alice()
		}
		laptop := on(w, "laptop")
		_, err := laptop.Token(t.Context())
		require.NoError(t, err)
		copied := &fleet{t: t, as: w.as, Memory: tokenstore.NewMemory()}
		for key, err := range w.Keys(t.Context(), "") {
			require.NoError(t, err)
			value, _, err := w.Load(t.Context(), key)
			require.NoError(t, err)
			_, err = copied.Swap(t.Context(), key, "", value)
			require.NoError(t, err)
		}
		time.Sleep(2 * time.Hour)
		_, err = laptop.Token(t.Context())
		require.NoError(t, err)
		_, err = on(copied, "desktop").Token(t.Context())
		requireCause(t, "copied", "invalid_grant", err)
	})
}

func TestPain40_SeveralResourcesSpendOneRefreshToken(t *testing.T) {
	pain(t, func(t *testing.T, s *clienttest.Server, mail *clienttest.API, store *faulty) {
		files, alice := s.NewAPI("files.test"), aliceOf(s, store)
		for range 5 {
			time.Sleep(2 * time.Hour)
			together(40, func(i int) {
				api := []*clienttest.API{mail, files}[i%2]
				require.Equal(t, http.StatusOK, get(t, alice.Resource(api.URL).Wrap(s.HTTPClient("")), api.URL))
			})
		}
		require.Zero(t, mail.Refused()+files.Refused())
		require.Empty(t, s.Reuses())
		require.Len(t, s.Renewals(), 10)
	})
}

package client_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/transport"
)

// bubble runs f in a synctest bubble with a strict server, a shared store and one adopted grant.
func bubble(t *testing.T, f func(t *testing.T, s *strict, store *faulty, c *client.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s, store := newStrict(), newFaulty()
		c := open(t, s.config(store))
		require.NoError(t, c.Session("alice").Adopt(t.Context(), s.grant()))
		f(t, s, store, c)
	})
}

// faulty is a memory store with faults.
type faulty struct {
	*tokenstore.Memory
	mu    sync.Mutex
	swaps int
	on    func(n int, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) // guarded by mu
}

func newFaulty() *faulty { return &faulty{Memory: tokenstore.NewMemory()} }

var errDisk = errors.New("disk full")

// set installs what happens to the swaps from now on; n counts them from 1.
func (f *faulty) set(on func(n int, apply func() (tokenstore.Version, error)) (tokenstore.Version, error)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.on, f.swaps = on, 0
}

func (f *faulty) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	f.mu.Lock()
	f.swaps++
	n, on := f.swaps, f.on
	f.mu.Unlock()
	apply := func() (tokenstore.Version, error) { return f.Memory.Swap(ctx, key, old, value) }
	if on == nil {
		return apply()
	}
	return on(n, apply)
}

// failFrom fails the swaps from the nth on, before they take effect.
func failFrom(first int) func(int, func() (tokenstore.Version, error)) (tokenstore.Version, error) {
	return func(n int, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) {
		if n >= first {
			return "", errDisk
		}
		return apply()
	}
}

func token(t *testing.T, s *client.Session) string {
	t.Helper()
	got, err := s.Token(t.Context())
	require.NoError(t, err)
	return got.AccessToken
}

func TestTokenIsRenewedInTheBackgroundWhileTheOldOneServes_I5(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, _ *faulty, c *client.Client) {
		alice := c.Session("alice")
		require.Equal(t, "AT1", token(t, alice))
		time.Sleep(time.Hour - 4*time.Minute) // stale, not unusable
		s.fail(slow(20 * time.Second))
		for range 100 {
			begin := time.Now()
			require.Equal(t, "AT1", token(t, alice))
			require.Zero(t, time.Since(begin))
		}
		time.Sleep(21 * time.Second)
		require.Equal(t, "AT2", token(t, alice))
		requests, reuses := s.count()
		require.Equal(t, []int{1, 0}, []int{requests, reuses})
	})
}

// Shows R6749-6-6.
func TestOneRenewalForAllWhoWait(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, _ *faulty, c *client.Client) {
		time.Sleep(2 * time.Hour)
		s.fail(slow(100 * time.Millisecond))
		var wg sync.WaitGroup
		for range 10_000 {
			wg.Go(func() {
				got, err := c.Session("alice").Token(t.Context())
				require.NoError(t, err)
				require.Equal(t, "AT2", got.AccessToken)
				require.Empty(t, got.RefreshToken)
			})
		}
		wg.Wait()
		requests, _ := s.count()
		require.Equal(t, 1, requests)
	})
}

func TestFailureIsSharedAndRemembered_I12(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, _ *faulty, c *client.Client) {
		time.Sleep(2 * time.Hour)
		s.fail(status(500, nil, "oops"), status(500, nil, "oops"))
		errs := make(chan error, 100)
		for range 100 {
			go func() {
				_, err := c.Session("alice").Token(t.Context())
				errs <- err
			}()
		}
		first := <-errs
		require.Error(t, first)
		require.NotErrorIs(t, first, client.ErrLoginRequired)
		for range 99 {
			require.Same(t, first, <-errs)
		}
		_, err := c.Session("alice").Token(t.Context())
		require.Error(t, err)
		requests, _ := s.count()
		require.Zero(t, requests, "the two failures were answered before the server saw them; no third was made")
		time.Sleep(3 * time.Second)
		require.Equal(t, "AT2", token(t, c.Session("alice")))
	})
}

func TestCallersContextEndsItsOwnWaitOnly_I4(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, _ *faulty, c *client.Client) {
		alice := c.Session("alice")
		time.Sleep(2 * time.Hour)
		s.fail(slow(time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		trigger := make(chan error)
		go func() { _, err := alice.Token(ctx); trigger <- err }()
		synctest.Wait()
		short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer stop()
		begin := time.Now()
		_, err := alice.Token(short)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 50*time.Millisecond, time.Since(begin))
		cancel()
		require.ErrorIs(t, <-trigger, context.Canceled)
		require.Equal(t, "AT2", token(t, alice))
		requests, _ := s.count()
		require.Equal(t, 1, requests)
	})
}

func TestRejectedTokenIsReplacedOnce(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, _ *faulty, c *client.Client) {
		alice := c.Session("alice")
		old, err := alice.Token(t.Context())
		require.NoError(t, err)
		for range 50 {
			fresh, err := alice.Renew(t.Context(), old)
			require.NoError(t, err)
			require.Equal(t, "AT2", fresh.AccessToken)
		}
		requests, _ := s.count()
		require.Equal(t, 1, requests)
	})
}

func TestRenewWithoutARejectedTokenRenewsNow(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, _ *faulty, c *client.Client) {
		fresh, err := c.Session("alice").Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, "AT2", fresh.AccessToken)
	})
}

func TestServerThatRejectsFreshTokensCausesNoLoop_I9(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, _ *faulty, c *client.Client) {
		alice := c.Session("alice")
		for range 60 {
			current, err := alice.Token(t.Context())
			require.NoError(t, err)
			if _, err = alice.Renew(t.Context(), current); err != nil {
				require.ErrorIs(t, err, transport.ErrRejected)
			}
			time.Sleep(time.Second)
		}
		requests, _ := s.count()
		require.Less(t, requests, 10)
	})
}

// Shows R6749-5.2-2, R9700-4.14.2-2.
func TestDeadGrantIsAskedOnceAndALoginElsewhereEndsIt(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, store *faulty, c *client.Client) {
		alice := c.Session("alice")
		s.mu.Lock()
		for _, f := range s.refresh {
			f.dead = true
		}
		s.mu.Unlock()
		time.Sleep(2 * time.Hour)
		for range 20 {
			_, err := alice.Token(t.Context())
			require.ErrorIs(t, err, client.ErrLoginRequired)
			e, ok := errors.AsType[*client.Error](err)
			require.True(t, ok)
			require.Equal(t, "invalid_grant", e.Code)
			time.Sleep(time.Minute)
		}
		requests, _ := s.count()
		require.Equal(t, 1, requests)
		other := open(t, s.config(store))
		_, err := other.Session("alice").Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired)
		require.NoError(t, other.Session("alice").Adopt(t.Context(), s.grant()))
		require.Equal(t, "AT2", token(t, alice))
		requests, _ = s.count()
		require.Equal(t, 1, requests)
	})
}

// Shows R6749-5.2-2.
func TestFailureTable(t *testing.T) {
	busy := http.Header{"Retry-After": {"3"}}
	for name, row := range map[string]struct {
		faults   []fault
		leeway   bool
		requests int // that the server saw
		took     time.Duration
		err      bool
		login    bool
	}{
		"503 once":                          {faults: []fault{status(503, nil, "")}, requests: 1, took: time.Second},
		"429 with Retry-After":              {faults: []fault{status(429, busy, "")}, requests: 1, took: 4 * time.Second},
		"503 for ever":                      {faults: repeat(status(503, nil, ""), 20), err: true, took: 16 * time.Second},
		"a portal's page":                   {faults: []fault{status(403, nil, "<html>")}, requests: 1, took: time.Second},
		"answer lost, server with leeway":   {faults: []fault{answerLost}, leeway: true, requests: 2},
		"answer lost, strict server":        {faults: []fault{answerLost}, requests: 2, err: true, login: true},
		"HTML under 200":                    {faults: []fault{status(200, nil, "<html>")}, requests: 1},
		"500 twice":                         {faults: repeat(status(500, nil, ""), 2), err: true},
		"no answer":                         {faults: []fault{slow(time.Hour)}, err: true, took: 31 * time.Second},
		"invalid_client":                    {faults: []fault{status(401, nil, `{"error":"invalid_client"}`)}, err: true},
		"another error, not repeated later": {faults: []fault{status(400, nil, `{"error":"invalid_request"}`)}, err: true},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *strict, _ *faulty, c *client.Client) {
				s.leeway = row.leeway
				time.Sleep(2 * time.Hour)
				s.fail(row.faults...)
				begin := time.Now()
				_, err := c.Session("alice").Token(t.Context())
				require.LessOrEqual(t, time.Since(begin), row.took)
				require.Equal(t, row.err, err != nil, "%v", err)
				require.Equal(t, row.login, errors.Is(err, client.ErrLoginRequired), "%v", err)
				requests, _ := s.count()
				require.Equal(t, row.requests, requests)
				if row.err && !row.login {
					s.mu.Lock()
					s.faults = nil
					s.mu.Unlock()
					time.Sleep(31 * time.Second)
					require.Equal(t, "AT2", token(t, c.Session("alice")), "the session stays")
				}
			})
		})
	}
}

func repeat(f fault, n int) []fault {
	var all []fault
	for range n {
		all = append(all, f)
	}
	return all
}

func TestUnclearRefusalIsAskedOnceMore(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, _ *faulty, c *client.Client) {
		alice := c.Session("alice")
		dex := status(400, nil, `{"error":"invalid_request"}`)
		time.Sleep(2 * time.Hour)
		s.fail(repeat(dex, 100)...)
		left := func() int { s.mu.Lock(); defer s.mu.Unlock(); return len(s.faults) }
		for range 29 {
			_, err := alice.Token(t.Context())
			require.Error(t, err)
			require.NotErrorIs(t, err, client.ErrLoginRequired)
			time.Sleep(time.Second)
		}
		require.Equal(t, 99, left())
		time.Sleep(20 * time.Second)
		for range 500 { // for ten minutes it is believed
			_, err := alice.Token(t.Context())
			require.ErrorIs(t, err, client.ErrLoginRequired)
			time.Sleep(time.Second)
		}
		require.Equal(t, 98, left())
		time.Sleep(2 * time.Minute)
		s.mu.Lock()
		s.faults = nil
		s.mu.Unlock()
		require.Equal(t, "AT2", token(t, alice), "the mark has expired and the server has come to its senses")
	})
}

func TestNothingIsSpentUnlessTheStoreCanBeWritten_I2(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, store *faulty, c *client.Client) {
		time.Sleep(2 * time.Hour)
		store.set(failFrom(1))
		_, err := c.Session("alice").Token(t.Context())
		require.ErrorIs(t, err, errDisk)
		requests, _ := s.count()
		require.Zero(t, requests)
		store.set(nil)
		time.Sleep(2 * time.Second)
		require.Equal(t, "AT2", token(t, c.Session("alice")))
	})
}

// Shows R6749-6-7.
func TestTokensThatCannotBeSavedServeFromMemoryAndAreSavedLater_I3(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, store *faulty, c *client.Client) {
		alice := c.Session("alice")
		time.Sleep(2 * time.Hour)
		store.set(failFrom(2)) // the lease is written, the tokens are not
		require.Equal(t, "AT2", token(t, alice))
		time.Sleep(10 * time.Minute)
		require.Equal(t, "AT2", token(t, alice))
		store.set(nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		other := open(t, s.config(store))
		require.Equal(t, "AT2", token(t, other.Session("alice")))
		requests, reuses := s.count()
		require.Equal(t, []int{1, 0}, []int{requests, reuses})
	})
}

func TestTheOldTokenServesWhileTheNewOneCannotBeSaved(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, store *faulty, c *client.Client) {
		alice := c.Session("alice")
		require.Equal(t, "AT1", token(t, alice))
		time.Sleep(time.Hour - 4*time.Minute)
		store.set(failFrom(2))
		require.Equal(t, "AT1", token(t, alice))
		time.Sleep(time.Minute)
		require.Equal(t, "AT1", token(t, alice))
		time.Sleep(4 * time.Minute)
		require.Equal(t, "AT2", token(t, alice))
	})
}

func TestSaveThatLandedThoughReportedFailed(t *testing.T) {
	for name, nth := range map[string]int{"lease": 1, "save": 2} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, s *strict, store *faulty, c *client.Client) {
				time.Sleep(2 * time.Hour)
				store.set(func(n int, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) {
					version, err := apply()
					if n == nth {
						return "", errDisk
					}
					return version, err
				})
				require.Equal(t, "AT2", token(t, c.Session("alice")))
				time.Sleep(2 * time.Hour)
				require.Equal(t, "AT3", token(t, c.Session("alice")))
				requests, reuses := s.count()
				require.Equal(t, []int{2, 0}, []int{requests, reuses})
			})
		})
	}
}

func TestCloseSavesWhatIsUnsaved(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, store *faulty, c *client.Client) {
		time.Sleep(2 * time.Hour)
		store.set(failFrom(2))
		require.Equal(t, "AT2", token(t, c.Session("alice")))
		time.Sleep(time.Minute)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() { time.Sleep(500 * time.Millisecond); store.set(nil) }()
		require.NoError(t, c.Close(ctx))
		_, err := c.Session("alice").Token(t.Context())
		require.ErrorIs(t, err, client.ErrClosed)
		require.Equal(t, "AT2", token(t, open(t, s.config(store)).Session("alice")))
	})
}

func TestCloseThatGivesUpSaysWhatItLeaves(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, store *faulty, c *client.Client) {
		time.Sleep(2 * time.Hour)
		store.set(failFrom(2))
		require.Equal(t, "AT2", token(t, c.Session("alice")))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := c.Close(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, `unsaved tokens of session "alice"`)
	})
}

func TestProcessesShareOneRenewal(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, store *faulty, c *client.Client) {
		s.life = 10 * time.Second
		clients := []*client.Client{c}
		for range 7 {
			clients = append(clients, open(t, s.config(store)))
		}
		end := time.Now().Add(2 * time.Minute)
		var wg sync.WaitGroup
		for _, c := range clients {
			wg.Go(func() {
				for time.Now().Before(end) {
					_, err := c.Session("alice").Token(t.Context())
					require.NoError(t, err)
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		requests, reuses := s.count()
		require.Zero(t, reuses)
		require.LessOrEqual(t, requests, 18, "one for each stale age of 7.5 s")
	})
}

func TestLogoutWinsOverARenewalUnderWay(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, store *faulty, c *client.Client) {
		time.Sleep(2 * time.Hour)
		s.fail(slowAnswer(5 * time.Second))
		renewed := make(chan error)
		go func() { _, err := c.Session("alice").Token(t.Context()); renewed <- err }()
		synctest.Wait()
		require.NoError(t, open(t, s.config(store)).Session("alice").Logout(t.Context()))
		require.ErrorIs(t, <-renewed, client.ErrLoginRequired)
		require.Equal(t, []string{"RT1", "RT2", "AT2"}, s.revoked)
		_, _, err := store.Load(t.Context(), tokenstore.Key("https://as.test/token", "app", "alice"))
		require.ErrorIs(t, err, tokenstore.ErrNotFound)
	})
}

func TestLoginWinsOverARenewalUnderWayAndNothingIsRevoked(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, store *faulty, c *client.Client) {
		time.Sleep(2 * time.Hour)
		s.fail(slowAnswer(5 * time.Second))
		renewed := make(chan string)
		go func() { renewed <- token(t, c.Session("alice")) }()
		synctest.Wait()
		fresh := s.grant()
		require.NoError(t, open(t, s.config(store)).Session("alice").Adopt(t.Context(), fresh))
		require.Equal(t, fresh.AccessToken, <-renewed)
		require.Empty(t, s.revoked)
	})
}

func TestAdoptTwiceChangesNothing(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, store *faulty, c *client.Client) {
		again := s.grant()
		bob := c.Session("bob")
		require.NoError(t, bob.Adopt(t.Context(), again))
		time.Sleep(2 * time.Hour)
		require.Equal(t, "AT3", token(t, bob))
		require.NoError(t, bob.Adopt(t.Context(), again))
		require.Equal(t, "AT3", token(t, bob))
		require.Equal(t, "AT3", token(t, open(t, s.config(store)).Session("bob")))
	})
}

func TestClientCredentials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict()
		config := s.config(nil)
		config.ClientSecret, config.Grant = "hush", client.ClientCredentials{}
		c := open(t, config)
		require.Equal(t, "AT1", token(t, c.Session("")))
		time.Sleep(2 * time.Hour)
		require.Equal(t, "AT2", token(t, c.Session("")))
		require.Equal(t, "client_credentials", s.requests[0].grant)
	})
}

func TestNoExpiryLivesUntilRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict()
		s.extra = map[string]any{"expires_in": nil}
		config := s.config(nil)
		config.ClientSecret, config.Grant = "hush", client.ClientCredentials{}
		c := open(t, config)
		require.Equal(t, "AT1", token(t, c.Session("")))
		time.Sleep(365 * 24 * time.Hour)
		got, err := c.Session("").Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, "AT1", got.AccessToken)
		fresh, err := c.Session("").Renew(t.Context(), got)
		require.NoError(t, err)
		require.Equal(t, "AT2", fresh.AccessToken)
	})
}

package client_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

const (
	day  = 24 * time.Hour
	year = 365 * day
)

// renewed runs f in a bubble at the moment in which a session, in use for a while, has got a token under policy.
func renewed(t *testing.T, policy clienttest.Policy, f func(t *testing.T, s *clienttest.Server, alice *client.Session, current string)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := clienttest.New(t)
		s.Policy = policy
		alice := s.NewClient(client.Config{}).Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), s.Login()))
		token(t, alice)
		time.Sleep(time.Minute)
		current, err := alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, 0, further(s))
		f(t, s, alice, current.AccessToken)
	})
}

// further counts the renewals after the one of renewed, once what was started in the background has ended.
func further(s *clienttest.Server) int {
	synctest.Wait()
	return len(s.Renewals()) - 1
}

// lives are lifetimes of tokens, with how long before its end a token is renewed ahead and not used any more.
var lives = map[string]struct{ life, ahead, unusable time.Duration }{
	"1 s":     {time.Second, 250 * time.Millisecond, 50 * time.Millisecond},
	"2 s":     {2 * time.Second, 500 * time.Millisecond, 100 * time.Millisecond},
	"5 s":     {5 * time.Second, 1250 * time.Millisecond, 250 * time.Millisecond},
	"60 s":    {time.Minute, 15 * time.Second, 3 * time.Second},
	"10 min":  {10 * time.Minute, 150 * time.Second, 10 * time.Second},
	"1 h":     {time.Hour, 5 * time.Minute, 10 * time.Second},
	"1 day":   {day, 5 * time.Minute, 10 * time.Second},
	"30 days": {30 * day, 5 * time.Minute, 10 * time.Second},
	"1 year":  {year, 5 * time.Minute, 10 * time.Second},
}

func TestWhenATokenIsRenewedAheadAndWhenItIsNotUsedAnyMore(t *testing.T) {
	for name, row := range lives {
		for moment, at := range map[string]struct {
			age      time.Duration
			serves   bool
			renewals int
		}{
			"before it is stale":   {row.life - row.ahead - row.ahead/10 - time.Millisecond, true, 0},
			"stale":                {row.life - row.ahead, true, 1},
			"the last moment":      {row.life - row.unusable - time.Millisecond, true, 1},
			"not usable any more":  {row.life - row.unusable, false, 1},
			"as if it had expired": {row.life + time.Hour, false, 1},
		} {
			t.Run(name+"/"+moment, func(t *testing.T) {
				renewed(t, clienttest.Policy{Lifetime: row.life}, func(t *testing.T, s *clienttest.Server, alice *client.Session, current string) {
					time.Sleep(at.age)
					require.Equal(t, at.serves, token(t, alice) == current)
					require.Equal(t, at.renewals, further(s))
				})
			})
		}
	}
}

// TestPain21_TokensOfAnyLifeServe uses tokens of each life for twenty lives: nobody sees one end, and none is renewed much
// more often than it has to be.
func TestPain21_TokensOfAnyLifeServe(t *testing.T) {
	for name, row := range lives {
		t.Run(name, func(t *testing.T) {
			renewed(t, clienttest.Policy{Lifetime: row.life, KeepAccessToken: true}, func(t *testing.T, s *clienttest.Server, alice *client.Session, _ string) {
				api := s.NewAPI("api.test")
				hc := alice.Wrap(s.HTTPClient(""))
				for range 20 * 50 {
					require.Equal(t, http.StatusOK, get(t, hc, api.URL))
					time.Sleep(row.life / 50)
				}
				require.Zero(t, api.Refused())
				require.GreaterOrEqual(t, further(s), 19)
				require.LessOrEqual(t, further(s), 29)
			})
		})
	}
}

func TestProcessesDoNotAllRenewAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 64
		s := clienttest.New(t)
		c := s.NewClient(client.Config{})
		var all []*client.Session
		for i := range many {
			all = append(all, c.Session(string(rune('A'+i))))
			require.NoError(t, all[i].Adopt(t.Context(), s.Login()))
			token(t, all[i])
		}
		time.Sleep(time.Hour - 5*time.Minute - 15*time.Second) // in the middle of the jitter
		for _, each := range all {
			token(t, each)
		}
		synctest.Wait()
		require.NotEmpty(t, s.Renewals())
		require.Less(t, len(s.Renewals()), many)
	})
}

func TestTheServersRefreshInWins(t *testing.T) {
	for name, row := range map[string]struct {
		said any
		due  time.Duration
	}{
		"earlier than the margin": {600, 10 * time.Minute},
		"later than the margin":   {3500, 3500 * time.Second},
		"as a string":             {"600", 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			renewed(t, clienttest.Policy{Answer: map[string]any{"refresh_in": row.said}}, func(t *testing.T, s *clienttest.Server, alice *client.Session, current string) {
				time.Sleep(row.due - time.Millisecond)
				require.Equal(t, current, token(t, alice))
				require.Equal(t, 0, further(s))
				time.Sleep(time.Millisecond)
				require.Equal(t, current, token(t, alice))
				require.Equal(t, 1, further(s))
			})
		})
	}
}

// Shows R6749-5.1-3.
func TestPain28_TokenThatNeverSaysWhenItExpiresLivesUntilRejected(t *testing.T) {
	for name, said := range map[string]any{
		"expires_in missing": nil, "null": json.RawMessage("null"), "0": 0, "a string 0": "0", "negative": -1, "a word": "never",
	} {
		t.Run(name, func(t *testing.T) {
			policy := clienttest.Policy{Lifetime: year, Answer: map[string]any{"expires_in": said}}
			renewed(t, policy, func(t *testing.T, s *clienttest.Server, alice *client.Session, current string) {
				api := s.NewAPI("api.test")
				hc := alice.Wrap(s.HTTPClient(""))
				for range 12 {
					time.Sleep(30 * day)
					require.Equal(t, http.StatusOK, get(t, hc, api.URL))
				}
				require.Equal(t, 0, further(s))
				got, err := alice.Token(t.Context())
				require.NoError(t, err)
				require.Equal(t, current, got.AccessToken)
				require.Zero(t, got.Expiry)
				time.Sleep(30 * day)
				require.Equal(t, http.StatusOK, get(t, hc, api.URL), "the API has rejected it, and nobody sees that")
				require.Equal(t, 1, api.Refused())
				require.Equal(t, 1, further(s))
			})
		})
	}
}

func TestExpiresInThatIsNotAnInteger(t *testing.T) {
	for name, said := range map[string]any{"a string": "3600", "with spaces": " 3600 ", "a fraction": 3600.0, "large": json.RawMessage("3.6e3")} {
		t.Run(name, func(t *testing.T) {
			renewed(t, clienttest.Policy{Answer: map[string]any{"expires_in": said}}, func(t *testing.T, s *clienttest.Server, alice *client.Session, current string) {
				time.Sleep(time.Hour - 10*time.Second - time.Millisecond)
				require.Equal(t, current, token(t, alice))
				time.Sleep(time.Hour)
				require.NotEqual(t, current, token(t, alice))
			})
		})
	}
}

// TestClockThatIsWrong has a process whose wall clock is off: the server's Date teaches it by how much, unless that
// is little. What it stores are wall-clock times by the server's clock.
func TestClockThatIsWrong(t *testing.T) {
	for name, row := range map[string]struct {
		off     time.Duration
		learned bool
	}{
		"28 s ahead":   {28 * time.Second, false},
		"28 s behind":  {-28 * time.Second, false},
		"5 min ahead":  {5 * time.Minute, true},
		"5 min behind": {-5 * time.Minute, true},
		"a day ahead":  {day, true},
		"a day behind": {-day, true},
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *fleet) {
				p := w.process("p1")
				p.jump(row.off, 0)
				begin := time.Now()
				got, err := p.alice().Renew(t.Context(), nil)
				require.NoError(t, err)
				require.WithinDuration(t, begin.Add(row.off+time.Hour), got.Expiry, time.Second, "by its own clock")
				require.Equal(t, got.Expiry.Round(0), got.Expiry, "without a monotonic reading")

				stored, by := w.stored().Access[""], begin
				if !row.learned {
					by = begin.Add(row.off)
				}
				require.WithinDuration(t, by, stored.Issued, time.Second)
				require.Equal(t, stored.Issued.Add(time.Hour), stored.Expiry)
				require.Equal(t, time.UTC, stored.Expiry.Location())

				time.Sleep(50 * time.Minute)
				require.Equal(t, got.AccessToken, (<-p.asks()).access(t))
				require.Len(t, w.as.Renewals(), 1, "not renewed before its time")
				time.Sleep(6 * time.Minute)
				require.Equal(t, got.AccessToken, (<-p.asks()).access(t))
				require.Len(t, w.as.Renewals(), 2, "nor after")
			})
		})
	}
}

// TestPain30_LaptopThatSleepsEveryNight: while it sleeps, its monotonic clock stands still and the server's tokens end.
func TestPain30_LaptopThatSleepsEveryNight(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		w.as.Change(func() { w.as.Policy.KeepAccessToken = true })
		p, api := w.process("p1"), w.as.NewAPI("api.test")
		hc := p.alice().Wrap(w.as.HTTPClient(""))
		for range 7 {
			for range 16 * 12 {
				require.Equal(t, http.StatusOK, get(t, hc, api.URL))
				time.Sleep(5 * time.Minute)
			}
			time.Sleep(8 * time.Hour)
			p.jump(0, -8*time.Hour)
		}
		require.Zero(t, api.Refused(), "no token is used that ended in the night")
		require.InDelta(t, 7*16*60.0/55, len(w.as.Renewals()), 14)
	})
}

// TestSleepCountsTowardsRenewalAhead: half an hour awake and 26 minutes asleep make a token stale.
func TestSleepCountsTowardsRenewalAhead(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		p := w.process("p1")
		current := (<-p.asks()).access(t)
		time.Sleep(56 * time.Minute)
		p.jump(0, -26*time.Minute)
		require.Equal(t, current, (<-p.asks()).access(t))
		require.Len(t, w.as.Renewals(), 2)
	})
}

// TestClockThatIsSet sets the wall clock in the middle of a token's life. No token outlives its time, none causes
// renewals without end, and from the next one on the session is in step with the server again.
func TestClockThatIsSet(t *testing.T) {
	for name, by := range map[string]time.Duration{
		"an hour on": time.Hour, "an hour back": -time.Hour,
		"a day on": day, "a day back": -day,
		"ten years on": 10 * year, "ten years back": -10 * year,
	} {
		t.Run(name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *fleet) {
				w.as.Change(func() { w.as.Policy.KeepAccessToken = true })
				p, api := w.process("p1"), w.as.NewAPI("api.test")
				hc := p.alice().Wrap(w.as.HTTPClient(""))
				for minute := range 330 {
					if minute == 30 {
						p.jump(by, 0)
					}
					require.Equal(t, http.StatusOK, get(t, hc, api.URL))
					time.Sleep(time.Minute)
				}
				require.Zero(t, api.Refused())
				require.LessOrEqual(t, len(w.as.Renewals()), 8, "330 minutes of 55, and one more for the new time")
				got, err := p.alice().Token(t.Context())
				require.NoError(t, err)
				left := time.Until(got.Expiry.Add(-by))
				require.True(t, 0 < left && left <= time.Hour, "%v left", left)
			})
		})
	}
}

func TestNothingIsRenewedInTheBackgroundInTheFirstSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := clienttest.New(t), tokenstore.NewMemory()
		login := s.Login()
		require.NoError(t, s.NewClient(client.Config{Store: store}).Session("alice").Adopt(t.Context(), login))
		time.Sleep(time.Hour - time.Minute) // stale

		c := s.NewClient(client.Config{Store: store})
		require.Equal(t, login.AccessToken, token(t, c.Session("alice")))
		require.NoError(t, c.Close(t.Context()), "a program that makes one call")
		synctest.Wait()
		require.Empty(t, s.Requests())

		alice := s.NewClient(client.Config{Store: store}).Session("alice")
		for range 100 {
			require.Equal(t, login.AccessToken, token(t, alice))
			synctest.Wait()
			require.Empty(t, s.Requests())
			time.Sleep(10 * time.Millisecond)
		}
		require.Equal(t, login.AccessToken, token(t, alice), "it serves while it is replaced")
		synctest.Wait()
		require.Len(t, s.Requests(), 1)
	})
}

// TestTokenThatEndsWithinTheFirstSecond: what has ended is replaced at once, first second or not.
func TestTokenThatEndsWithinTheFirstSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := clienttest.New(t)
		s.Policy.Lifetime = time.Second
		daemon := s.NewClient(client.Config{Grant: client.ClientCredentials{}}).Session("")
		first := token(t, daemon)
		time.Sleep(949 * time.Millisecond)
		require.Equal(t, first, token(t, daemon))
		synctest.Wait()
		require.Len(t, s.Requests(), 1)
		time.Sleep(time.Millisecond)
		require.NotEqual(t, first, token(t, daemon))
		require.Len(t, s.Requests(), 2)
	})
}

// A mark that holds for minutes does not hold for as long as some clock was ahead.
func TestAMarkOfTheFutureHoldsNobodyUp(t *testing.T) {
	for _, verdict := range []record.Verdict{record.Doubted, record.Presumed} {
		for ahead, want := range map[time.Duration]bool{0: false, 24 * time.Hour: true, -24 * time.Hour: true} {
			synctest.Test(t, func(t *testing.T) {
				d, store := newDesk(), tokenstore.NewMemory()
				data, err := (&record.Record{
					Grant: "g", Generation: 1, Leases: 1, RefreshToken: "RT",
					Mark: &record.Mark{Verdict: verdict, Code: "invalid_request", At: time.Now().Add(ahead)},
				}).Encode()
				require.NoError(t, err)
				_, err = store.Swap(t.Context(), tokenstore.Key("https://as.test", "app/1", "alice"), "", data)
				require.NoError(t, err)
				_, err = open(t, d.config(func(c *client.Config) { c.Store = store })).Session("alice").Token(t.Context())
				require.Equal(t, want, err == nil, "%s, %v: %v", verdict, ahead, err)
			})
		}
	}
}

package client_test

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
)

// TestAnOutageThenASlowAnswerIsNoReuse has two processes ask at once, of which one gets 503s until its lease is nearly over, and
// then waits for the answer: the other sees that it lives. Shows I1.
func TestAnOutageThenASlowAnswerIsNoReuse(t *testing.T) {
	for name, slow := range map[string]time.Duration{"an answer after a second": time.Second, "an answer after six seconds": 6 * time.Second} {
		for _, outage := range []time.Duration{4 * time.Second, 8 * time.Second, 11 * time.Second} {
			t.Run(outage.String()+", then "+name, func(t *testing.T) {
				for range 10 {
					simulate(t, func(t *testing.T, w *fleet) {
						one, two := w.process("one"), w.process("two")
						go func() {
							time.Sleep(outage)
							w.as.Heal()
							w.as.Fail("/token", clienttest.Fault{WaitAnswer: slow})
						}()
						w.as.Fail("/token", slices.Repeat([]clienttest.Fault{{Status: http.StatusServiceUnavailable}}, 100)...)
						a, b := one.asks(), two.asks()
						<-a
						<-b
						time.Sleep(time.Minute)
						require.Empty(t, w.as.Reuses())
					})
				}
			})
		}
	}
	t.Run("one pause, almost as long as the lease", func(t *testing.T) {
		simulate(t, func(t *testing.T, w *fleet) {
			one, two := w.process("one"), w.process("two")
			w.as.Fail("/token", clienttest.Fault{Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"13"}}}, clienttest.Fault{WaitAnswer: 8 * time.Second})
			a, b := one.asks(), two.asks()
			require.NoError(t, (<-a).err)
			require.NoError(t, (<-b).err)
			require.Empty(t, w.as.Reuses())
		})
	})
}

// TestAWaiterGetsTheTokenOfALoginMeanwhile rather than the failure of the renewal that it has waited for.
func TestAWaiterGetsTheTokenOfALoginMeanwhile(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		p := w.process("p")
		w.as.Fail("/token", clienttest.Fault{Wait: 3 * time.Second, Status: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {"60"}}})
		first := p.asks()
		time.Sleep(time.Second)
		require.NoError(t, p.login())
		require.NoError(t, (<-first).err)
	})
}

// TestAConfiguredGrantRecoversWithTheSessionThatItTakesFrom exchanges the token of a person who has to log in again, and does.
func TestAConfiguredGrantRecoversWithTheSessionThatItTakesFrom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStrict()
		person := open(t, s.config(nil)).Session("alice")
		require.NoError(t, person.Adopt(t.Context(), s.grant()))
		service := open(t, newDesk().config(func(c *client.Config) {
			c.Grant = client.ExtensionGrant{Type: "urn:example:obo", Params: func(ctx context.Context) (url.Values, error) {
				token, err := person.Token(ctx)
				if err != nil {
					return nil, err
				}
				return url.Values{"assertion": {token.AccessToken}}, nil
			}}
		})).Session("alice")
		token(t, service)
		time.Sleep(2 * time.Hour)
		for _, f := range s.refresh {
			f.dead = true
		}
		_, err := service.Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired)
		require.NoError(t, person.Adopt(t.Context(), s.grant()))
		time.Sleep(time.Hour)
		token(t, service)
	})
}

// TestAnAPIThatRejectsEveryTokenCausesFewRenewals however seldom it is asked. Shows I9.
func TestAnAPIThatRejectsEveryTokenCausesFewRenewals(t *testing.T) {
	for _, every := range []time.Duration{time.Second, 2500 * time.Millisecond, 10 * time.Second} {
		t.Run(every.String(), func(t *testing.T) {
			pain(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, store *faulty) {
				hc := aliceOf(s, store).Wrap(s.HTTPClient(""))
				s.Change(func() { api.RejectAll = true })
				for begin := time.Now(); time.Since(begin) < 25*time.Minute; time.Sleep(every) {
					resp, err := hc.Get(api.URL)
					require.NoError(t, err)
					require.NoError(t, resp.Body.Close())
					require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
				}
				require.LessOrEqual(t, len(s.Renewals()), 14)
			})
		})
	}
}

// A server that says for how long it is away is not asked before, whoever wants a token meanwhile.
func TestAServerThatIsAwayIsNotAskedBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk()
		away := true
		d.busyFor, d.answer = "600", func(int, url.Values) (int, string) {
			if away {
				return http.StatusServiceUnavailable, ""
			}
			return 0, ""
		}
		s := d.session(t, nil)
		begun := time.Now()
		for time.Since(begun) < 9*time.Minute {
			_, err := s.Token(t.Context())
			require.Error(t, err)
			time.Sleep(10 * time.Second)
		}
		require.Len(t, d.letters(), 1)
		away = false
		time.Sleep(2 * time.Minute)
		require.Equal(t, "AT2", token(t, s))
	})
}

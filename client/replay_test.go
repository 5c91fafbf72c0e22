package client_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore"
)

// There are servers that answer a replay with the access token that the lost answer held, and speak of a whole life of
// it (django-oauth-toolkit within its grace period): it lives from the first sending on.
// Shows R6749-5.1-4.
func TestReplayedTokenLivesFromTheFirstSending(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		w.as.Change(func() {
			w.as.Policy.Leeway, w.as.Policy.LeewaySame, w.as.Policy.Lifetime = time.Hour, true, 10*time.Second
		})
		killed, p := w.process("killed"), w.process("p")
		w.as.Fail("/token", clienttest.Fault{WaitAnswer: time.Second})
		sent := time.Now()
		killed.asks()
		killed.stop()
		got := (<-p.asks()).access(t)
		require.GreaterOrEqual(t, time.Since(sent), 15*time.Second, "the lease had to run out")
		require.Equal(t, []string{"RT1", "RT1", "RT2"}, w.presented(), "what the replay brought has ended already")
		require.Equal(t, w.stored().Access[""].Token, got)

		w.as.Change(func() { w.as.Policy.Lifetime = time.Hour })
		time.Sleep(time.Hour)
		w.as.Fail("/token", clienttest.Fault{Wait: 3 * time.Second, LoseAnswer: true})
		sent = time.Now()
		outcome := <-p.asks()
		require.NoError(t, outcome.err)
		require.WithinDuration(t, sent.Add(time.Hour), outcome.token.Expiry, time.Second)
	})
}

// In the pause that keeps a server from being asked for every rejection, the store is looked into all the same.
func TestRejectedWithinThePauseLooksIntoTheStore(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, api *clienttest.API, _ *client.Session, _ *http.Client) {
		store := tokenstore.NewMemory()
		alice, other := s.NewClient(web(store)).Session("alice"), s.NewClient(web(store)).Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), s.Login("openid", "read")))
		hc := alice.Wrap(s.HTTPClient(""))
		s.RevokeAccessToken("")
		require.Equal(t, http.StatusOK, get(t, hc, api.URL))
		s.RevokeAccessToken("")
		renewals := len(s.Renewals())
		require.Equal(t, http.StatusUnauthorized, get(t, hc, api.URL), "a fresh token was rejected")
		require.Len(t, s.Renewals(), renewals, "it is too soon to ask")
		_, err := other.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, get(t, hc, api.URL), "somebody else has asked")
	})
}

// Once the server has answered, no answer is lost any more, even if it was in doubt in between.
func TestAnswerAfterDoubtIsTheLastOnes(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		w.as.Change(func() { w.as.Policy.Leeway = time.Hour })
		w.as.Fail("/token", clienttest.Fault{LoseAnswer: true}, clienttest.Fault{Status: 400, Body: `{"error":"invalid_request"}`})
		p := w.process("p")
		require.Error(t, (<-p.asks()).err)
		require.NotZero(t, w.stored().Unanswered)
		time.Sleep(time.Minute)
		require.NoError(t, (<-p.asks()).err)
		require.Zero(t, w.stored().Unanswered)
		require.Equal(t, []string{"RT1", "RT1"}, w.presented())
	})
}

// A configured grant spends nothing: no answer of its is lost, and what comes is new, whoever has died before.
func TestConfiguredGrantLosesNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, h := clienttest.New(t), &heard{}
		store := &spied{Store: tokenstore.NewMemory(), vault: &vault{kinds: map[string]map[string]bool{}}}
		robot := func() *client.Session {
			return s.NewClient(client.Config{Grant: client.ClientCredentials{}, Store: store, OnEvent: h.hear}).Session("robot")
		}
		s.Fail("/token", clienttest.Fault{LoseAnswer: true}, clienttest.Fault{Wait: time.Second, Status: http.StatusBadGateway})
		time.AfterFunc(time.Second/2, func() { store.fail(errDisk) })
		_, err := robot().Token(t.Context())
		require.Error(t, err)
		require.Equal(t, []string{"failed"}, kinds(h.take()))

		store.fail(nil)
		time.Sleep(24 * time.Hour)
		token, err := robot().Token(t.Context())
		require.NoError(t, err)
		require.WithinDuration(t, time.Now().Add(time.Hour), token.Expiry, time.Second)
		require.Equal(t, []string{"renewed"}, kinds(h.take()))
	})
}

// A token that ends while a slow store takes it is of no use to those who have waited: the next one is asked for.
func TestTokenThatEndsBeforeItIsSaved(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		w.as.Change(func() { w.as.Policy.Lifetime = 2 * time.Second })
		p, slow := w.process("p"), 3*time.Second
		p.swaps(func(value []byte, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) {
			if isSave(t, value, w.stored().Generation) {
				time.Sleep(slow)
				slow = 0
			}
			return apply()
		})
		outcome := <-p.asks()
		require.NoError(t, outcome.err)
		require.True(t, outcome.token.Expiry.After(time.Now()))
		require.Equal(t, []string{"RT1", "RT2"}, w.presented())
	})
}

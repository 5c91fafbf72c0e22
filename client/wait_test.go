package client_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
)

// waited is how long Wait takes.
func waited(t *testing.T, c *client.Client) time.Duration {
	t.Helper()
	begun := time.Now()
	require.NoError(t, c.Wait(t.Context()))
	return time.Since(begun)
}

func TestWaitWaitsForARenewalInTheBackground(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, _ *faulty, c *client.Client) {
		alice := c.Session("alice")
		require.Zero(t, waited(t, c), "there is nothing to wait for")
		time.Sleep(57 * time.Minute)
		s.fail(slowAnswer(20 * time.Second))
		require.Equal(t, "AT1", token(t, alice))
		require.Equal(t, 20*time.Second, waited(t, c))
		require.Equal(t, "AT2", token(t, alice), "it is saved, and the Client is as good as before")
		require.Zero(t, waited(t, c))
	})
}

// TestWaitHasTokensSavedSoon: a store that takes writes again is not left alone until the backoff has passed.
func TestWaitHasTokensSavedSoon(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, store *faulty, c *client.Client) {
		store.set(failFrom(2))
		_, err := c.Session("alice").Renew(t.Context(), nil)
		require.NoError(t, err)
		time.Sleep(5 * time.Minute)
		within, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err = c.Wait(within)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorContains(t, err, `unsaved tokens of session "alice"`)
		time.Sleep(5 * time.Minute)
		store.set(nil)
		require.Less(t, waited(t, c), time.Second)
		other := open(t, s.config(store))
		require.Equal(t, "AT2", token(t, other.Session("alice")))
	})
}

func TestWaitThatGivesUpLeavesTheRenewalAlone(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, _ *faulty, c *client.Client) {
		got := waitsForARenewal(t, s, c, slow(20*time.Second))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := c.Wait(ctx)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorContains(t, err, `a renewal of session "alice"`)
		require.Equal(t, "AT2", (<-got).access(t))
		require.NoError(t, c.Wait(ctx), "nothing is left")
	})
}

// TestWaitIsNotHeldUpByOthers: what begins while it waits is another invocation's.
func TestWaitIsNotHeldUpByOthers(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, _ *faulty, c *client.Client) {
		require.NoError(t, c.Session("bob").Adopt(t.Context(), s.grant()))
		got := waitsForARenewal(t, s, c, slow(5*time.Second), slow(20*time.Second))
		began := time.Now()
		ended := make(chan time.Duration, 1)
		go func() {
			require.NoError(t, c.Wait(t.Context()))
			ended <- time.Since(began)
		}()
		synctest.Wait()
		_, err := c.Session("bob").Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, 20*time.Second, time.Since(began))
		require.Equal(t, 4*time.Second, <-ended)
		<-got
	})
}

func TestWaitOnAClosedClient(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, store *faulty, c *client.Client) {
		got := waitsForARenewal(t, s, c, slow(5*time.Second))
		go func() { _ = c.Close(t.Context()) }()
		synctest.Wait()
		require.Equal(t, 4*time.Second, waited(t, c))
		<-got
		require.NoError(t, c.Close(t.Context()))
		require.Zero(t, waited(t, c))
	})
}

// TestWaitWaitsForNoPerson whom Config.StepUp has asked.
func TestWaitWaitsForNoPerson(t *testing.T) {
	climbing(t, func(t *testing.T, c *climb) {
		c.wants("write")
		asked, answered := make(chan bool), make(chan error)
		config := web(c.store)
		config.StepUp = func(context.Context, *client.Session, client.StepUp) error {
			close(asked)
			return <-answered
		}
		mine := c.NewClient(config)
		status := make(chan int)
		go func() { status <- get(t, mine.Session("alice").Wrap(c.HTTPClient("")), c.api.URL) }()
		<-asked
		require.Zero(t, waited(t, mine))
		answered <- context.Canceled
		<-status
	})
}

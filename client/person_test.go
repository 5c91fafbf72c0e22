package client_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/transport"
)

// waitsForARenewal has alice ask for a token while the server takes its time, and a second pass.
func waitsForARenewal(t *testing.T, s *strict, c *client.Client, faults ...fault) <-chan outcome {
	t.Helper()
	time.Sleep(2 * time.Hour)
	s.fail(faults...)
	got := make(chan outcome, 1)
	go func() { token, err := c.Session("alice").Token(t.Context()); got <- outcome{token, err} }()
	synctest.Wait()
	time.Sleep(time.Second)
	return got
}

// atOnce is what a wait has come to by now.
func atOnce(t *testing.T, got <-chan outcome) outcome {
	t.Helper()
	synctest.Wait()
	require.Len(t, got, 1, "it still waits")
	return <-got
}

func TestALoginEndsTheWaitForARenewal_I5(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, _ *faulty, c *client.Client) {
		got := waitsForARenewal(t, s, c, slow(20*time.Second))
		fresh := s.grant()
		require.NoError(t, c.Session("alice").Adopt(t.Context(), fresh))
		require.Equal(t, fresh.AccessToken, atOnce(t, got).access(t))
		time.Sleep(time.Minute)
		require.Equal(t, fresh.AccessToken, token(t, c.Session("alice")), "what the renewal has brought is of the former grant")
	})
}

func TestALogoutEndsTheWaitForARenewal(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, store *faulty, c *client.Client) {
		got := waitsForARenewal(t, s, c, slowAnswer(20*time.Second))
		require.NoError(t, c.Session("alice").Logout(t.Context()))
		require.ErrorIs(t, atOnce(t, got).err, client.ErrLoginRequired)
		time.Sleep(time.Minute)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		require.Contains(t, s.revoked, "RT2", "what came after the logout is taken back")
	})
}

// TestAGrantWithoutAnAccessTokenIsSpentAfterTheFormerOne: the wait goes on for the renewal of the new grant, which waits for
// that of the former one to end.
func TestAGrantWithoutAnAccessTokenIsSpentAfterTheFormerOne(t *testing.T) {
	bubble(t, func(t *testing.T, s *strict, _ *faulty, c *client.Client) {
		got := waitsForARenewal(t, s, c, slow(20*time.Second))
		fresh := s.grant()
		fresh.AccessToken = ""
		require.NoError(t, c.Session("alice").Adopt(t.Context(), fresh))
		synctest.Wait()
		require.Empty(t, got)
		time.Sleep(20 * time.Second)
		require.Equal(t, "AT4", atOnce(t, got).access(t))
		requests, reuses := s.count()
		require.Equal(t, []int{2, 0}, []int{requests, reuses})
	})
}

// looking is a store in which something happens just after a load.
type looking struct {
	*faulty
	then func()
}

func (l *looking) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	data, version, err := l.faulty.Load(ctx, key)
	if then := l.then; then != nil {
		l.then = nil
		then()
	}
	return data, version, err
}

// TestWhatWasLoadedBeforeALoginIsNoAnswer: a renewal that has loaded the former grant looks again, rather than refuse by it.
func TestWhatWasLoadedBeforeALoginIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store := newStrict(), &looking{faulty: newFaulty()}
		alice := open(t, s.config(store)).Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), s.grant()))
		fresh, err := alice.Renew(t.Context(), &oauth2.Token{AccessToken: "AT1"})
		require.NoError(t, err)
		_, err = alice.Renew(t.Context(), fresh)
		require.ErrorIs(t, err, transport.ErrRejected, "it is too soon for another one")
		store.then = func() {
			another := s.grant()
			another.AccessToken = ""
			require.NoError(t, alice.Adopt(t.Context(), another))
		}
		got, err := alice.Renew(t.Context(), fresh)
		require.NoError(t, err)
		require.Equal(t, "AT4", got.AccessToken)
	})
}

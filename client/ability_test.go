package client_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore"
)

// able is a store with every ability that a Client only asks for, in one process.
type able struct {
	tokenstore.Store
	probe  error                  // what Probe says
	until  []time.Time            // of every SwapUntil
	tell   func(key, text string) // nil: nobody listens
	probed int
}

func (s *able) Probe(context.Context) error {
	s.probed++
	return s.probe
}

func (s *able) SwapUntil(ctx context.Context, key string, old tokenstore.Version, value []byte, until time.Time) (tokenstore.Version, error) {
	s.until = append(s.until, until)
	return s.Store.Swap(ctx, key, old, value)
}

func (s *able) Notify(tell func(key, text string)) (stop func()) {
	s.tell = tell
	return func() { s.tell = nil }
}

// neverAsked is a Flow's way of asking a person, whom nobody asks.
func neverAsked(t *testing.T) client.Browser {
	return client.Browser{Open: func(string) error {
		t.Error("a person was asked to log in")
		return errors.New("no")
	}}
}

func TestNobodyLogsInForAStoreThatCannotBeWritten(t *testing.T) {
	s, full := clienttest.New(t), errors.New("the disk is full")
	store := &able{Store: tokenstore.NewMemory(), probe: full}
	config := web(store)
	alice := s.NewClient(config).Session("alice")
	require.ErrorIs(t, alice.Login(t.Context(), neverAsked(t)), full)
	_, err := alice.Start(t.Context(), client.AuthCode{})
	require.ErrorIs(t, err, full)
	require.Equal(t, 2, store.probed)

	store.probe = nil
	_, err = alice.Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
}

func TestTheStoreLearnsUntilWhenAGrantIsOfUse(t *testing.T) {
	const kept = 24 * time.Hour
	for name, c := range map[string]struct {
		answer map[string]any
		grant  client.Grant
		token  *oauth2.Token // adopted; nil: one of the server's
		left   time.Duration // -1: for ever
	}{
		"a refresh token that never ends": {left: -1},
		"a refresh token that ends":       {answer: map[string]any{"refresh_expires_in": 7200}, left: 2*time.Hour + kept},
		"an access token alone":           {token: &oauth2.Token{AccessToken: "at"}, left: time.Hour + kept},
		"one that says no end":            {token: &oauth2.Token{AccessToken: "at"}, left: -1},
		"a grant that needs no person":    {grant: client.ClientCredentials{}, left: time.Hour + kept},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, store := clienttest.New(t), &able{Store: tokenstore.NewMemory()}
				config := web(store)
				config.Grant = c.grant
				alice := s.NewClient(config).Session("alice")
				switch {
				case c.token != nil:
					if c.left > 0 {
						c.token.Expiry = time.Now().Add(time.Hour) // by the bubble's clock
					}
					require.NoError(t, alice.Adopt(t.Context(), c.token))
				case c.grant == nil:
					require.NoError(t, alice.Adopt(t.Context(), s.Login("read")))
					s.Change(func() { s.Policy.Answer = c.answer })
					fallthrough
				default:
					_, err := alice.Renew(t.Context(), nil)
					require.NoError(t, err)
				}
				last := store.until[len(store.until)-1]
				if c.left < 0 {
					require.Zero(t, last)
					return
				}
				require.WithinDuration(t, time.Now().Add(c.left), last, time.Second)
			})
		})
	}
}

func TestWhatTheStoreTellsIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, store, h := clienttest.New(t), &able{Store: tokenstore.NewMemory()}, &heard{}
		config := web(store)
		config.OnEvent = h.hear
		c := s.NewClient(config)
		store.tell("", "a fallback is in use")
		store.tell(tokenstore.Key(s.Issuer, "app", "alice"), "the file was open to others")
		store.tell(tokenstore.Key(s.Issuer, "another program", "alice"), "not ours")
		store.tell("no key of ours", "not ours")
		events := h.take()
		require.Equal(t, []string{"store", "store"}, kinds(events))
		require.Equal(t, "a fallback is in use", events[0].Reason)
		require.Empty(t, events[0].Session)
		require.Equal(t, "alice", events[1].Session)
		require.NoError(t, c.Close(t.Context()))
		require.Nil(t, store.tell, "a closed client still listens")
	})
}

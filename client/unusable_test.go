package client_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
)

// unusable are changes to a token answer that leave it without an access token that can be used.
var unusable = map[string]map[string]any{
	"a type of its own":            {"token_type": "JWT"},
	"no access token, it says":     {"token_type": "N_A"},
	"no access token":              {"access_token": nil},
	"neither a token nor its type": {"access_token": nil, "token_type": "JWT"},
}

// plain runs a test against a server of Bearer tokens, with what it is to change in its answers.
func plain(t *testing.T, f func(t *testing.T, p *possession, answers func(map[string]any))) {
	t.Helper()
	inTime(t, func(t *testing.T, p *possession) {
		p.as.Policy.DPoP = false
		f(t, p, func(members map[string]any) { p.as.Change(func() { p.as.Policy.Answer = members }) })
	})
}

func bearers(c *client.Config) { c.DPoP = nil }

// requireUnusable asserts that err is about the answer and does not send anybody to log in.
func requireUnusable(t *testing.T, err error) {
	t.Helper()
	var failed *client.Error
	require.ErrorAs(t, err, &failed)
	require.Equal(t, 200, failed.StatusCode)
	require.ErrorContains(t, err, "the answer cannot be used")
	require.NotErrorIs(t, err, client.ErrLoginRequired)
}

// TestARenewalKeepsTheRefreshTokenOfAnUnusableAnswer_I1_I3: the one before it is spent, and the server takes its reuse for a theft.
func TestARenewalKeepsTheRefreshTokenOfAnUnusableAnswer_I1_I3(t *testing.T) {
	for name, members := range unusable {
		t.Run(name, func(t *testing.T) {
			plain(t, func(t *testing.T, p *possession, answers func(map[string]any)) {
				alice := p.login(p.client(bearers))
				before := p.record()
				answers(members)
				_, err := alice.Renew(t.Context(), nil)
				requireUnusable(t, err)
				require.Len(t, p.as.Renewals(), 1, "its answer has come, so nothing is sent again at once")
				kept := p.record()
				require.NotEqual(t, before.RefreshToken, kept.RefreshToken)
				require.Equal(t, before.Access[""].Token, kept.Access[""].Token, "it is good for a while yet")
				require.Equal(t, before.Access[""].Token, token(t, p.client(bearers).Session("alice")), "in another process, too")
				require.Len(t, p.as.Renewals(), 1)
				require.Zero(t, kept.Unanswered)
				require.Nil(t, kept.Lease)

				answers(nil)
				time.Sleep(time.Minute)
				_, err = alice.Renew(t.Context(), nil)
				require.NoError(t, err)
				require.Equal(t, 200, p.get(alice))
				require.Equal(t, before.Grant, p.record().Grant, "without a login")
				require.Empty(t, p.as.Reuses())
			})
		})
		t.Run(name+", for another process", func(t *testing.T) {
			plain(t, func(t *testing.T, p *possession, answers func(map[string]any)) {
				alice := p.login(p.client(bearers))
				answers(members)
				_, err := alice.Renew(t.Context(), nil)
				requireUnusable(t, err)
				time.Sleep(2 * time.Hour)
				answers(nil)
				require.Equal(t, 200, p.get(p.client(bearers).Session("alice")))
				require.Len(t, p.as.Renewals(), 2)
				require.Empty(t, p.as.Reuses())
			})
		})
		t.Run(name+", with a key", func(t *testing.T) {
			inTime(t, func(t *testing.T, p *possession) {
				alice := p.login(p.client(nil))
				p.as.Change(func() { p.as.Policy.Answer = members })
				_, err := alice.Renew(t.Context(), nil)
				requireUnusable(t, err)
				p.as.Change(func() { p.as.Policy.Answer = nil })
				time.Sleep(time.Minute)
				require.Equal(t, 200, p.get(alice))
				require.Empty(t, p.as.Reuses())
			})
		})
	}
}

// TestUnusableAnswersAreAskedForLessAndLess: each is of another generation, in whichever process.
func TestUnusableAnswersAreAskedForLessAndLess(t *testing.T) {
	for name, members := range unusable {
		t.Run(name, func(t *testing.T) {
			plain(t, func(t *testing.T, p *possession, answers func(map[string]any)) {
				sessions := []*client.Session{p.login(p.client(bearers)), p.client(bearers).Session("alice")}
				answers(members)
				time.Sleep(2 * time.Hour) // the token has ended
				for range 600 {
					for _, s := range sessions {
						_, err := s.Token(t.Context())
						requireUnusable(t, err)
					}
					time.Sleep(time.Second)
				}
				require.Less(t, len(p.as.Renewals()), 2*20, "ten minutes of every second")
				require.Empty(t, p.as.Reuses())
				answers(nil)
				time.Sleep(2 * time.Minute)
				for _, s := range sessions {
					require.Equal(t, 200, p.get(s))
				}
			})
		})
	}
}

// TestAnUnusableAnswerForOneResource keeps no other waiting.
func TestAnUnusableAnswerForOneResource(t *testing.T) {
	plain(t, func(t *testing.T, p *possession, answers func(map[string]any)) {
		alice := p.login(p.client(bearers))
		answers(unusable["a type of its own"])
		_, err := alice.Resource(p.api.URL).Token(t.Context())
		requireUnusable(t, err)
		answers(nil)
		_, err = alice.Renew(t.Context(), nil)
		require.NoError(t, err)
	})
}

func TestAnUnusableAnswerThatCannotBeSaved_I3(t *testing.T) {
	plain(t, func(t *testing.T, p *possession, answers func(map[string]any)) {
		store := &spied{Store: p.store, vault: &vault{kinds: map[string]map[string]bool{}}}
		p.store = store
		alice := p.login(p.client(bearers))
		answers(map[string]any{"token_type": "JWT"})
		p.as.Fail("/token", clienttest.Fault{WaitAnswer: time.Second})
		time.AfterFunc(time.Second/2, func() { store.fail(errDisk) })
		_, err := alice.Renew(t.Context(), nil)
		requireUnusable(t, err)
		answers(nil)
		store.fail(nil)
		time.Sleep(time.Minute)
		_, err = alice.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, 200, p.get(alice))
		require.Empty(t, p.as.Reuses())
	})
}

// TestAnUnusableAnswerBringsNoGrant: what it holds beside the access token is kept only where something was spent for it.
func TestAnUnusableAnswerBringsNoGrant(t *testing.T) {
	for name, members := range unusable {
		t.Run(name+", login", func(t *testing.T) {
			plain(t, func(t *testing.T, p *possession, answers func(map[string]any)) {
				answers(members)
				requireUnusable(t, p.tryLogin(p.client(bearers).Session("alice")))
				require.Nil(t, p.record())
			})
		})
		t.Run(name+", configured grant", func(t *testing.T) {
			plain(t, func(t *testing.T, p *possession, answers func(map[string]any)) {
				alice := p.client(func(c *client.Config) { c.DPoP, c.Grant = nil, client.ClientCredentials{} }).Session("alice")
				with := map[string]any{"refresh_token": "RT"}
				for name, value := range members {
					with[name] = value
				}
				answers(with)
				_, err := alice.Token(t.Context())
				requireUnusable(t, err)
				require.Empty(t, p.record().RefreshToken)
				require.Zero(t, p.record().Generation, "nothing was received")
				answers(nil)
				time.Sleep(time.Minute)
				require.Equal(t, 200, p.get(alice))
			})
		})
	}
}

package client_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore"
)

// One refresh token serves several resources: each has access tokens of its own, and the refresh token is spent by
// one of them at a time.
// Shows R9700-2.3-1.
func TestResourcesShareAGrantAndNoAccessToken(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, mail *clienttest.API, alice *client.Session, _ *http.Client) {
		files := s.NewAPI("files.test")
		toMail, toFiles := alice.Resource(mail.URL), alice.Resource(files.URL)
		require.Same(t, toMail, alice.Resource(mail.URL))
		require.Same(t, toMail, toFiles.Resource(mail.URL))
		require.Same(t, alice, toMail.Resource(""))
		for range 20 {
			var calls sync.WaitGroup
			for range 5 {
				calls.Go(func() {
					require.Equal(t, http.StatusOK, get(t, toMail.Wrap(s.HTTPClient("")), mail.URL))
					require.Equal(t, http.StatusOK, get(t, toFiles.Wrap(s.HTTPClient("")), files.URL))
					require.Equal(t, http.StatusOK, get(t, alice.Wrap(s.HTTPClient("")), mail.URL))
				})
			}
			calls.Wait()
			time.Sleep(50 * time.Minute)
		}
		require.Zero(t, mail.Refused()+files.Refused())
		require.Empty(t, s.Reuses())

		token, err := toMail.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, call(t, s, files.URL, token.AccessToken), "a token for mail opens no files")
	})
}

func call(t *testing.T, s *clienttest.Server, address, token string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := s.HTTPClient("").Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

// A renewal for one resource leaves the others' access tokens alone, in memory and in the store.
func TestResourcesKeepTheirTokens(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, mail *clienttest.API, _ *client.Session, _ *http.Client) {
		files, store := s.NewAPI("files.test"), tokenstore.NewMemory()
		alice := s.NewClient(web(store)).Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), s.Login("openid", "read")))
		first, err := alice.Resource(mail.URL).Token(t.Context())
		require.NoError(t, err)
		_, err = alice.Resource(files.URL).Renew(t.Context(), nil)
		require.NoError(t, err)
		renewals := len(s.Renewals())
		for _, session := range []*client.Session{alice, s.NewClient(web(store)).Session("alice")} {
			again, err := session.Resource(mail.URL).Token(t.Context())
			require.NoError(t, err)
			require.Equal(t, first.AccessToken, again.AccessToken)
		}
		require.Len(t, s.Renewals(), renewals, "nobody had to ask")
	})
}

// What a person does counts for every resource.
func TestResourcesLogOutTogether(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, mail *clienttest.API, alice *client.Session, _ *http.Client) {
		toMail := alice.Resource(mail.URL)
		before, err := toMail.Token(t.Context())
		require.NoError(t, err)
		require.NoError(t, toMail.Adopt(t.Context(), s.Login("openid", "read")))
		after, err := toMail.Token(t.Context())
		require.NoError(t, err)
		require.NotEqual(t, before.AccessToken, after.AccessToken)
		require.NoError(t, alice.Logout(t.Context()))
		_, err = toMail.Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired)
	})
}

// A resource that the server refuses is no trouble of the others.
func TestResourceThatIsRefused(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, mail *clienttest.API, alice *client.Session, _ *http.Client) {
		refusal := clienttest.Fault{Status: http.StatusBadRequest, Body: `{"error":"invalid_target"}`}
		s.Fail("/token", refusal, refusal)
		before := len(s.Requests())
		_, err := alice.Resource("https://one.test").Token(t.Context())
		var e *client.Error
		require.ErrorAs(t, err, &e)
		require.Equal(t, "invalid_target", e.Code)
		_, again := alice.Resource("https://one.test").Token(t.Context())
		require.Same(t, err, again, "it is remembered")
		_, other := alice.Resource("https://two.test").Token(t.Context())
		require.ErrorAs(t, other, &e)
		_, again = alice.Resource("https://one.test").Token(t.Context())
		require.Same(t, err, again, "beside another refused one, too")
		require.Len(t, s.Requests(), before+2)
		_, err = alice.Resource(mail.URL).Token(t.Context())
		require.NoError(t, err)
	})
}

// Scopes that do not go with one resource may go with another.
func TestResourceWithoutScope(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, mail *clienttest.API, alice *client.Session, _ *http.Client) {
		s.Fail("/token", clienttest.Fault{Status: 400, Body: `{"error":"invalid_scope"}`})
		_, err := alice.Resource("https://files.test").Token(t.Context())
		require.Error(t, err)
		_, err = alice.Resource(mail.URL).Token(t.Context())
		require.NoError(t, err)
	})
}

// What could not be saved for one resource is saved before another one spends the refresh token.
func TestResourcesSaveFirst(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		p := w.process("p1")
		p.refuseSaves(w.stored().Generation)
		mail, files := p.alice().Resource("https://mail.test"), p.alice().Resource("https://files.test")
		first, err := mail.Token(t.Context())
		require.NoError(t, err)
		_, err = files.Token(t.Context())
		require.ErrorIs(t, err, errDisk)
		p.resume()
		_, err = files.Token(t.Context())
		require.NoError(t, err)
		again, err := mail.Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, first.AccessToken, again.AccessToken)
		require.Equal(t, first.AccessToken, w.stored().Access["https://mail.test"].Token)
		require.Equal(t, []string{"RT1", "RT2"}, w.presented())
	})
}

// That the store still holds a good token for one resource says nothing of the renewal that has just failed for another.
func TestResourcesShareTheMemoryOfAFailure(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, mail *clienttest.API, _ *client.Session, _ *http.Client) {
		store := tokenstore.NewMemory()
		require.NoError(t, s.NewClient(web(store)).Session("alice").Adopt(t.Context(), s.Login("openid", "read")))
		alice := s.NewClient(web(store)).Session("alice")
		s.Fail("/token", slices.Repeat([]clienttest.Fault{{Status: 500}}, 2)...)
		_, err := alice.Resource(mail.URL).Token(t.Context())
		require.Error(t, err)
		_, fine := alice.Token(t.Context())
		require.NoError(t, fine)
		_, again := alice.Resource(mail.URL).Token(t.Context())
		require.Same(t, err, again)
	})
}

// Who needs no renewal does not wait for another resource's.
func TestResourceInTheStoreIsNotKeptWaiting(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, mail *clienttest.API, _ *client.Session, _ *http.Client) {
		store := tokenstore.NewMemory()
		before := s.NewClient(web(store)).Session("alice")
		require.NoError(t, before.Adopt(t.Context(), s.Login("openid", "read")))
		stored, err := before.Resource(mail.URL).Token(t.Context())
		require.NoError(t, err)

		alice, began := s.NewClient(web(store)).Session("alice"), time.Now()
		s.Fail("/token", clienttest.Fault{Wait: 20 * time.Second})
		renewed := make(chan error, 1)
		go func() { _, err := alice.Renew(t.Context(), nil); renewed <- err }()
		synctest.Wait()
		got, err := alice.Resource(mail.URL).Token(t.Context())
		require.NoError(t, err)
		require.Equal(t, stored.AccessToken, got.AccessToken)
		require.Zero(t, time.Since(began))
		require.NoError(t, <-renewed)
	})
}

// A renewal that waits for another resource's has nothing at stake: Close does not wait for it.
func TestCloseWaitsForOneOfManyResources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := clienttest.New(t)
		c := s.NewClient(web(nil))
		alice := c.Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), s.Login("openid", "read")))
		s.Fail("/token", clienttest.Fault{Wait: 20 * time.Second})
		outcomes := make(chan error, 2)
		for _, session := range []*client.Session{alice, alice.Resource("https://mail.test")} {
			go func() { _, err := session.Renew(t.Context(), nil); outcomes <- err }()
			synctest.Wait()
		}
		began := time.Now()
		require.NoError(t, c.Close(t.Context()))
		require.Equal(t, 20*time.Second, time.Since(began))
		require.ErrorIs(t, <-outcomes, client.ErrClosed)
		require.NoError(t, <-outcomes)
		require.Len(t, s.Renewals(), 1)
	})
}

// sluggish is a store whose next load takes its time, and whose first save hangs.
type sluggish struct {
	tokenstore.Store
	t     *testing.T
	loads chan time.Duration // how long the next one takes
	hang  sync.Once
}

func (s *sluggish) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	select {
	case long := <-s.loads:
		time.Sleep(long)
	default:
	}
	return s.Store.Load(ctx, key)
}

func (s *sluggish) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	if isSave(s.t, value, 1) {
		s.hang.Do(func() { <-ctx.Done() })
	}
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return s.Store.Swap(ctx, key, old, value)
}

// The one whose answer is being saved is waited for, also by those who come before or after one that gives up waiting.
func TestResourcesWaitForWhoeverSpends(t *testing.T) {
	for name, pause := range map[string]time.Duration{"before": time.Minute, "after": 2 * time.Minute} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := clienttest.New(t)
				store := &sluggish{Store: tokenstore.NewMemory(), t: t, loads: make(chan time.Duration, 1)}
				alice := s.NewClient(web(store)).Session("alice")
				require.NoError(t, alice.Adopt(t.Context(), s.Login("openid", "read")))
				time.Sleep(2 * time.Hour)
				store.loads <- 2*time.Minute - time.Second
				asks := func(resource string) <-chan error {
					outcome := make(chan error, 1)
					go func() { _, err := alice.Resource(resource).Token(t.Context()); outcome <- err }()
					time.Sleep(time.Second / 2)
					return outcome
				}
				spends, waits := asks(""), asks("https://mail.test")
				time.Sleep(pause)
				comes := asks("https://files.test")
				require.ErrorIs(t, <-waits, context.DeadlineExceeded)
				require.NoError(t, <-comes)
				require.NoError(t, <-spends)
				require.Empty(t, s.Reuses())
			})
		})
	}
}

// What the server says beside a token is said of that token's resource.
func TestResourcesKeepTheirWords(t *testing.T) {
	world(t, func(t *testing.T, s *clienttest.Server, mail *clienttest.API, _ *client.Session, _ *http.Client) {
		store := tokenstore.NewMemory()
		alice := s.NewClient(web(store)).Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), s.Login("openid", "read")))
		said := []struct{ resource, instance, scope string }{{"", "own", "openid read"}, {mail.URL, "mail's", "read"}}
		for _, r := range said {
			s.Change(func() { s.Policy.Answer = map[string]any{"instance": r.instance, "scope": r.scope} })
			_, err := alice.Resource(r.resource).Renew(t.Context(), nil)
			require.NoError(t, err)
		}
		for _, session := range []*client.Session{alice, s.NewClient(web(store)).Session("alice")} {
			for _, r := range said {
				token, err := session.Resource(r.resource).Token(t.Context())
				require.NoError(t, err)
				require.Equal(t, r.instance, token.Extra("instance"))
				require.Equal(t, r.scope, token.Extra("scope"))
				status, err := session.Resource(r.resource).Status(t.Context())
				require.NoError(t, err)
				require.Equal(t, r.scope, strings.Join(status.Scopes, " "))
			}
		}
	})
}

// Without a refresh token a logout takes every access token back.
func TestLogoutRevokesTheTokensOfAllResources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := clienttest.New(t)
		mail, files := s.NewAPI("mail.test"), s.NewAPI("files.test")
		robot := s.NewClient(client.Config{Grant: client.ClientCredentials{}}).Session("robot")
		held := map[string]string{}
		for _, api := range []*clienttest.API{mail, files} {
			token, err := robot.Resource(api.URL).Token(t.Context())
			require.NoError(t, err)
			held[api.URL] = token.AccessToken
			require.Equal(t, http.StatusOK, call(t, s, api.URL, token.AccessToken))
		}
		require.NoError(t, robot.Logout(t.Context()))
		for address, token := range held {
			require.Equal(t, http.StatusUnauthorized, call(t, s, address, token))
		}
	})
}

// What has ended is not kept: a record does not grow with the resources that were ever used.
func TestResourcesThatHaveEndedAreNotKept(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		p := w.process("p")
		for _, name := range []string{"a", "b", "c"} {
			_, err := p.alice().Resource("https://" + name + ".test").Token(t.Context())
			require.NoError(t, err)
			time.Sleep(40 * time.Minute)
		}
		require.Len(t, w.stored().Access, 3, "the account's own, b, which is good yet, and c")
		require.NotContains(t, w.stored().Access, "https://a.test")
	})
}

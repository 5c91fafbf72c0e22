package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"runtime"
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
	"github.com/evergrant/evergrant/transport"
)

// A person who is to authenticate better, and does not, keeps the grant that there is: nothing is revoked beside it.
func TestFailedStepUpLeavesTheStoredGrantAlone(t *testing.T) {
	s := clienttest.New(t)
	config := web(tokenstore.NewMemory())
	config.Scopes = []string{"openid"}
	alice := s.NewClient(config).Session("alice")
	require.NoError(t, alice.Adopt(t.Context(), s.Login("openid")))
	stepUp := func() error {
		pending, err := alice.Start(t.Context(), client.AuthCode{Params: url.Values{"acr_values": {"gold"}}, Replace: true})
		require.NoError(t, err)
		callback, err := s.Browse(t.Context(), pending.URL)
		require.NoError(t, err)
		return alice.Finish(t.Context(), pending, callback.Query())
	}
	require.ErrorIs(t, stepUp(), client.ErrAuthentication)
	require.Empty(t, s.Revocations())
	require.NoError(t, alice.Logout(t.Context()))
	before := len(s.Revocations())
	require.ErrorIs(t, stepUp(), client.ErrAuthentication)
	require.Greater(t, len(s.Revocations()), before, "with nothing stored, what nobody will use is taken back")
}

// climb is a session that has logged in for openid and read, and a person who can be asked for more.
type climb struct {
	*clienttest.Server
	t     *testing.T
	store tokenstore.Store
	heard heard
	api   *clienttest.API
	alice *client.Session
	hc    *http.Client

	mu    sync.Mutex
	needs []client.StepUp                                             // what the person was asked for; guarded by mu
	agree func(context.Context, *client.Session, client.StepUp) error // nil: the person logs in
}

func climbing(t *testing.T, f func(t *testing.T, c *climb)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &climb{Server: clienttest.New(t), t: t, store: tokenstore.NewMemory()}
		c.api = c.NewAPI("api.test")
		c.alice = c.open(true)
		c.hc = c.alice.Wrap(c.HTTPClient(""))
		require.NoError(t, c.login(t.Context(), c.alice, client.StepUp{}))
		f(t, c)
	})
}

// open makes another process, and gives its alice.
func (c *climb) open(steps bool) *client.Session {
	config := web(c.store)
	config.OnEvent = c.heard.hear
	if steps {
		config.StepUp = c.stepUp
	}
	return c.NewClient(config).Session("alice")
}

func (c *climb) stepUp(ctx context.Context, s *client.Session, need client.StepUp) error {
	c.mu.Lock()
	c.needs = append(c.needs, need)
	agree := c.agree
	c.mu.Unlock()
	if agree == nil {
		agree = c.login
	}
	return agree(ctx, s, need)
}

// login has the person log in for need.
func (c *climb) login(ctx context.Context, s *client.Session, need client.StepUp) error {
	pending, err := s.Start(ctx, client.AuthCode{Scopes: need.Scopes, Params: need.Params})
	if err != nil {
		return err
	}
	back, err := c.Browse(ctx, pending.URL)
	if err != nil {
		return err
	}
	return s.Finish(ctx, pending, back.Query())
}

// says has the API answer good tokens with a status and a challenge, until the person was asked.
func (c *climb) says(status int, challenge string) {
	c.Change(func() {
		c.api.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if len(c.asked()) == 0 {
				w.Header().Set("WWW-Authenticate", challenge)
				w.WriteHeader(status)
			}
		})
	})
}

func (c *climb) wants(scope string) { c.Change(func() { c.api.Scope = scope }) }

// asked are the scopes that the person was asked for.
func (c *climb) asked() (all []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, need := range c.needs {
		all = append(all, strings.Join(need.Scopes, " "))
	}
	return all
}

func (c *climb) get() int { return get(c.t, c.hc, c.api.URL) }

// Shows MCP25-ERR-1, MCP26-SCOPE-2, R6750-3.1-2. Too few scopes lead to a login for the old and the new ones, and the request
// is sent once more with what that brings.
func TestStepUp(t *testing.T) {
	climbing(t, func(t *testing.T, c *climb) {
		c.wants("write")
		resp, err := c.hc.Post(c.api.URL, "text/plain", strings.NewReader("content"))
		require.NoError(t, err)
		defer resp.Body.Close()
		var got struct{ Scope, Body string }
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&got))
		require.Equal(t, "content", got.Body)
		require.Equal(t, "openid read write", got.Scope)
		require.Equal(t, []string{"openid read write"}, c.asked())
		require.Equal(t, "insufficient_scope", c.needs[0].Challenge.Code())
		require.Empty(t, c.needs[0].Params)
		status, err := c.alice.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, []string{"openid", "read", "write"}, status.Scopes)

		c.wants("delete")
		require.Equal(t, http.StatusOK, c.get())
		require.Equal(t, "openid read write delete", c.asked()[1], "what was granted in between is not lost")
		require.Contains(t, kinds(c.heard.take()), "step-up")
		require.Empty(t, c.Reuses())
		require.Empty(t, c.Renewals(), "nothing but the login was asked of the server")
	})
}

// Shows R9470-4-1. What a resource says of the authentication goes into the next login.
func TestStepUpForABetterLogin(t *testing.T) {
	for name, row := range map[string]struct {
		challenge string
		want      url.Values
	}{
		"RFC 9470": {
			`Bearer error="insufficient_user_authentication", acr_values="gold silver", max_age="0", scope="pay"`,
			url.Values{"acr_values": {"gold silver"}, "max_age": {"0"}},
		},
		"Entra ID": {
			`Bearer realm="", authorization_uri="https://as.test", error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="`,
			url.Values{"claims": {`{"access_token":{}}`}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			climbing(t, func(t *testing.T, c *climb) {
				c.Change(func() { c.Policy.Claims = map[string]any{"acr": "silver", "auth_time": time.Now().Unix()} })
				c.says(http.StatusUnauthorized, row.challenge)
				require.Equal(t, http.StatusOK, c.get())
				require.Equal(t, row.want, c.needs[0].Params)
			})
		})
	}
}

// A person who cannot keeps the grant, and the caller gets what the resource said.
func TestStepUpThatIsNotMet(t *testing.T) {
	climbing(t, func(t *testing.T, c *climb) {
		before := token(t, c.alice)
		c.says(http.StatusUnauthorized, `Bearer error="insufficient_user_authentication", acr_values="gold"`)
		c.agree = func(ctx context.Context, s *client.Session, need client.StepUp) error {
			err := c.login(ctx, s, need)
			require.ErrorIs(t, err, client.ErrAuthentication)
			return err
		}
		require.Equal(t, http.StatusUnauthorized, c.get())
		require.Equal(t, before, token(t, c.alice))
		require.Empty(t, c.Revocations())
		events := c.heard.take()
		last := events[len(events)-1]
		require.Equal(t, "step-up", last.Kind)
		require.ErrorIs(t, last.Err, client.ErrAuthentication)
	})
}

// Somebody else who comes to the login does not get the place of the person whose grant it is.
func TestStepUpOfAnotherSubject(t *testing.T) {
	climbing(t, func(t *testing.T, c *climb) {
		before := token(t, c.alice)
		c.wants("write")
		c.Change(func() { c.Policy.Subject = "mallory" })
		require.Equal(t, http.StatusForbidden, c.get())
		events := c.heard.take()
		require.ErrorIs(t, events[len(events)-1].Err, client.ErrOtherSubject)
		require.Equal(t, before, token(t, c.alice))
	})
}

// Without a hook, an answer is the caller's. Shows R6750-3.1-2.
func TestNoStepUp(t *testing.T) {
	const said = `{"error":{"code":403,"status":"PERMISSION_DENIED"}}`
	climbing(t, func(t *testing.T, c *climb) {
		c.Change(func() {
			c.api.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="https://www.googleapis.com/auth/drive"`)
				w.WriteHeader(http.StatusForbidden)
				_, _ = io.WriteString(w, said)
			})
		})
		resp, err := c.open(false).Wrap(c.HTTPClient("")).Get(c.api.URL)
		require.NoError(t, err)
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, said, string(got))
		require.Equal(t, 1, c.api.Accepted(), "it was sent once")
	})
}

// TestStepUpOnceForAll_I12 has hundreds of requests need the same.
func TestStepUpOnceForAll_I12(t *testing.T) {
	for name, refusal := range map[string]error{"the person agrees": nil, "the person refuses": errors.New("no")} {
		t.Run(name, func(t *testing.T) {
			climbing(t, func(t *testing.T, c *climb) {
				c.wants("write")
				c.heard.take()
				c.agree = func(ctx context.Context, s *client.Session, need client.StepUp) error {
					time.Sleep(3 * time.Minute)
					if refusal != nil {
						return refusal
					}
					return c.login(ctx, s, need)
				}
				var group sync.WaitGroup
				statuses := make(chan int, 200)
				for range cap(statuses) {
					group.Go(func() { statuses <- c.get() })
				}
				group.Wait()
				close(statuses)
				want := http.StatusOK
				if refusal != nil {
					want = http.StatusForbidden
				}
				for got := range statuses {
					require.Equal(t, want, got)
				}
				require.Len(t, c.asked(), 1)
				events := c.heard.take()
				last := events[slices.IndexFunc(events, func(e client.Event) bool { return e.Kind == "step-up" })]
				require.Equal(t, 3*time.Minute, last.Duration)
				if refusal != nil {
					e, ok := errors.AsType[*client.Error](last.Err)
					require.True(t, ok)
					require.Equal(t, "step up", e.Op)
				}
				require.ErrorIs(t, last.Err, refusal)
			})
		})
	}
}

// TestWaitingForAStepUpEndsWithTheContext_I4: one who leaves neither waits nor takes the others along.
func TestWaitingForAStepUpEndsWithTheContext_I4(t *testing.T) {
	climbing(t, func(t *testing.T, c *climb) {
		c.wants("write")
		type key struct{}
		c.agree = func(ctx context.Context, s *client.Session, need client.StepUp) error {
			require.Equal(t, "value", ctx.Value(key{}), "the values of the request's context are kept, for traces")
			time.Sleep(time.Minute)
			require.NoError(t, ctx.Err())
			return c.login(ctx, s, need)
		}
		ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), key{}, "value"), time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.api.URL, nil)
		require.NoError(t, err)
		first := make(chan error)
		begun := time.Now()
		go func() { first <- second(c.hc.Do(req)) }()
		synctest.Wait()
		other := make(chan int)
		go func() { other <- c.get() }()
		require.ErrorIs(t, <-first, context.DeadlineExceeded)
		require.Less(t, time.Since(begun), time.Second+time.Millisecond)
		require.Equal(t, http.StatusOK, <-other)
		require.Len(t, c.asked(), 1)
	})
}

// Shows MCP25-ERR-2. A step-up that does not help comes to an end: once for a request, once within a pause, and that grows.
func TestStepUpsComeToAnEnd(t *testing.T) {
	always := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="read"`)
		w.WriteHeader(http.StatusForbidden)
	})
	for name, refusal := range map[string]error{"succeeds in vain": nil, "fails": errors.New("no")} {
		t.Run(name, func(t *testing.T) {
			climbing(t, func(t *testing.T, c *climb) {
				c.Change(func() { c.api.Handler = always })
				if refusal != nil {
					c.agree = func(context.Context, *client.Session, client.StepUp) error { return refusal }
				}
				sends := c.api.Accepted()
				require.Equal(t, http.StatusForbidden, c.get())
				require.Len(t, c.asked(), 1)
				require.LessOrEqual(t, c.api.Accepted()-sends, 2)
				begun, times := time.Now(), []time.Duration{}
				for time.Since(begun) < 5*time.Hour {
					time.Sleep(30 * time.Second)
					before := len(c.asked())
					require.Equal(t, http.StatusForbidden, c.get())
					if len(c.asked()) > before {
						times = append(times, time.Since(begun).Truncate(time.Minute))
					}
				}
				minutes := func(n ...time.Duration) (all []time.Duration) {
					for _, m := range n {
						all = append(all, m*time.Minute)
					}
					return all
				}
				require.Equal(t, minutes(1, 3, 7, 15, 31, 63, 123), times[:7])
				require.LessOrEqual(t, len(times), 7+3)
			})
		})
	}
}

// One that helps for a while is made again when its time is over.
func TestStepUpsForAMaxAge(t *testing.T) {
	climbing(t, func(t *testing.T, c *climb) {
		fresh := time.Now().Add(-time.Hour)
		c.Change(func() {
			c.api.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if time.Since(fresh) >= 5*time.Minute {
					w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_user_authentication", max_age=300`)
					w.WriteHeader(http.StatusUnauthorized)
				}
			})
		})
		c.agree = func(ctx context.Context, s *client.Session, need client.StepUp) error {
			fresh = time.Now()
			c.Change(func() { c.Policy.Claims = map[string]any{"auth_time": fresh.Unix()} })
			return c.login(ctx, s, need)
		}
		for range 60 {
			require.Equal(t, http.StatusOK, c.get())
			time.Sleep(time.Minute)
		}
		require.Len(t, c.asked(), 12)
	})
}

// A server that thinks of something new for every request does not trouble a person for every request.
func TestStepUpsForAServerThatNeverHasEnough(t *testing.T) {
	climbing(t, func(t *testing.T, c *climb) {
		n := 0
		c.Change(func() {
			c.api.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				n++
				w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer error="insufficient_scope", scope="s%d"`, n))
				w.WriteHeader(http.StatusForbidden)
			})
		})
		c.agree = func(context.Context, *client.Session, client.StepUp) error { return nil }
		for range 300 {
			c.get()
			time.Sleep(time.Second)
		}
		require.LessOrEqual(t, len(c.asked()), 5*8+8, "eight a minute")
	})
}

// Needs that differ wait for each other, so that none takes away what another has just brought.
func TestStepUpsThatDiffer(t *testing.T) {
	climbing(t, func(t *testing.T, c *climb) {
		files := c.NewAPI("files.test")
		c.wants("write")
		c.Change(func() { files.Scope = "files" })
		busy := 0
		c.agree = func(ctx context.Context, s *client.Session, need client.StepUp) error {
			busy++
			defer func() { busy-- }()
			require.Equal(t, 1, busy)
			time.Sleep(time.Minute)
			return c.login(ctx, s, need)
		}
		var group sync.WaitGroup
		for range 10 {
			group.Go(func() { require.Equal(t, http.StatusOK, c.get()) })
			group.Go(func() { require.Equal(t, http.StatusOK, get(t, c.hc, files.URL)) })
		}
		group.Wait()
		require.Len(t, c.asked(), 2)
		got := strings.Fields(c.asked()[1])
		slices.Sort(got)
		require.Equal(t, []string{"files", "openid", "read", "write"}, got)
	})
}

// Nobody is asked for what somebody has granted meanwhile, in this process or in another one.
func TestStepUpThatWasMadeElsewhere(t *testing.T) {
	for name, row := range map[string]struct {
		by  func(c *climb) *client.Session
		do  func(c *climb, s *client.Session) error
		get int
	}{
		"in another process": {
			by: func(c *climb) *client.Session { return c.open(false) },
			do: func(c *climb, s *client.Session) error {
				return c.login(c.t.Context(), s, client.StepUp{Scopes: []string{"write"}})
			},
			get: http.StatusOK,
		},
		"in this one": {
			by: func(c *climb) *client.Session { return c.alice },
			do: func(c *climb, s *client.Session) error {
				return c.login(c.t.Context(), s, client.StepUp{Scopes: []string{"write"}})
			},
			get: http.StatusOK,
		},
		"a logout": {
			by:  func(c *climb) *client.Session { return c.open(false) },
			do:  func(c *climb, s *client.Session) error { return s.Logout(c.t.Context()) },
			get: http.StatusForbidden,
		},
	} {
		t.Run(name, func(t *testing.T) {
			climbing(t, func(t *testing.T, c *climb) {
				arrived, answer := make(chan bool), make(chan bool)
				refused := 0
				c.Change(func() {
					c.Policy.RevokeAlone = true
					c.api.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
						if refused++; refused == 1 {
							close(arrived)
							<-answer
							w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_scope", scope="write"`)
							w.WriteHeader(http.StatusForbidden)
						}
					})
				})
				status := make(chan int)
				go func() { status <- c.get() }()
				<-arrived
				require.NoError(t, row.do(c, row.by(c)))
				close(answer)
				require.Equal(t, row.get, <-status)
				require.Empty(t, c.asked())
			})
		})
	}
}

// Who has refused here, and has agreed in another process, is not kept waiting for the pause.
func TestStepUpThatWasMadeElsewhereAfterARefusal(t *testing.T) {
	climbing(t, func(t *testing.T, c *climb) {
		c.wants("write")
		c.agree = func(context.Context, *client.Session, client.StepUp) error { return errors.New("no") }
		require.Equal(t, http.StatusForbidden, c.get())
		require.NoError(t, c.login(t.Context(), c.open(false), client.StepUp{Scopes: []string{"write"}}))
		require.Equal(t, http.StatusOK, c.get())
		require.Len(t, c.asked(), 1)
	})
}

// A login in this process is a new start.
func TestStepUpAfterALogin(t *testing.T) {
	climbing(t, func(t *testing.T, c *climb) {
		c.wants("write")
		c.agree = func(context.Context, *client.Session, client.StepUp) error { return errors.New("no") }
		require.Equal(t, http.StatusForbidden, c.get())
		require.Equal(t, http.StatusForbidden, c.get())
		require.Len(t, c.asked(), 1)
		require.NoError(t, c.login(t.Context(), c.alice, client.StepUp{}))
		c.agree = nil
		require.Equal(t, http.StatusOK, c.get())
		require.Len(t, c.asked(), 2)
	})
}

// A program may ask by itself, with a challenge that came in another way.
func TestStepUpByTheProgram(t *testing.T) {
	climbing(t, func(t *testing.T, c *climb) {
		wanted := transport.Challenge{Scheme: "Bearer", Params: map[string]string{"error": "insufficient_scope", "scope": "write"}}
		old, err := c.alice.Token(t.Context())
		require.NoError(t, err)
		fresh, err := c.alice.StepUp(t.Context(), old, wanted)
		require.NoError(t, err)
		require.Equal(t, "openid read write", fresh.Extra("scope"))
		late, err := c.alice.StepUp(t.Context(), old, wanted)
		require.NoError(t, err)
		require.Same(t, fresh, late, "it was brought already")
		again, err := c.alice.StepUp(t.Context(), fresh, wanted)
		require.NoError(t, err)
		require.Nil(t, again)
		none, err := c.alice.StepUp(t.Context(), nil, wanted)
		require.NoError(t, err)
		require.Same(t, fresh, none)
		require.Len(t, c.asked(), 1)
	})
}

// That the scopes are there does not make a login better: who wants both is asked for.
func TestStepUpForScopesThatAreGrantedAndABetterLogin(t *testing.T) {
	climbing(t, func(t *testing.T, c *climb) {
		c.Change(func() { c.Policy.Claims = map[string]any{"acr": "gold", "auth_time": time.Now().Unix()} })
		old, err := c.alice.Token(t.Context())
		require.NoError(t, err)
		_, err = c.alice.Renew(t.Context(), old)
		require.NoError(t, err)
		for asked, params := range []map[string]string{
			{"error": "insufficient_scope", "scope": "read"},
			{"error": "insufficient_user_authentication", "scope": "read", "acr_values": "gold"},
		} {
			fresh, err := c.alice.StepUp(t.Context(), old, transport.Challenge{Scheme: "Bearer", Params: params})
			require.NoError(t, err)
			require.NotEqual(t, old.AccessToken, fresh.AccessToken)
			require.Len(t, c.asked(), asked)
		}
	})
}

// A hook may use the session itself, and one that was narrowed wants no more.
func TestStepUpsThatAreNotMade(t *testing.T) {
	climbing(t, func(t *testing.T, c *climb) {
		c.wants("write")
		require.Equal(t, http.StatusForbidden, get(t, c.alice.Scoped("read").Wrap(c.HTTPClient("")), c.api.URL))
		require.Empty(t, c.asked())
		c.says(http.StatusUnauthorized, `Bearer error="insufficient_claims", claims="not claims"`)
		c.wants("")
		require.Equal(t, http.StatusUnauthorized, c.get())
		require.Empty(t, c.asked())

		c.Change(func() { c.api.Handler = nil })
		c.wants("write")
		c.agree = func(ctx context.Context, s *client.Session, need client.StepUp) error {
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.api.URL, nil)
			require.NoError(t, err)
			resp, err := c.hc.Do(req)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, http.StatusForbidden, resp.StatusCode, "which would have waited for itself")
			return c.login(ctx, s, need)
		}
		require.Equal(t, http.StatusOK, c.get())
	})
}

// A hook that hangs has its time, and less when the Client is closed.
func TestStepUpThatHangs(t *testing.T) {
	hang := func(ctx context.Context, _ *client.Session, _ client.StepUp) error {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	t.Run("for long", func(t *testing.T) {
		climbing(t, func(t *testing.T, c *climb) {
			c.wants("write")
			c.agree = hang
			begun := time.Now()
			require.Equal(t, http.StatusForbidden, c.get())
			require.Equal(t, 10*time.Minute, time.Since(begun).Truncate(time.Second))
		})
	})
	t.Run("until the Client is closed", func(t *testing.T) {
		climbing(t, func(t *testing.T, c *climb) {
			config := web(c.store)
			config.StepUp = hang
			config.ClientID, config.ClientSecret, config.Issuer = c.Config().ClientID, c.Config().ClientSecret, c.Issuer
			config.AuthServerClient = c.HTTPClient("")
			other, err := client.New(config)
			require.NoError(t, err)
			c.wants("write")
			status := make(chan int)
			go func() { status <- get(t, other.Session("alice").Wrap(c.HTTPClient("")), c.api.URL) }()
			time.Sleep(time.Second)
			begun := time.Now()
			require.NoError(t, other.Close(t.Context()))
			require.Equal(t, http.StatusForbidden, <-status)
			require.Zero(t, time.Since(begun))
		})
	})
}

// A hook that does not return, but ends its goroutine, has failed.
func TestStepUpThatEndsItsGoroutine(t *testing.T) {
	climbing(t, func(t *testing.T, c *climb) {
		c.wants("write")
		c.agree = func(context.Context, *client.Session, client.StepUp) error {
			runtime.Goexit()
			return nil
		}
		require.Equal(t, http.StatusForbidden, c.get())
		c.agree = nil
		require.Equal(t, http.StatusOK, c.get(), "and another may be called")
	})
}

// A web backend has the person log in by another request, in whichever process.
func TestStepUpByAnotherRequest(t *testing.T) {
	climbing(t, func(t *testing.T, c *climb) {
		c.wants("write")
		wanted, done := make(chan client.StepUp), make(chan error)
		c.agree = func(ctx context.Context, s *client.Session, need client.StepUp) error {
			wanted <- need
			return <-done
		}
		status := make(chan int)
		go func() { status <- c.get() }()
		need := <-wanted
		err := c.login(t.Context(), c.open(false), need)
		require.NoError(t, err)
		done <- err
		require.Equal(t, http.StatusOK, <-status)
	})
}

// A step-up at one resource (RFC 8707) is a login for it.
func TestStepUpForAResource(t *testing.T) {
	climbing(t, func(t *testing.T, c *climb) {
		c.wants("write")
		there := c.alice.Resource(c.api.URL)
		require.Equal(t, http.StatusOK, get(t, there.Wrap(c.HTTPClient("")), c.api.URL))
		require.Equal(t, []string{"openid read write"}, c.asked())
	})
}

// A step-up of a bound session brings a token that is bound to the key of the new login.
func TestStepUpWithProofs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &climb{Server: clienttest.New(t), t: t, store: tokenstore.NewMemory()}
		c.Policy.DPoP, c.Policy.Nonce = true, "nonce-1"
		c.api = c.NewAPI("api.test")
		c.api.Nonce = "nonce-2"
		config := web(c.store)
		config.StepUp, config.DPoP = c.stepUp, &client.DPoP{}
		c.alice = c.NewClient(config).Session("alice")
		c.hc = c.alice.Wrap(c.HTTPClient(""))
		require.NoError(t, c.login(t.Context(), c.alice, client.StepUp{}))
		require.Equal(t, http.StatusOK, c.get())
		c.wants("write")
		require.Equal(t, http.StatusOK, c.get())
		require.Len(t, c.asked(), 1)
	})
}

func TestStepUpAndAGrant(t *testing.T) {
	config := good()
	config.ClientSecret, config.Grant = "secret", client.ClientCredentials{}
	config.StepUp = func(context.Context, *client.Session, client.StepUp) error { return nil }
	_, err := client.New(config)
	requireConfigError(t, err, "Config.StepUp")
}

// Flows ask for scopes beside those of the Config, which count as granted where the server says nothing else.
func TestScopesOfFlows(t *testing.T) {
	t.Run("in a browser", func(t *testing.T) {
		d := newOffice()
		s := d.web(t, nil)
		p, err := s.Start(t.Context(), client.AuthCode{Scopes: []string{"pay", "a"}})
		require.NoError(t, err)
		address, err := url.Parse(p.URL)
		require.NoError(t, err)
		require.Equal(t, "b a pay", address.Query().Get("scope"))
		text, err := p.MarshalText()
		require.NoError(t, err)
		var elsewhere client.Pending
		require.NoError(t, elsewhere.UnmarshalText(text))
		require.NoError(t, s.Finish(t.Context(), &elsewhere, back(address.Query())))
		status, err := s.Status(t.Context())
		require.NoError(t, err)
		require.ElementsMatch(t, []string{"a", "b", "pay"}, status.Scopes)
	})
	t.Run("openid among them", func(t *testing.T) {
		p, err := newOffice().web(t, nil).Start(t.Context(), client.AuthCode{Scopes: []string{"openid", "offline_access"}})
		require.NoError(t, err)
		require.Contains(t, p.URL, "nonce=")
		require.Contains(t, p.URL, "prompt=consent")
	})
	t.Run("on a device", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := clienttest.New(t)
			alice := s.NewClient(web(nil)).Session("alice")
			require.NoError(t, alice.Login(t.Context(), client.Device{Scopes: []string{"write"}, Prompt: func(_ context.Context, v client.Verification) error {
				return s.Approve(v.UserCode)
			}}))
			status, err := alice.Status(t.Context())
			require.NoError(t, err)
			require.Equal(t, []string{"openid", "read", "write"}, status.Scopes)
		})
	})
	t.Run("that cannot be", func(t *testing.T) {
		d := newOffice()
		s := d.web(t, nil)
		_, err := s.Start(t.Context(), client.AuthCode{Scopes: []string{"a b"}})
		requireConfigError(t, err, "AuthCode.Scopes")
		requireConfigError(t, s.Login(t.Context(), client.Device{Scopes: []string{""}, Prompt: shown}), "Device.Scopes")
		require.Empty(t, d.letters())
	})
}

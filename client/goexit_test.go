package client_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/machine"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/transport"
)

// quitting is a store and a way to the server whose calls end their goroutine, as t.FailNow does.
type quitting struct {
	*faulty
	wire http.RoundTripper
	at   string // the call that does
}

func (q *quitting) leave(call string) {
	if q.at == call {
		runtime.Goexit()
	}
}

func (q *quitting) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	q.leave("load")
	return q.faulty.Load(ctx, key)
}

func (q *quitting) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	q.leave("swap")
	return q.faulty.Swap(ctx, key, old, value)
}

func (q *quitting) RoundTrip(req *http.Request) (*http.Response, error) {
	q.leave("request")
	return q.wire.RoundTrip(req)
}

// TestARenewalWhoseGoroutineEnds fails for all who wait, and the next one is as good as any.
func TestARenewalWhoseGoroutineEnds(t *testing.T) {
	for _, call := range []string{"load", "swap", "request", "callback"} {
		t.Run(call, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStrict()
				q := &quitting{faulty: newFaulty(), wire: s}
				config := s.config(q)
				config.AuthServerClient = &http.Client{Transport: q}
				if call == "callback" {
					config.Grant = client.TokenExchange{SubjectType: "access_token", Subject: func(string) transport.Source {
						return client.TokenFunc(func(context.Context) (*oauth2.Token, error) {
							q.leave("callback")
							return s.grant(), nil
						})
					}}
					config.ClientSecret = "secret"
				}
				c := open(t, config)
				alice := c.Session("alice")
				if call != "callback" {
					require.NoError(t, alice.Adopt(t.Context(), s.grant()))
					time.Sleep(2 * time.Hour)
				}
				q.at = call
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				errs := make(chan error)
				for range 2 {
					go func() { _, err := alice.Token(ctx); errs <- err }()
				}
				for range 2 {
					err := <-errs
					require.Error(t, err)
					require.NoError(t, ctx.Err())
					require.NotErrorIs(t, err, client.ErrLoginRequired)
				}
				q.at = ""
				if call != "callback" {
					token(t, alice)
				}
				require.NoError(t, c.Close(t.Context()))
			})
		})
	}
}

// TestOnEventThatEndsItsGoroutine is told of what happens next all the same.
func TestOnEventThatEndsItsGoroutine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, told := newStrict(), 0
		config := s.config(newFaulty())
		config.OnEvent = func(client.Event) {
			told++
			runtime.Goexit()
		}
		c := open(t, config)
		require.NoError(t, c.Session("alice").Adopt(t.Context(), s.grant()))
		require.NoError(t, c.Session("bob").Adopt(t.Context(), s.grant()))
		require.NoError(t, c.Close(t.Context()))
		require.Equal(t, 2, told)
	})
}

// panicking is a store, and the clocks, that panic in a renewal.
type panicking struct {
	*faulty
	machine.Real
	at string
}

func (p *panicking) Machine() machine.Machine { return p }

func (p *panicking) Now() machine.Reading {
	if p.at == "under a lock" {
		panic("as it should")
	}
	return p.Real.Now()
}

func (p *panicking) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	if p.at == "load" {
		panic("as it should")
	}
	return p.faulty.Load(ctx, key)
}

func (p *panicking) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	switch p.at {
	case "keeping what cannot be saved":
		p.at = "saving" // after the lease
	case "saving":
		p.at = "under a lock" // the next that asks for the time keeps the tokens
		return "", errDisk
	}
	return p.faulty.Swap(ctx, key, old, value)
}

// TestAPanicInARenewalEndsTheProgram, whatever is locked.
func TestAPanicInARenewalEndsTheProgram(t *testing.T) {
	const child = "EVERGRANT_TEST_PANIC"
	if at := os.Getenv(child); at != "" {
		s := newStrict()
		p := &panicking{faulty: newFaulty()}
		c, err := client.New(s.config(p))
		require.NoError(t, err)
		alice := c.Session("alice")
		require.NoError(t, alice.Adopt(t.Context(), s.grant()))
		p.at = at
		_, err = alice.Renew(t.Context(), nil)
		t.Log("it has gone on: ", err)
		return
	}
	for _, at := range []string{"load", "keeping what cannot be saved"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestAPanicInARenewalEndsTheProgram$", "-test.v")
		cmd.Env = append(os.Environ(), child+"="+at)
		out, err := cmd.CombinedOutput()
		require.NoError(t, ctx.Err(), "it hangs")
		require.Error(t, err)
		require.Contains(t, string(out), "panic: as it should", "the program goes on")
		require.NotContains(t, string(out), "recovered")
	}
}

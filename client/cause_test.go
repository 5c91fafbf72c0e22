package client_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/internal/machine"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

// requireCause fails unless err says that a login is required, for that cause, and says it in Status too.
func requireCause(t *testing.T, cause, code string, err error) {
	t.Helper()
	require.ErrorIs(t, err, client.ErrLoginRequired)
	e, ok := errors.AsType[*client.Error](err)
	require.True(t, ok)
	require.Equal(t, cause, e.Cause)
	require.Equal(t, code, e.Code)
	require.Equal(t, "alice", e.Session)
	require.Equal(t, "https://as.test/token", e.Issuer)
}

// named is a process on a machine of that name.
type named struct {
	*localView
	name string
}

func (n *named) Name() string             { return n.name }
func (n *named) Machine() machine.Machine { return n }

func TestCausesOfALogin(t *testing.T) {
	for _, tt := range []struct {
		name, cause, code string
		happen            func(t *testing.T, w *fleet) (asker *process)
	}{
		{"nobody has logged in", "absent", "", func(t *testing.T, w *fleet) *process {
			p := w.process("p")
			require.NoError(t, p.alice().Logout(t.Context()))
			return p
		}},
		{"there is no refresh token", "ended", "", func(t *testing.T, w *fleet) *process {
			p := w.process("p")
			require.NoError(t, p.alice().Adopt(t.Context(), &oauth2.Token{AccessToken: "a", Expiry: time.Now().Add(time.Second)}))
			time.Sleep(time.Hour)
			return p
		}},
		{"the server has revoked it", "revoked", "invalid_grant", func(_ *testing.T, w *fleet) *process {
			w.as.KillAll()
			return w.process("p")
		}},
		{"the refresh token has expired", "expired", "invalid_grant", func(t *testing.T, w *fleet) *process {
			w.as.Change(func() { w.as.Policy.Answer = map[string]any{"refresh_expires_in": 7200} })
			p := w.process("p")
			_, err := p.alice().Token(t.Context())
			require.NoError(t, err)
			time.Sleep(3 * time.Hour)
			w.as.KillAll()
			return p
		}},
		{"so has one that came with a resource's token", "expired", "invalid_grant", func(t *testing.T, w *fleet) *process {
			w.as.Change(func() { w.as.Policy.Answer = map[string]any{"refresh_token_expires_in": 7200} })
			_, err := w.process("p").alice().Resource("https://mail.test").Token(t.Context())
			require.NoError(t, err)
			time.Sleep(3 * time.Hour)
			w.as.KillAll()
			return w.process("p")
		}},
		{"an answer was lost", "lost answer", "invalid_grant", func(_ *testing.T, w *fleet) *process {
			w.as.Fail("/token", clienttest.Fault{LoseAnswer: true})
			return w.process("p")
		}},
		{"an answer died with its process", "lost answer", "invalid_grant", func(_ *testing.T, w *fleet) *process {
			w.as.Fail("/token", clienttest.Fault{WaitAnswer: time.Second})
			p := w.process("killed")
			p.asks()
			p.stop()
			time.Sleep(time.Minute)
			return w.process("p")
		}},
		{"the tokens were copied", "copied", "invalid_grant", func(t *testing.T, w *fleet) *process {
			on := func(machine string) *process {
				return w.start(machine, func(v *view) tokenstore.Store { return &named{&localView{v, w}, machine} })
			}
			_, err := on("laptop").alice().Token(t.Context())
			require.NoError(t, err)
			time.Sleep(2 * time.Hour)
			w.as.KillAll() // as the other copy's renewals have it
			return on("desktop")
		}},
		{"the machine has no name that lasts", "revoked", "invalid_grant", func(t *testing.T, w *fleet) *process {
			on := func(machine string) *process {
				return w.start("on "+machine, func(v *view) tokenstore.Store { return &named{&localView{v, w}, machine} })
			}
			_, err := on("laptop").alice().Token(t.Context())
			require.NoError(t, err)
			time.Sleep(2 * time.Hour)
			w.as.KillAll()
			return on("")
		}},
		{"an adopted refresh token has expired", "expired", "invalid_grant", func(t *testing.T, w *fleet) *process {
			p := w.process("p")
			said := (&oauth2.Token{AccessToken: "a", RefreshToken: "r", Expiry: time.Now().Add(time.Hour)}).
				WithExtra(map[string]any{"refresh_expires_in": 7200.0})
			require.NoError(t, p.alice().Adopt(t.Context(), said))
			time.Sleep(3 * time.Hour)
			return p
		}},
		{"nobody knows since when an adopted refresh token lives", "revoked", "invalid_grant", func(t *testing.T, w *fleet) *process {
			p := w.process("p")
			said := (&oauth2.Token{RefreshToken: "r"}).WithExtra(map[string]any{"refresh_expires_in": 7200.0})
			require.NoError(t, p.alice().Adopt(t.Context(), said))
			return p
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			simulate(t, func(t *testing.T, w *fleet) {
				p := tt.happen(t, w)
				_, err := p.alice().Token(t.Context())
				requireCause(t, tt.cause, tt.code, err)
				_, again := w.process("another").alice().Token(t.Context())
				requireCause(t, tt.cause, tt.code, again)
			})
		})
	}
}

// A refusal that was noted before causes were is one all the same.
func TestCauseOfAMarkWithoutOne(t *testing.T) {
	simulate(t, func(t *testing.T, w *fleet) {
		marked := w.stored()
		marked.Mark = &record.Mark{Verdict: record.Dead, Code: "invalid_grant", At: time.Now()}
		data, err := marked.Encode()
		require.NoError(t, err)
		key := tokenstore.Key("https://as.test/token", "app", "alice")
		_, version, err := w.Load(t.Context(), key)
		require.NoError(t, err)
		_, err = w.Swap(t.Context(), key, version, data)
		require.NoError(t, err)
		_, err = w.process("p").alice().Token(t.Context())
		requireCause(t, "revoked", "invalid_grant", err)
	})
}

package client_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/tokenstore"
)

// leaving runs f in a bubble with a session that has a refresh token and two access tokens, of which one has ended, and
// a server that answers revocations as revoke says.
func leaving(t *testing.T, revoke func(n int, form url.Values) (int, string), f func(t *testing.T, d *desk, s *client.Session)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d, n := newDesk(), 0
		d.answer = func(_ int, form url.Values) (int, string) {
			if form.Has("grant_type") {
				return 0, ""
			}
			n++
			return revoke(n, form)
		}
		s := d.session(t, nil)
		_, err := s.Resource("https://files.test").Token(t.Context())
		require.NoError(t, err)
		time.Sleep(2 * time.Hour)
		token(t, s)
		f(t, d, s)
	})
}

// revocations are the tokens that were sent to be revoked, with their hints.
func (d *desk) revocations() []string {
	var all []string
	for _, l := range d.letters() {
		if l.url.Path == "/revoke" {
			all = append(all, l.form.Get("token_type_hint")+" "+l.form.Get("token"))
		}
	}
	return all
}

func yes(int, url.Values) (int, string) { return http.StatusOK, "<html>whatever</html>" }

// Shows R7009-2-1, R7009-2.1-1, R7009-2.1-3, R7009-2.1-4, R7009-2.2-2, R7009-2.3-1.
func TestLogoutRevokesTheRefreshTokenAndThenTheAccessToken(t *testing.T) {
	leaving(t, yes, func(t *testing.T, d *desk, s *client.Session) {
		require.NoError(t, s.Logout(t.Context()))
		require.Equal(t, []string{"refresh_token RT", "access_token AT2"}, d.revocations(), "AT1 has ended")
		for _, l := range d.letters() {
			require.Empty(t, l.url.RawQuery)
		}
		sent := len(d.letters())
		_, err := s.Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired)
		_, err = s.Resource("https://files.test").Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired)
		require.Len(t, d.letters(), sent)
	})
}

// TestLogoutRevokesWhatAnotherProcessHasRenewedMeanwhile: the refresh token that was read has been spent by then.
func TestLogoutRevokesWhatAnotherProcessHasRenewedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, store := newDesk(), newFaulty()
		d.answer = func(n int, form url.Values) (int, string) {
			if !form.Has("grant_type") {
				return yes(n, form)
			}
			return 200, fmt.Sprintf(`{"access_token":"AT%d","token_type":"Bearer","expires_in":3600,"refresh_token":"RT%d"}`, n, n)
		}
		over := func(c *client.Config) { c.Store = store }
		s, other := d.session(t, over), open(t, d.config(over)).Session("alice")
		store.set(func(_ int, apply func() (tokenstore.Version, error)) (tokenstore.Version, error) {
			store.set(nil)
			_, err := other.Renew(t.Context(), nil)
			require.NoError(t, err)
			return apply()
		})
		require.NoError(t, s.Logout(t.Context()))
		require.Contains(t, d.revocations(), "refresh_token RT2")
		_, err := other.Renew(t.Context(), nil)
		require.ErrorIs(t, err, client.ErrLoginRequired)
	})
}

// A server says yes to a token that it does not know any more (RFC 7009 §2.2): it is gone, which is what was wanted.
func TestR7009_2_2_1(t *testing.T) {
	leaving(t, yes, func(t *testing.T, d *desk, s *client.Session) {
		other := open(t, d.config(nil)).Session("alice")
		require.NoError(t, other.Adopt(t.Context(), &oauth2.Token{RefreshToken: "RT", AccessToken: "AT2"}))
		require.NoError(t, s.Logout(t.Context()))
		require.NoError(t, other.Logout(t.Context()))
		require.Len(t, d.revocations(), 4)
	})
}

// Shows R7009-2.2.1-1.
func TestTokensThatCannotBeRevoked(t *testing.T) {
	for name, c := range map[string]struct {
		refused string // hint of the kind that is refused
		want    string // code
	}{
		"the access token": {"access_token", ""},
		"either":           {"", "unsupported_token_type"},
		"the refresh token, so the access token is revoked all the same": {"refresh_token", "unsupported_token_type"},
	} {
		t.Run(name, func(t *testing.T) {
			leaving(t, func(_ int, form url.Values) (int, string) {
				if c.refused == "" || form.Get("token_type_hint") == c.refused {
					return http.StatusBadRequest, `{"error":"unsupported_token_type"}`
				}
				return yes(0, nil)
			}, func(t *testing.T, d *desk, s *client.Session) {
				err := s.Logout(t.Context())
				require.Len(t, d.revocations(), 2)
				if c.want == "" {
					require.NoError(t, err, "it ends by itself")
					return
				}
				e, ok := errors.AsType[*client.Error](err)
				require.True(t, ok, "%v", err)
				require.Equal(t, c.want, e.Code)
				_, err = s.Token(t.Context())
				require.ErrorIs(t, err, client.ErrLoginRequired)
			})
		})
	}
}

// Shows R7009-2.2.1-2.
func TestABusyServerIsAskedToRevokeOnceMore(t *testing.T) {
	for name, c := range map[string]struct {
		busy int // how often
		wait string
		took time.Duration
		want bool // revoked
		sent int
	}{
		"it says when":        {1, "2", 2 * time.Second, true, 3},
		"it does not say":     {1, "", time.Second, true, 3},
		"it is busy for ever": {9, "2", 2 * time.Second, false, 2},
		"it wants too long":   {1, "60", 0, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			leaving(t, func(n int, _ url.Values) (int, string) {
				if n <= c.busy {
					return http.StatusServiceUnavailable, ""
				}
				return yes(0, nil)
			}, func(t *testing.T, d *desk, s *client.Session) {
				d.busyFor = c.wait
				began := time.Now()
				err := s.Logout(t.Context())
				require.Equal(t, c.want, err == nil, "%v", err)
				require.Equal(t, c.took, time.Since(began))
				require.Len(t, d.revocations(), c.sent)
			})
		})
	}
}

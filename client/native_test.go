package client_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
)

// hostOf is where the redirect URL of an authorization request leads.
func hostOf(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	redirect, err := url.Parse(u.Query().Get("redirect_uri"))
	require.NoError(t, err)
	return redirect
}

func isFree(t *testing.T, host string) bool {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", host)
	if err != nil {
		return false
	}
	require.NoError(t, l.Close())
	return true
}

// Shows R8252-8.3-1, R8252-8.3-3, R8252-7.3-1, R6749-4.1.2.1-3, O21-8.5.4-1: however a login ends, its port is closed.
func TestPortIsOpenDuringTheLoginOnly(t *testing.T) {
	for name, end := range map[string]func(cancel context.CancelFunc, redirect *url.URL, state string) error{
		"cancelled": func(cancel context.CancelFunc, _ *url.URL, _ string) error { cancel(); return nil },
		"refused": func(_ context.CancelFunc, redirect *url.URL, state string) error {
			return answerAt(redirect, url.Values{"error": {"access_denied"}, "state": {state}})
		},
		"done": func(_ context.CancelFunc, redirect *url.URL, state string) error {
			return answerAt(redirect, url.Values{"code": {"C"}, "state": {state}})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, newOffice().config(nil)).Session("")
			ctx, cancel := context.WithCancel(limit(t))
			defer cancel()
			var host string
			err := s.Login(ctx, client.Browser{Open: func(address string) error {
				redirect := hostOf(t, address)
				host = redirect.Host
				require.Equal(t, "127.0.0.1", redirect.Hostname(), "a literal, and no name")
				require.NotEqual(t, "0", redirect.Port())
				require.False(t, isFree(t, host))
				u, err := url.Parse(address)
				if err != nil {
					return err
				}
				return end(cancel, redirect, u.Query().Get("state"))
			}})
			require.Equal(t, name == "done", err == nil, "%v", err)
			require.True(t, isFree(t, host))
		})
	}
}

func answerAt(redirect *url.URL, response url.Values) error {
	resp, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).
		Get(redirect.String() + "?" + response.Encode())
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusSeeOther {
		return errors.New(resp.Status)
	}
	return nil
}

package processes_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/internal/e2e/tcpproxy"
)

const (
	cutRequest = tcpproxy.CutRequest
	cutAnswer  = tcpproxy.CutAnswer
)

// What a lost answer costs is the server's rule; what the client owes is one repetition and a clear word.
func TestACutConnection(t *testing.T) {
	for _, tt := range []struct {
		name     string
		cuts     []tcpproxy.Action
		requests int  // that reach the server, once no connection is cut any more
		patience bool // the first renewal fails and the next one decides
		lost     bool
	}{
		{name: "before the request", cuts: []tcpproxy.Action{cutRequest}, requests: 1},
		{name: "before the request and its repetition", cuts: []tcpproxy.Action{cutRequest, cutRequest}, requests: 1, patience: true},
		{name: "after the request", cuts: []tcpproxy.Action{cutAnswer}, requests: 2, lost: true},
		{name: "after the request and its repetition", cuts: []tcpproxy.Action{cutAnswer, cutAnswer}, requests: 3, patience: true, lost: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			proxy := tcpproxy.Start(t)
			p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true, Issuer: proxy.URL()})
			proxy.To(p.Address)
			store, err := crew.InFolder(t).Open()
			require.NoError(t, err)
			site := crew.AtOIDCProvider(p)
			session := site.Session(t, store)
			site.SignIn(t, session)

			for _, cut := range tt.cuts {
				proxy.Next(tcpproxy.Rule{Match: "POST /token ", Do: cut})
			}
			_, err = session.Renew(t.Context(), nil)
			require.Zero(t, proxy.Unused())
			if tt.patience {
				require.Error(t, err)
				require.NotErrorIs(t, err, client.ErrLoginRequired, "nothing is known yet")
				err = nextRenewal(t, session)
			}
			if !tt.lost {
				require.NoError(t, err)
				requireAlive(t, site, session, tt.requests)
				return
			}
			requireLost(t, site, session, err, tt.requests)
			stranger := site.Session(t, store)
			_, err = stranger.Renew(t.Context(), nil)
			requireLost(t, site, stranger, err, tt.requests)
			site.SignIn(t, session)
			_, err = session.Renew(t.Context(), nil)
			require.NoError(t, err, "a new login is a new start")
			requireAlive(t, site, session, tt.requests+1)
		})
	}
}

// nextRenewal asks until the failure before is not remembered any more, and something is known.
func nextRenewal(t *testing.T, session *client.Session) error {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := session.Renew(t.Context(), nil)
		if err == nil || errors.Is(err, client.ErrLoginRequired) {
			return err
		}
		require.True(t, time.Now().Before(end), "%v", err)
	}
}

func requireAlive(t *testing.T, site crew.Site, session *client.Session, requests int) {
	t.Helper()
	status, err := session.Status(t.Context())
	require.NoError(t, err)
	require.True(t, status.LoggedIn)
	require.NoError(t, crew.Call(session.HTTPClient(), site.API))
	require.Len(t, site.Refreshes(), requests)
}

// requireLost wants the loss told as what it is, however often and for however long it is asked about, also by a process that
// was not there; and the server left alone.
func requireLost(t *testing.T, site crew.Site, session *client.Session, err error, requests int) {
	t.Helper()
	require.ErrorIs(t, err, client.ErrLoginRequired)
	var refusal *client.Error
	require.ErrorAs(t, err, &refusal)
	require.Equal(t, "invalid_grant", refusal.Code)
	require.Equal(t, "lost answer", refusal.Cause)
	const longerThanABackoff = 2 * time.Second // after one failure
	for end := time.Now().Add(longerThanABackoff); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		require.ErrorIs(t, crew.Call(session.HTTPClient(), site.API), client.ErrLoginRequired)
		_, err := session.Renew(t.Context(), nil)
		require.ErrorIs(t, err, client.ErrLoginRequired)
	}
	require.Len(t, site.Refreshes(), requests)
	status, err := session.Status(t.Context())
	require.NoError(t, err)
	require.False(t, status.LoggedIn)
	require.ErrorIs(t, status.Failure, client.ErrLoginRequired)
}

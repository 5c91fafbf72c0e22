package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/examples/internal/demo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestDaemon_outlivesItsTokens(t *testing.T) {
	p, err := demo.StartProvider(time.Second, nil)
	require.NoError(t, err)
	defer p.Close()
	api := demo.StartAPI(p)
	defer api.Close()

	var good, bad atomic.Int64
	ctx, stop := context.WithTimeout(t.Context(), 4*time.Second)
	defer stop()
	err = run(ctx, client.Config{Issuer: p.Issuer, ClientID: demo.DaemonID, ClientSecret: demo.DaemonSecret},
		counting(t, api, &good, &bad), 50*time.Millisecond)
	require.NoError(t, err, "an interrupt is a good end")
	require.Greater(t, good.Load(), int64(20))
	require.Zero(t, bad.Load())
	require.GreaterOrEqual(t, p.Counts().Logins, 3, "access tokens live for a second")
}

func TestDaemon_needsASecret(t *testing.T) {
	err := run(t.Context(), client.Config{Issuer: "https://accounts.example.com", ClientID: "daemon"}, "https://api.example.com", time.Second)
	var wrong *client.ConfigError
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, "Config.ClientSecret", wrong.Field)
}

// counting puts a proxy before the API that counts how its answers come out.
func counting(t *testing.T, api *demo.API, good, bad *atomic.Int64) string {
	target, err := url.Parse(api.URL)
	require.NoError(t, err)
	target.Path = ""
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = func(resp *http.Response) error {
		if resp.StatusCode == http.StatusOK {
			good.Add(1)
		} else {
			bad.Add(1)
		}
		return nil
	}
	server := httptest.NewServer(proxy)
	t.Cleanup(server.Close)
	return server.URL + "/me"
}

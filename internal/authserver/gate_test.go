package authserver_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
)

var errRefused = errors.New("the lease is over")

func TestGateStopsTheForm_I1(t *testing.T) {
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0"} {
		t.Run(proto, func(t *testing.T) {
			var forms atomic.Int32
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if data, _ := io.ReadAll(r.Body); len(data) > 0 {
					forms.Add(1)
				}
				_, _ = w.Write([]byte(tokens))
			}))
			server.EnableHTTP2 = proto == "HTTP/2.0"
			server.StartTLS()
			defer server.Close()
			client := newClient(t)
			client.HTTP = authserver.NewHTTPClient(server.Client())
			defer client.HTTP.CloseIdleConnections()

			asked, refuse := 0, false
			gate := func() error {
				asked++
				if refuse {
					return errRefused
				}
				return nil
			}
			_, err := client.Token(t.Context(), server.URL, refresh("RT"), gate)
			require.NoError(t, err)
			require.Equal(t, 1, asked)

			refuse = true // over the connection that is open by now
			_, err = client.Token(t.Context(), server.URL, refresh("RT"), gate)
			requireFailure(t, err, authserver.NotProcessed)
			require.ErrorIs(t, err, errRefused)
			require.Equal(t, 2, asked)
			require.EqualValues(t, 1, forms.Load())
		})
	}
}

// The gate is asked on a connection that is ready: not while one is still being made.
func TestGateWaitsForTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		client := newClient(t)
		client.HTTP = authserver.NewHTTPClient(&http.Client{Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			},
		}})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := client.Token(ctx, "http://127.0.0.1/token", refresh("RT"), func() error {
			t.Error("asked without a connection")
			return nil
		})
		requireFailure(t, err, authserver.NotProcessed)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		time.Sleep(10 * time.Second) // the dial that net/http goes on with ends too, or the bubble would not
	})
}

// A transport may go on reading the body after it has returned. What was called NotProcessed must not
// leave then.
func TestGateIsClosedOnceTokenReturns_I1(t *testing.T) {
	var late io.ReadCloser
	var again func() (io.ReadCloser, error)
	client := newClient(t)
	client.HTTP.Transport = tripper(func(req *http.Request) (*http.Response, error) {
		late, again = req.Body, req.GetBody
		return nil, io.ErrUnexpectedEOF
	})
	_, err := client.Token(t.Context(), endpoint, refresh("RT"), nil)
	requireFailure(t, err, authserver.NotProcessed)
	data, err := io.ReadAll(late)
	require.Error(t, err)
	require.Empty(t, data)
	second, err := again()
	require.NoError(t, err)
	data, err = io.ReadAll(second)
	require.Error(t, err)
	require.Empty(t, data)
}

// dying is a connection that writes as often as its budget allows and then is found broken, as a
// kept-alive one is that the server has closed in the meantime.
type dying struct {
	net.Conn
	budget *atomic.Int32
}

func (c dying) Write(p []byte) (int, error) {
	if c.budget.Add(-1) < 0 {
		return 0, syscall.EPIPE
	}
	return c.Conn.Write(p)
}

// net/http writes the header first, then asks for the body. A kept-alive connection that dies at the
// header has carried nothing, and net/http takes another; one that dies at the form may have.
func TestAKeptAliveConnectionDies(t *testing.T) {
	for _, c := range []struct {
		name     string
		writes   int32 // that the old connection still carries
		gate     error
		gone     bool // the server, too
		asked    int
		requests int32
		want     authserver.Outcome
	}{
		{"at the header", 0, nil, false, 1, 2, -1},
		{"at the header, and the gate is shut by then", 0, errRefused, false, 1, 1, authserver.NotProcessed},
		{"at the header, and nobody listens any more", 0, nil, true, 0, 1, authserver.NotProcessed},
		{"at the form", 1, nil, false, 1, 1, authserver.MaybeProcessed},
	} {
		t.Run(c.name, func(t *testing.T) {
			var requests atomic.Int32
			address := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if _, err := io.ReadAll(r.Body); err == nil {
					requests.Add(1)
				}
				_, _ = w.Write([]byte(tokens))
			})
			var budgets []*atomic.Int32
			client := newClient(t)
			client.HTTP = authserver.NewHTTPClient(&http.Client{Transport: &http.Transport{
				DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					if c.gone && len(budgets) > 0 {
						return nil, syscall.ECONNREFUSED
					}
					conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
					budgets = append(budgets, new(atomic.Int32))
					budgets[len(budgets)-1].Store(1000)
					return dying{conn, budgets[len(budgets)-1]}, err
				},
			}})
			t.Cleanup(client.HTTP.CloseIdleConnections)
			_, err := client.Token(t.Context(), address, refresh("RT"), nil)
			require.NoError(t, err)

			budgets[0].Store(c.writes)
			asked := 0
			_, err = client.Token(t.Context(), address, refresh("RT"), func() error { asked++; return c.gate })
			if c.want == -1 {
				require.NoError(t, err)
			} else {
				requireFailure(t, err, c.want)
				require.True(t, c.gate == nil || errors.Is(err, c.gate))
			}
			require.Equal(t, c.asked, asked)
			require.Equal(t, c.requests, requests.Load())
		})
	}
}

// HTTP/2 and foreign transports may send a second body; it passes the gate as the first did.
func TestEachBodyPassesTheGate_I1(t *testing.T) {
	client := newClient(t)
	client.HTTP.Transport = tripper(func(req *http.Request) (*http.Response, error) {
		first, err := io.ReadAll(req.Body)
		require.NoError(t, err)
		require.NotEmpty(t, first)
		body, err := req.GetBody()
		require.NoError(t, err)
		second, err := io.ReadAll(body)
		require.Empty(t, second)
		return nil, err
	})
	asked := 0
	_, err := client.Token(t.Context(), endpoint, refresh("RT"), func() error {
		if asked++; asked == 2 {
			return errRefused
		}
		return nil
	})
	require.ErrorIs(t, err, errRefused)
	requireFailure(t, err, authserver.MaybeProcessed)
}

func TestTimeRunsOut(t *testing.T) {
	blocked := tripper(func(req *http.Request) (*http.Response, error) {
		_, _ = io.Copy(io.Discard, req.Body)
		<-req.Context().Done()
		return nil, req.Context().Err()
	})
	t.Run("the context's", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client := newClient(t)
			client.HTTP.Transport = blocked
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			_, err := client.Token(ctx, endpoint, refresh("RT"), nil)
			requireFailure(t, err, authserver.Unanswered)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Equal(t, time.Second, time.Since(start))
		})
	})
	t.Run("the HTTP client's", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			client := newClient(t)
			client.HTTP = authserver.NewHTTPClient(&http.Client{Transport: blocked, Timeout: 3 * time.Second})
			start := time.Now()
			_, err := client.Token(t.Context(), endpoint, refresh("RT"), nil)
			requireFailure(t, err, authserver.Unanswered)
			require.Equal(t, 3*time.Second, time.Since(start))
		})
	})
	t.Run("the transport's", func(t *testing.T) {
		client := newClient(t)
		client.HTTP.Transport = tripper(func(req *http.Request) (*http.Response, error) {
			_, _ = io.Copy(io.Discard, req.Body)
			return nil, os.ErrDeadlineExceeded
		})
		_, err := client.Token(t.Context(), endpoint, refresh("RT"), nil)
		requireFailure(t, err, authserver.Unanswered)
	})
}

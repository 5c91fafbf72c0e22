package tcpproxy_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/tcpproxy"
)

// setUp gives a proxy, a client that reuses its connections, and the number of requests that reached the server behind.
func setUp(t *testing.T) (*tcpproxy.Proxy, *http.Client, *atomic.Int32) {
	var reached atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reached.Add(1)
		_, _ = io.Copy(w, r.Body)
	}))
	t.Cleanup(server.Close)
	p := tcpproxy.Start(t)
	p.To(server.Listener.Addr().String())
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	return p, client, &reached
}

func post(client *http.Client, url string, within time.Duration) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader("hello"))
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func TestRulesLoseOneRequestEach(t *testing.T) {
	for _, tt := range []struct {
		name    string
		do      tcpproxy.Action
		reached int32
		timeout bool
	}{
		{name: "the request is cut", do: tcpproxy.CutRequest, reached: 0},
		{name: "the answer is cut", do: tcpproxy.CutAnswer, reached: 1},
		{name: "the request is dropped", do: tcpproxy.Drop, reached: 0, timeout: true},
		{name: "the answer is held", do: tcpproxy.HoldAnswer, reached: 1, timeout: true},
		{name: "the request is held", do: tcpproxy.HoldRequest, reached: 0, timeout: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, client, reached := setUp(t)
			p.Next(tcpproxy.Rule{Match: "POST /token ", Do: tt.do, Hold: time.Hour})

			body, err := post(client, p.URL()+"/elsewhere", time.Minute)
			require.NoError(t, err, "the rule is for another request")
			require.Equal(t, "hello", body)
			require.Equal(t, 1, p.Unused())

			before := reached.Load()
			_, err = post(client, p.URL()+"/token", 300*time.Millisecond)
			require.Error(t, err)
			if tt.timeout {
				require.ErrorIs(t, err, context.DeadlineExceeded)
			} else {
				require.NotErrorIs(t, err, context.DeadlineExceeded)
			}
			require.Equal(t, tt.reached, reached.Load()-before)
			require.Zero(t, p.Unused())

			body, err = post(client, p.URL()+"/token", time.Minute)
			require.NoError(t, err, "the rule is used up")
			require.Equal(t, "hello", body)
		})
	}
}

func TestOtherwise(t *testing.T) {
	p, client, reached := setUp(t)
	var seen []string
	p.Next(tcpproxy.Rule{Match: "POST /first "})
	p.Otherwise(func(start []byte) tcpproxy.Rule {
		seen = append(seen, string(start[:bytes.IndexByte(start, '\r')]), string(start[len(start)-len("hello"):]))
		return tcpproxy.Rule{Do: tcpproxy.CutRequest}
	})
	_, err := post(client, p.URL()+"/first", time.Minute)
	require.NoError(t, err, "a rule goes first")
	_, err = post(client, p.URL()+"/second", time.Minute)
	require.Error(t, err)
	p.Otherwise(nil)
	_, err = post(client, p.URL()+"/third", time.Minute)
	require.NoError(t, err)
	require.Equal(t, []string{"POST /second HTTP/1.1", "hello"}, seen)
	require.Equal(t, int32(2), reached.Load())
}

func TestARequestInPartsIsOne(t *testing.T) {
	p, _, reached := setUp(t)
	var seen []string
	p.Otherwise(func(start []byte) tcpproxy.Rule {
		seen = append(seen, string(start))
		return tcpproxy.Rule{}
	})
	conn, err := net.Dial("tcp", p.Address)
	require.NoError(t, err)
	defer conn.Close()
	parts := []string{"POST / HTTP/1.1\r\nHost: h\r\nContent-Le", "ngth: 5\r\n\r\n", "he", "llo"}
	for _, part := range parts {
		_, err := conn.Write([]byte(part))
		require.NoError(t, err)
		time.Sleep(10 * time.Millisecond) // a packet of its own
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Equal(t, "hello", string(body))
	require.Equal(t, []string{strings.Join(parts, "")}, seen)
	require.Equal(t, int32(1), reached.Load())
}

func TestAHeldAnswerComes(t *testing.T) {
	p, client, _ := setUp(t)
	const hold = 100 * time.Millisecond
	p.Next(tcpproxy.Rule{Do: tcpproxy.HoldAnswer, Hold: hold})
	start := time.Now()
	body, err := post(client, p.URL(), time.Minute)
	require.NoError(t, err)
	require.Equal(t, "hello", body)
	require.GreaterOrEqual(t, time.Since(start), hold)
}

func TestAGateHolds(t *testing.T) {
	for _, tt := range []struct {
		name    string
		do      tcpproxy.Action
		reached int32 // while it is held
	}{
		{"the request", tcpproxy.HoldRequest, 0},
		{"the answer", tcpproxy.HoldAnswer, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, client, reached := setUp(t)
			gate := tcpproxy.NewGate()
			p.Next(tcpproxy.Rule{Do: tt.do, Gate: gate})
			done := make(chan error)
			go func() {
				_, err := post(client, p.URL(), time.Minute)
				done <- err
			}()
			<-gate.Met()
			select {
			case <-done:
				require.Fail(t, "the gate is closed")
			case <-time.After(50 * time.Millisecond):
			}
			require.Equal(t, tt.reached, reached.Load())
			gate.Open()
			require.NoError(t, <-done)
			require.Equal(t, int32(1), reached.Load())
		})
	}
}

func TestCutAllEndsWhatIsOpen(t *testing.T) {
	p, client, reached := setUp(t)
	p.Next(tcpproxy.Rule{Do: tcpproxy.HoldAnswer, Hold: time.Hour})
	failed := make(chan error)
	go func() {
		_, err := post(client, p.URL(), time.Minute)
		failed <- err
	}()
	require.Eventually(t, func() bool { return reached.Load() == 1 }, 10*time.Second, time.Millisecond)
	p.CutAll()
	err := <-failed
	require.Error(t, err)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

package clienttest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client/clienttest"
)

// body is a request's body that counts how often it is closed.
type body struct {
	io.Reader
	mu     sync.Mutex
	closed int
}

func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed++
	return nil
}

func (b *body) closes() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// served sends a request with a body to a handler in memory.
func served(t *testing.T, h http.HandlerFunc, f func(t *testing.T, client *http.Client, request func(io.Reader) (*http.Request, *body))) {
	synctest.Test(t, func(t *testing.T) {
		s := clienttest.New(t)
		url := s.Handle("https://host.test", h)
		f(t, s.HTTPClient(""), func(content io.Reader) (*http.Request, *body) {
			b := &body{Reader: content}
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/a%2Fb?q=1", b)
			require.NoError(t, err)
			return req, b
		})
		synctest.Wait()
	})
}

func TestMemoryCarriesTheRequest(t *testing.T) {
	type key struct{}
	served(t, func(w http.ResponseWriter, r *http.Request) {
		content, err := io.ReadAll(r.Body)
		if err != nil || r.Context().Value(key{}) != nil || r.TLS == nil {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		w.Header().Set("Seen", strings.Join([]string{r.Method, r.Host, r.RequestURI, r.URL.EscapedPath(), string(content)}, " "))
		w.WriteHeader(http.StatusCreated)
	}, func(t *testing.T, client *http.Client, request func(io.Reader) (*http.Request, *body)) {
		req, b := request(strings.NewReader("content"))
		resp, err := client.Do(req.WithContext(context.WithValue(req.Context(), key{}, 1)))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusCreated, resp.StatusCode)
		require.Equal(t, "POST host.test /a%2Fb?q=1 /a%2Fb content", resp.Header.Get("Seen"))
		require.NotEmpty(t, resp.Header.Get("Date"))
		synctest.Wait()
		require.Equal(t, 1, b.closes())
	})
}

func TestMemoryAnswersBeforeTheBodyIsRead(t *testing.T) {
	served(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) },
		func(t *testing.T, client *http.Client, request func(io.Reader) (*http.Request, *body)) {
			req, b := request(strings.NewReader("content"))
			resp, err := client.Do(req)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
			synctest.Wait()
			require.Equal(t, 1, b.closes())
		})
}

func TestMemoryStreams(t *testing.T) {
	served(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "one")
		time.Sleep(time.Minute)
		_, _ = io.WriteString(w, "two")
	}, func(t *testing.T, client *http.Client, request func(io.Reader) (*http.Request, *body)) {
		req, _ := request(http.NoBody)
		start := time.Now()
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		first := make([]byte, 3)
		_, err = io.ReadFull(resp.Body, first)
		require.NoError(t, err)
		require.Zero(t, time.Since(start))
		rest, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "two", string(rest))
		require.Equal(t, time.Minute, time.Since(start))
	})
}

func TestMemoryEndsWithTheContext(t *testing.T) {
	var handled atomic.Value
	served(t, func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "one")
		<-r.Context().Done()
		_, err := io.WriteString(w, "two")
		handled.Store(err)
	}, func(t *testing.T, client *http.Client, request func(io.Reader) (*http.Request, *body)) {
		gone := errors.New("gone home")
		ctx, cancel := context.WithCancelCause(t.Context())
		req, _ := request(http.NoBody)
		resp, err := client.Do(req.WithContext(ctx))
		require.NoError(t, err)
		defer resp.Body.Close()
		time.AfterFunc(time.Second, func() { cancel(gone) })
		content, err := io.ReadAll(resp.Body)
		require.Equal(t, "one", string(content))
		require.ErrorIs(t, err, gone)
		synctest.Wait()
		require.ErrorIs(t, handled.Load().(error), io.ErrClosedPipe, "the handler cannot write any more")
	})
}

func TestMemoryCancelledBeforeAndDuring(t *testing.T) {
	served(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		func(t *testing.T, client *http.Client, request func(io.Reader) (*http.Request, *body)) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			for range 2 { // the second time the context has ended already
				req, b := request(neverEnding{})
				_, err := client.Transport.RoundTrip(req.WithContext(ctx))
				require.ErrorIs(t, err, context.DeadlineExceeded)
				synctest.Wait()
				require.Equal(t, 1, b.closes())
			}
		})
}

func TestMemoryLeavesAHangingBody(t *testing.T) {
	served(t, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.ReadAll(r.Body) },
		func(t *testing.T, client *http.Client, request func(io.Reader) (*http.Request, *body)) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			req, _ := request(nil)
			hanging, _ := io.Pipe() // whose Read returns once it is closed
			req.Body = hanging
			_, err := client.Transport.RoundTrip(req.WithContext(ctx))
			require.ErrorIs(t, err, context.DeadlineExceeded)
			synctest.Wait()
			_, err = hanging.Read(nil)
			require.ErrorIs(t, err, io.ErrClosedPipe)
		})
}

func TestMemoryHandlersEndWithTheTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := false
		t.Cleanup(func() { require.True(t, ended, "the Server has waited for its handler") })
		s := clienttest.New(t)
		url := s.Handle("https://host.test", http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			time.Sleep(time.Second)
			ended = true
		}))
		go func() {
			if resp, err := s.HTTPClient("").Get(url); err == nil {
				resp.Body.Close()
			}
		}()
		synctest.Wait()
	})
}

type neverEnding struct{}

func (neverEnding) Read(p []byte) (int, error) { return len(p), nil }

func TestMemoryBrokenRequestBody(t *testing.T) {
	cause := errors.New("the disk is gone")
	var mu sync.Mutex
	var seen error
	handler := func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		_, _ = io.WriteString(w, "an answer that nobody reads")
		mu.Lock()
		defer mu.Unlock()
		seen = err
	}
	served(t, handler, func(t *testing.T, client *http.Client, request func(io.Reader) (*http.Request, *body)) {
		req, b := request(io.MultiReader(strings.NewReader("half"), failing{cause}))
		_, err := client.Do(req)
		require.ErrorIs(t, err, cause)
		synctest.Wait()
		require.Equal(t, 1, b.closes())
		require.ErrorIs(t, seen, io.ErrUnexpectedEOF)
		for _, length := range []int64{6, 8} {
			req, _ = request(strings.NewReader("content"))
			req.ContentLength = length
			_, err = client.Do(req)
			require.Error(t, err, "%d bytes announced", length)
		}
	})
}

// TestBrokenRequestBodyIsTheCallersError: whatever the host makes of the half that it got, the caller's own error
// comes back.
func TestBrokenRequestBodyIsTheCallersError(t *testing.T) {
	cause := errors.New("the disk is gone")
	onBoth(t, func(t *testing.T, s *clienttest.Server) {
		api := s.NewAPI("api.test")
		faulty := s.NewAPI("faulty.test")
		faulty.Fail(clienttest.Fault{Status: http.StatusServiceUnavailable})
		for _, address := range []string{api.URL, faulty.URL, s.Issuer + "/token"} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address, io.MultiReader(strings.NewReader("half"), failing{cause}))
			require.NoError(t, err)
			req.Header.Set("Authorization", "Bearer "+s.Login().AccessToken)
			_, err = s.HTTPClient("").Do(req)
			require.ErrorIs(t, err, cause, address)
		}
	})
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestMemoryKnowsItsHostsOnly(t *testing.T) {
	s := clienttest.New(t)
	_, err := s.HTTPClient("").Get("https://elsewhere.test/")
	var unknown *net.DNSError
	require.ErrorAs(t, err, &unknown)
	require.True(t, unknown.IsNotFound)
}

func TestMemoryTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := clienttest.New(t)
		var mu sync.Mutex
		var events []string
		note := func(event string) {
			mu.Lock()
			defer mu.Unlock()
			events = append(events, event)
		}
		ctx, cancel := context.WithCancel(t.Context())
		stop := false
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GetConn: func(hostPort string) { note("get " + hostPort) },
			GotConn: func(httptrace.GotConnInfo) {
				note("got")
				if stop {
					cancel()
				}
			},
			WroteHeaders:         func() { note("headers") },
			WroteRequest:         func(httptrace.WroteRequestInfo) { note("request") },
			GotFirstResponseByte: func() { note("byte") },
		})
		a, err := postContext(ctx, s.HTTPClient(""), s.Issuer+"/token", nil)
		require.NoError(t, err)
		require.Equal(t, 400, a.status)
		require.Equal(t, []string{"get as.test:443", "got", "headers", "request", "byte"}, events)

		events, stop = nil, true
		_, err = postContext(ctx, s.HTTPClient(""), s.Issuer+"/token", nil)
		require.ErrorIs(t, err, context.Canceled)
		require.Equal(t, []string{"get as.test:443", "got"}, events)
		require.Len(t, s.Requests(), 1, "who gives up on the connection sends nothing")
	})
}

func TestConcurrentRefreshes(t *testing.T) {
	onBoth(t, func(t *testing.T, s *clienttest.Server) {
		rt := s.Login().RefreshToken
		var group sync.WaitGroup
		for range 20 {
			group.Go(func() { _, _ = refresh(s, rt) })
		}
		group.Wait()
		require.Len(t, s.Requests(), 20)
		require.Len(t, s.Renewals(), 1)
		require.Len(t, s.Reuses(), 19)
		require.Equal(t, 0, s.Grants())
	})
}

package transport_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/transport"
)

// protocols are the ways in which a resource server can be reached.
var protocols = map[string]func(*httptest.Server){
	"HTTP 1.1": (*httptest.Server).Start,
	"TLS":      (*httptest.Server).StartTLS,
	"HTTP 2": func(srv *httptest.Server) {
		srv.EnableHTTP2 = true
		srv.StartTLS()
	},
}

// overEach runs a test against a server for each protocol. The server says 401 to all tokens but the second.
func overEach(t *testing.T, h http.Handler, test func(*testing.T, *httptest.Server, *http.Client, *rotation)) {
	for name, start := range protocols {
		t.Run(name, func(t *testing.T) {
			srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if (name == "HTTP 2") != (r.ProtoMajor == 2) {
					t.Errorf("the request came over %s", r.Proto)
				}
				h.ServeHTTP(w, r)
			}))
			srv.Config.ErrorLog = log.New(io.Discard, "", 0)
			start(srv)
			defer srv.Close()
			base := srv.Client().Transport.(*http.Transport)
			base.ExpectContinueTimeout = time.Minute
			s := &rotation{}
			hc := &http.Client{Transport: &transport.Transport{Source: s, Base: base}}
			test(t, srv, hc, s)
			hc.CloseIdleConnections()
		})
	}
}

func isGood(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer token-2" }

// million is a body of a million bytes that is not the same anywhere.
var million = func() []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < 1_000_000; i++ {
		fmt.Fprintf(&b, "%d,", i)
	}
	return b.Bytes()[:1_000_000]
}()

// stream hides what a reader can do beside reading, so that http.NewRequest makes no GetBody.
func stream(content []byte) io.ReadCloser { return io.NopCloser(bytes.NewReader(content)) }

func hash(r io.Reader) string {
	h := sha256.New()
	_, err := io.Copy(h, r)
	return fmt.Sprintf("%x %v", h.Sum(nil), err)
}

// digesting reads everything, then judges.
var digesting = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
	sum := hash(r.Body)
	if !isGood(r) {
		w.WriteHeader(http.StatusUnauthorized)
		sum = "rejected"
	}
	fmt.Fprint(w, sum, r.ContentLength, r.TransferEncoding, r.Trailer.Get("X-Sum"))
})

func TestLargeBodyWithGetBody(t *testing.T) {
	overEach(t, digesting, func(t *testing.T, srv *httptest.Server, hc *http.Client, s *rotation) {
		resp, err := hc.Post(srv.URL, "text/plain", bytes.NewReader(million))
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, hash(bytes.NewReader(million))+"1000000 []", read(t, resp))
		require.Equal(t, []string{"token-1"}, s.renewals())
	})
}

// What was read cannot be sent again; the next request fares better.
// Shows R6750-3.1-5.
func TestLargeBodyWithoutGetBody(t *testing.T) {
	overEach(t, digesting, func(t *testing.T, srv *httptest.Server, hc *http.Client, s *rotation) {
		resp, err := hc.Post(srv.URL, "text/plain", stream(million))
		require.NoError(t, err)
		require.Equal(t, 401, resp.StatusCode)
		require.Contains(t, read(t, resp), "rejected-1")
		require.Equal(t, []string{"token-1"}, s.renewals())

		resp, err = hc.Post(srv.URL, "text/plain", stream(million))
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		require.Contains(t, read(t, resp), hash(bytes.NewReader(million))+"-1")
	})
}

// An announced body that the server did not ask for is still there for the second send.
func TestExpectContinue(t *testing.T) {
	judging := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !isGood(r) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, hash(r.Body))
	})
	overEach(t, judging, func(t *testing.T, srv *httptest.Server, hc *http.Client, s *rotation) {
		body := &body{content: bytes.NewReader(million)}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, srv.URL, body)
		require.NoError(t, err)
		req.ContentLength = int64(len(million))
		req.Header.Set("Expect", "100-continue")
		resp, err := hc.Do(req)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		require.Equal(t, hash(bytes.NewReader(million)), read(t, resp))
		require.Equal(t, []string{"token-1"}, s.renewals())
		require.Eventually(t, func() bool { return body.closings() > 0 }, 10*time.Second, time.Millisecond)
		body.requireClosedOnce(t)
	})
}

// endless is a body that goes on until it is closed.
type endless struct {
	begun  chan struct{}
	closed chan struct{}
	start  sync.Once
	closes atomic.Int32
}

func (e *endless) Read(p []byte) (int, error) {
	select {
	case <-e.closed:
		return 0, errors.New("closed")
	default:
	}
	e.start.Do(func() { close(e.begun) })
	clear(p)
	return len(p), nil
}

func (e *endless) Close() error {
	if e.closes.Add(1) == 1 {
		close(e.closed)
	}
	return nil
}

// A server may answer while the body is still on its way.
func TestEarlyRejection(t *testing.T) {
	impatient := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isGood(r) {
			fmt.Fprint(w, hash(r.Body))
			return
		}
		if r.ProtoMajor == 1 {
			_ = http.NewResponseController(w).EnableFullDuplex()
		}
		_, _ = io.ReadFull(r.Body, make([]byte, 1000))
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, "first")
		_ = http.NewResponseController(w).Flush()
	})
	for _, rewinds := range []bool{true, false} {
		t.Run(fmt.Sprintf("rewinds %v", rewinds), func(t *testing.T) {
			overEach(t, impatient, func(t *testing.T, srv *httptest.Server, hc *http.Client, s *rotation) {
				body := &endless{begun: make(chan struct{}), closed: make(chan struct{})}
				req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, body)
				require.NoError(t, err)
				if rewinds {
					req.GetBody = func() (io.ReadCloser, error) { return stream(million), nil }
				}
				resp, err := hc.Do(req)
				require.NoError(t, err)
				if rewinds {
					require.Equal(t, 200, resp.StatusCode)
					require.Equal(t, hash(bytes.NewReader(million)), read(t, resp))
				} else {
					require.Equal(t, 401, resp.StatusCode)
					first := make([]byte, len("first"))
					_, err = io.ReadFull(resp.Body, first)
					require.NoError(t, err)
					require.Equal(t, "first", string(first))
					require.NoError(t, resp.Body.Close())
				}
				require.Equal(t, []string{"token-1"}, s.renewals())
				<-body.closed
				require.EqualValues(t, 1, body.closes.Load())
			})
		})
	}
}

func TestTrailer(t *testing.T) {
	overEach(t, digesting, func(t *testing.T, srv *httptest.Server, hc *http.Client, s *rotation) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, srv.URL, stream(million))
		require.NoError(t, err)
		req.GetBody = func() (io.ReadCloser, error) { return stream(million), nil }
		req.Trailer = http.Header{"X-Sum": {"sum"}}
		resp, err := hc.Do(req)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		require.True(t, strings.HasSuffix(read(t, resp), "sum"))
	})
}

// The caller's cancellation ends the request, whether the server or the body hangs.
func TestCancellation(t *testing.T) {
	hanging := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		go func() { _, _ = io.Copy(io.Discard, r.Body) }()
		<-r.Context().Done()
	})
	overEach(t, hanging, func(t *testing.T, srv *httptest.Server, hc *http.Client, s *rotation) {
		ctx, cancel := context.WithCancel(t.Context())
		body := &endless{begun: make(chan struct{}), closed: make(chan struct{})}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL, body)
		require.NoError(t, err)
		go func() { <-body.begun; cancel() }()
		_, err = hc.Do(req)
		require.ErrorIs(t, err, context.Canceled)
		<-body.closed
		require.EqualValues(t, 1, body.closes.Load())
		require.Empty(t, s.renewals())
	})
}

// A rejected request's connection is used for the second send.
func TestConnectionIsReused(t *testing.T) {
	var clients sync.Map
	counting := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		clients.Store(r.RemoteAddr, nil)
		if !isGood(r) {
			w.WriteHeader(http.StatusUnauthorized)
			fmt.Fprint(w, strings.Repeat("no ", 10_000))
		}
	})
	overEach(t, counting, func(t *testing.T, srv *httptest.Server, hc *http.Client, s *rotation) {
		clients.Clear()
		resp, err := hc.Get(srv.URL)
		require.NoError(t, err)
		require.Equal(t, 200, resp.StatusCode)
		require.Empty(t, read(t, resp))
		connections := 0
		clients.Range(func(any, any) bool { connections++; return true })
		require.Equal(t, 1, connections)
	})
}

func TestDefaultBase(t *testing.T) {
	srv := httptest.NewServer(digesting)
	defer srv.Close()
	hc := &http.Client{Transport: &transport.Transport{Source: &rotation{}}}
	defer hc.CloseIdleConnections()
	resp, err := hc.Get(srv.URL)
	require.NoError(t, err)
	require.Equal(t, 200, resp.StatusCode)
	require.NotEmpty(t, read(t, resp))
}

// revoking is a server that revokes a token after it has served for some requests. It accepts any newer
// one from a request that it has rejected: twice rejected would be twice unlucky.
type revoking struct {
	life int

	mu         sync.Mutex
	generation int             // the lowest good token; guarded by mu
	used       int             // guarded by mu
	rejected   map[string]bool // by content; guarded by mu
}

func (s *revoking) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	content, _ := io.ReadAll(r.Body)
	if !s.accepts(r.Header.Get("Authorization"), string(content)) {
		w.WriteHeader(http.StatusUnauthorized)
	}
	_, _ = w.Write(content)
}

func (s *revoking) accepts(authorization, content string) bool {
	var token int
	_, _ = fmt.Sscanf(authorization, "Bearer token-%d", &token)
	s.mu.Lock()
	defer s.mu.Unlock()
	if token < s.generation && !s.rejected[content] {
		s.rejected[content] = true
		return false
	}
	if s.used++; s.used == s.life {
		s.generation, s.used = s.generation+1, 0
	}
	return token > 0
}

// Every request succeeds while tokens are revoked under many hands, and no revocation costs two tokens.
func TestConcurrency(t *testing.T) {
	const workers, each, life = 20, 25, 40
	server := &revoking{life: life, generation: 1, rejected: map[string]bool{}}
	srv := httptest.NewServer(server)
	defer srv.Close()
	base := &http.Transport{MaxIdleConnsPerHost: workers}
	defer base.CloseIdleConnections()
	s := &rotation{}
	hc := &http.Client{Transport: &transport.Transport{Source: s, Base: base}}
	var wg sync.WaitGroup
	for i := range workers {
		wg.Go(func() {
			for j := range each {
				content := fmt.Sprint(i, "/", j)
				resp, err := hc.Post(srv.URL, "text/plain", strings.NewReader(content))
				if err != nil {
					t.Error(err)
					return
				}
				all, err := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				if err != nil || string(all) != content || resp.StatusCode != 200 {
					t.Errorf("%s came back as %q, %d, %v", content, all, resp.StatusCode, err)
				}
			}
		})
	}
	wg.Wait()
	require.NotEmpty(t, server.rejected)
	require.LessOrEqual(t, s.minted, server.generation)
}

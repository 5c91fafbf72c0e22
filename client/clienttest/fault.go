package clienttest

import (
	"bytes"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"time"
)

// Fault is what goes wrong with one request. Its fields combine, in the order of their declaration; the zero
// Fault is a request that goes well, to let some pass before the next one fails.
type Fault struct {
	// Unreachable: no connection comes about, nothing is sent and nothing enters the ledger. (On loopback this
	// needs a client of HTTPClient; to others the connection breaks before the request is processed.)
	Unreachable bool

	// Wait is how long the request lies before it is processed. A client that gives up meanwhile does not
	// stop that.
	Wait time.Duration

	// Late breaks the connection; the request is processed all the same, this much later.
	Late time.Duration

	// LoseRequest breaks the connection once the request is read; it is never processed.
	LoseRequest bool

	// LoseAnswer processes the request and breaks the connection; if there is a Status, that is answered
	// instead, as by a gateway.
	LoseAnswer bool

	// WaitAnswer is how long the answer lies.
	WaitAnswer time.Duration

	// Status answers in the place of the server, with Header and Body; 0: the server answers itself. Without
	// LoseAnswer the request is not processed. A Body that begins with { is JSON, with < HTML, unless Header
	// says otherwise. Retry-After and the Location of a redirect go into Header.
	Status int
	Header http.Header
	Body   string

	// CutBody breaks the connection in the middle of the answer's body.
	CutBody bool
}

// Fail makes the next requests to an endpoint fail, one fault each, after those that are queued already. The
// endpoint is a path as in the package's documentation. slices.Repeat makes a long outage, Heal ends it.
func (s *Server) Fail(endpoint string, faults ...Fault) {
	if !slices.Contains(endpoints, strings.TrimSuffix(endpoint, issuerPath(s.issuer()))) {
		s.t.Errorf("clienttest: Fail(%q): the endpoints are %s", endpoint, strings.Join(endpoints, " "))
	}
	s.queue(endpoint, faults)
}

var endpoints = []string{"/authorize", "/token", "/revoke", "/device_authorization", "/jwks", registerPath, oauthPath, openIDPath}

func (s *Server) queue(endpoint string, faults []Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[endpoint] = append(s.faults[endpoint], faults...)
}

// Heal drops the faults that are still queued, those of APIs too.
func (s *Server) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
}

// fault takes the next fault of an endpoint, which for an API is its URL.
func (s *Server) fault(endpoint string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.faults[endpoint]
	if len(queue) == 0 {
		return Fault{}, false
	}
	s.faults[endpoint] = queue[1:]
	return queue[0], true
}

// unreachable takes the next fault of an endpoint if it is that no connection comes about.
func (s *Server) unreachable(endpoint string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	queue := s.faults[endpoint]
	if len(queue) == 0 || !queue[0].Unreachable {
		return false
	}
	s.faults[endpoint] = queue[1:]
	return true
}

// serve serves a request with the next fault of its endpoint, or without.
func (s *Server) serve(endpoint string, w http.ResponseWriter, r *http.Request, next http.Handler) {
	fault, ok := s.fault(endpoint)
	if !ok {
		next.ServeHTTP(w, r)
		return
	}
	readAll(w, r)
	fault.serve(s, w, r, next)
}

// serve serves a request whose body has been read, with the fault.
func (f Fault) serve(s *Server, w http.ResponseWriter, r *http.Request, next http.Handler) {
	if !s.sleep(f.Wait) {
		panic(http.ErrAbortHandler)
	}
	if f.Late > 0 {
		f.serveLate(s, r, next)
	}
	if f.Unreachable || f.LoseRequest || f.Late > 0 {
		reset(w)
		return
	}
	answer := httptest.NewRecorder()
	if f.Status == 0 || f.LoseAnswer {
		next.ServeHTTP(answer, r)
	}
	if !s.sleep(f.WaitAnswer) {
		panic(http.ErrAbortHandler)
	}
	switch {
	case f.Status != 0:
		answer = f.answer()
	case f.LoseAnswer:
		reset(w)
		return
	}
	f.send(w, answer)
}

func (f Fault) serveLate(s *Server, r *http.Request, next http.Handler) {
	r = r.Clone(context.WithoutCancel(r.Context()))
	s.run(func() {
		if s.sleep(f.Late) {
			next.ServeHTTP(httptest.NewRecorder(), r)
		}
	})
}

// answer is what Status, Header and Body say.
func (f Fault) answer() *httptest.ResponseRecorder {
	answer := httptest.NewRecorder()
	maps.Copy(answer.Header(), f.Header)
	if f.Body != "" && answer.Header().Get("Content-Type") == "" {
		answer.Header().Set("Content-Type", contentType(f.Body))
	}
	answer.WriteHeader(f.Status)
	_, _ = io.WriteString(answer, f.Body)
	return answer
}

// contentType guesses a canned body's type.
func contentType(body string) string {
	switch {
	case strings.HasPrefix(body, "{"):
		return "application/json"
	case strings.HasPrefix(body, "<"):
		return "text/html; charset=utf-8"
	}
	return "text/plain; charset=utf-8"
}

func (f Fault) send(w http.ResponseWriter, answer *httptest.ResponseRecorder) {
	maps.Copy(w.Header(), answer.Header())
	body := answer.Body.Bytes()
	w.WriteHeader(answer.Code)
	if !f.CutBody {
		_, _ = w.Write(body)
		return
	}
	_, _ = io.Copy(w, bytes.NewReader(body[:len(body)/2]))
	_ = http.NewResponseController(w).Flush()
	panic(http.ErrAbortHandler)
}

// reset breaks the connection, on a real network by a TCP reset. The caller returns then.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

package clienttest

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// HTTPClient returns a client that reaches the Server, its APIs and its other hosts, and nothing else as long
// as they live in memory. The ledger notes the process, any name, as the sender; empty: none. It follows
// redirects as http.Client does.
func (s *Server) HTTPClient(process string) *http.Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &wire{s: s, process: process}
	if s.listening {
		// A connection each: the real transport repeats a GET that breaks on a used one, behind the test's back.
		w.real = &http.Transport{DisableKeepAlives: true}
	}
	return &http.Client{Transport: w}
}

// wire is the way to the hosts of a Server, in memory or, with real set, over loopback.
type wire struct {
	s       *Server
	process string
	real    http.RoundTripper
}

// RoundTrip implements http.RoundTripper, all of its contract.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	body := &onceBody{ReadCloser: req.Body}
	if err := req.Context().Err(); err != nil {
		body.Close()
		return nil, context.Cause(req.Context())
	}
	host := w.s.handler(req.URL)
	if err := w.dial(req, host); err != nil {
		body.Close()
		return nil, err
	}
	if w.process != "" {
		// A copy of its own, since the caller's request must not change.
		req = req.WithContext(req.Context())
		if req.Header = req.Header.Clone(); req.Header == nil {
			req.Header = http.Header{}
		}
		req.Header.Set(processHeader, w.process)
	}
	if w.real != nil {
		return w.real.RoundTrip(req)
	}
	return w.connected(req, body, host)
}

// dial fails as connecting to a host does.
func (w *wire) dial(req *http.Request, host http.Handler) error {
	trace := httptrace.ContextClientTrace(req.Context())
	if w.real == nil && trace != nil && trace.GetConn != nil {
		trace.GetConn(hostPort(req.URL))
	}
	if host == nil && w.real == nil {
		return &net.OpError{Op: "dial", Net: "tcp", Err: &net.DNSError{Err: "no such host", Name: req.URL.Host, IsNotFound: true}}
	}
	if r, ok := host.(interface{ refuses(*url.URL) bool }); ok && r.refuses(req.URL) {
		return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	return nil
}

// refuses reports whether no connection to an address comes about this time.
func (s *Server) refuses(u *url.URL) bool { return s.unreachable(s.path(u.Path)) }

func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// connected serves the request in memory, once the connection stands.
func (w *wire) connected(req *http.Request, body *onceBody, host http.Handler) (*http.Response, error) {
	ctx := req.Context()
	trace := httptrace.ContextClientTrace(ctx)
	if trace != nil && trace.GotConn != nil {
		trace.GotConn(httptrace.GotConnInfo{})
	}
	if ctx.Err() != nil { // the hook may have ended it
		body.Close()
		return nil, context.Cause(ctx)
	}
	if trace != nil && trace.WroteHeaders != nil {
		trace.WroteHeaders()
	}
	x := newExchange(w.s, req, body)
	if !x.start(host, trace) {
		body.Close()
		return nil, errors.New("clienttest: the test has ended")
	}
	resp, err := x.wait(ctx)
	if err == nil && trace != nil && trace.GotFirstResponseByte != nil {
		trace.GotFirstResponseByte()
	}
	return resp, err
}

// exchange is one request and its answer in memory, the ResponseWriter included.
type exchange struct {
	s        *Server
	req      *http.Request // the client's, which may change it once RoundTrip has failed: only its context is read then
	seen     *http.Request // the handler's
	body     *onceBody
	answered chan *http.Response
	broken   chan error // no answer comes
	up       *io.PipeWriter
	upEnd    *io.PipeReader
	down     *io.PipeWriter
	downEnd  *io.PipeReader

	// Only the handler's goroutine uses these.
	header      http.Header
	wroteHeader bool
}

func newExchange(s *Server, req *http.Request, body *onceBody) *exchange {
	x := &exchange{s: s, req: req, body: body, header: http.Header{}, answered: make(chan *http.Response, 1), broken: make(chan error, 2)}
	x.upEnd, x.up = io.Pipe()
	x.downEnd, x.down = io.Pipe()
	x.seen = serverRequest(req, x.upEnd)
	return x
}

// start runs the handler and, beside it, the copying of the request's body.
func (x *exchange) start(host http.Handler, trace *httptrace.ClientTrace) bool {
	ctx, cancel := context.WithCancel(x.s.ctx)
	client := x.req.Context()
	stop := context.AfterFunc(client, func() {
		x.down.CloseWithError(context.Cause(client))
		cancel()
	})
	end := func() {
		stop()
		cancel()
	}
	// The client or the test ended it: so do both directions, and a Read of the request's body that hangs.
	// What has ended before stays as it was.
	context.AfterFunc(ctx, func() {
		x.up.CloseWithError(io.ErrUnexpectedEOF)
		x.down.CloseWithError(io.ErrUnexpectedEOF)
		x.body.Close()
	})
	started := x.s.run(func() {
		defer end()
		uploaded := make(chan struct{})
		go func() {
			defer close(uploaded)
			x.upload(trace)
		}()
		x.handle(ctx, host)
		<-uploaded
	})
	if !started {
		end()
	}
	return started
}

// serverRequest is the request as a server sees it: no value of the client's context gets there.
func serverRequest(req *http.Request, body io.ReadCloser) *http.Request {
	r := req.Clone(context.Background())
	if r.Header == nil {
		r.Header = http.Header{}
	}
	if req.Body != nil && req.ContentLength == 0 {
		r.ContentLength = -1
	}
	r.RequestURI = req.URL.RequestURI()
	r.URL = &url.URL{Path: req.URL.Path, RawPath: req.URL.RawPath, RawQuery: req.URL.RawQuery}
	r.Host = cmp.Or(req.Host, req.URL.Host)
	r.Method = cmp.Or(req.Method, http.MethodGet)
	r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/1.1", 1, 1
	r.RemoteAddr = "192.0.2.1:1"
	r.Body, r.GetBody = body, nil
	if req.URL.Scheme == "https" {
		r.TLS = &tls.ConnectionState{Version: tls.VersionTLS13, HandshakeComplete: true, ServerName: req.URL.Hostname()}
	}
	return r
}

// upload copies the request's body as the handler reads it. A body that fails or that is not as long as the
// request says breaks the exchange, as it does on a real connection.
func (x *exchange) upload(trace *httptrace.ClientTrace) {
	defer x.body.Close()
	n, err := io.CopyBuffer(x.up, x.body, make([]byte, min(max(x.seen.ContentLength, 512), 32<<10))) // most bodies are small
	failed := x.body.failure()
	if want := x.seen.ContentLength; failed == nil && err == nil && want > 0 && n != want {
		failed = fmt.Errorf("clienttest: the request says ContentLength %d, its body has %d bytes", want, n)
	}
	if failed != nil {
		x.broken <- failed
		x.up.CloseWithError(io.ErrUnexpectedEOF)
		return
	}
	// The hook comes first, so that no answer to a request that was read overtakes it.
	if trace != nil && trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{Err: err})
	}
	x.up.Close()
}

// handle runs the handler to its end, which may be a panic with http.ErrAbortHandler or, in a test's own
// handler, a FailNow.
func (x *exchange) handle(ctx context.Context, host http.Handler) {
	finished := false
	defer func() {
		if p := recover(); p != nil && p != any(http.ErrAbortHandler) {
			panic(p)
		}
		switch {
		case finished:
			x.WriteHeader(http.StatusOK)
			x.down.Close()
		case x.wroteHeader:
			x.down.CloseWithError(io.ErrUnexpectedEOF)
		default:
			x.broken <- &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
		}
		x.upEnd.Close()
	}()
	host.ServeHTTP(x, x.seen.WithContext(ctx))
	finished = true
}

// wait returns the answer once its header is there. A request that the client itself broke has none, and its
// error is the first one: a handler that misses the rest of the request breaks the connection after that.
func (x *exchange) wait(ctx context.Context) (resp *http.Response, err error) {
	select {
	case resp = <-x.answered:
	case err = <-x.broken:
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err == nil {
		select {
		case err = <-x.broken:
		default:
		}
	}
	if err != nil {
		x.downEnd.Close() // a handler that writes all the same must not hang
		return nil, err
	}
	return resp, nil
}

// Header implements http.ResponseWriter.
func (x *exchange) Header() http.Header { return x.header }

// WriteHeader implements http.ResponseWriter.
func (x *exchange) WriteHeader(status int) {
	if x.wroteHeader {
		return
	}
	x.wroteHeader = true
	header := x.header.Clone()
	if header.Get("Date") == "" {
		header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	}
	length, err := strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	if err != nil {
		length = -1
	}
	resp := &http.Response{
		Status:        fmt.Sprintf("%d %s", status, http.StatusText(status)),
		StatusCode:    status,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        header,
		Body:          x.downEnd,
		ContentLength: length,
		Request:       x.req,
		TLS:           x.seen.TLS,
	}
	x.answered <- resp
}

// Write implements http.ResponseWriter. It returns once the client has read.
func (x *exchange) Write(p []byte) (int, error) {
	x.WriteHeader(http.StatusOK)
	if x.seen.Method == http.MethodHead || len(p) == 0 {
		return len(p), nil
	}
	return x.down.Write(p)
}

// FlushError is for http.ResponseController: there is nothing to flush.
func (x *exchange) FlushError() error {
	x.WriteHeader(http.StatusOK)
	return nil
}

// onceBody is a request's body, which may be nil. It is closed once, whoever comes first, and remembers how
// reading it failed.
type onceBody struct {
	io.ReadCloser
	once sync.Once
	mu   sync.Mutex // guards err
	err  error
}

func (b *onceBody) Read(p []byte) (int, error) {
	if b.ReadCloser == nil {
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		b.mu.Lock()
		b.err = err
		b.mu.Unlock()
	}
	return n, err
}

func (b *onceBody) failure() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.err
}

func (b *onceBody) Close() (err error) {
	b.once.Do(func() {
		if b.ReadCloser != nil {
			err = b.ReadCloser.Close()
		}
	})
	return err
}

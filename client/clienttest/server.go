package clienttest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/jws"
)

// Server is an authorization server. It is an http.Handler too, to be mounted elsewhere.
type Server struct {
	// Issuer is the issuer identifier, https://as.test. It may be set to another one, with or without a path,
	// before the Server is used.
	Issuer string

	// Policy is how this server differs from the strictest one. Set it before the Server is used, or by Change.
	Policy Policy

	t       testing.TB
	ctx     context.Context // ends with the test
	cancel  context.CancelFunc
	running sync.WaitGroup // handlers and copiers of the network in memory, and late requests

	mu        sync.Mutex // guards the fields above that are exported, those of every API, and what follows
	closed    bool
	listening bool
	servers   []*httptest.Server
	handlers  map[string]http.Handler // by origin, all but the Server's own
	clients   map[string]*registration
	codes     map[string]*code
	devices   map[string]*device // by device code
	refresh   map[string]*refreshToken
	access    map[string]*accessToken
	proofs    map[string]bool                       // by jti: those seen
	signer    *jws.Key                              // of id tokens
	numbers   struct{ refresh, access, client int } // of the newest
	faults    map[string][]Fault                    // by path
	ledger    []*Request
}

// appID, appSecret and appRedirect are of the client that every Server knows. appWeb is another redirection
// address of it, for a web backend.
const (
	appID       = "app"
	appSecret   = "app secret: %&=" // has to be form-encoded for Basic (RFC 6749 section 2.3.1)
	appRedirect = "http://127.0.0.1/callback"
	appWeb      = "https://app.test/callback"
)

// New returns a Server in memory that ends with the test, and whose issuer is https://as.test.
func New(t testing.TB) *Server {
	s := &Server{
		Issuer:   "https://as.test",
		t:        t,
		handlers: map[string]http.Handler{},
		clients:  map[string]*registration{},
		codes:    map[string]*code{},
		devices:  map[string]*device{},
		refresh:  map[string]*refreshToken{},
		access:   map[string]*accessToken{},
		proofs:   map[string]bool{},
		faults:   map[string][]Fault{},
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err == nil {
		s.signer, err = jws.NewKey(private, "key 1")
	}
	if err != nil {
		t.Fatalf("clienttest: there is no key to sign id tokens with: %v", err)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.Register(appID, appSecret, "client_secret_basic", appRedirect, appWeb)
	t.Cleanup(s.close)
	return s
}

// close ends what is still under way and waits for it.
func (s *Server) close() {
	s.mu.Lock()
	s.closed = true
	servers := s.servers
	s.mu.Unlock()
	s.cancel()
	for _, server := range servers {
		server.Close()
	}
	s.running.Wait()
}

// Change calls f while no request is being served, so that f may set fields of Policy and of APIs, or
// Issuer. f must not call methods of the Server.
func (s *Server) Change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

// Config returns the registration of the client that every Server knows: "app", with a secret, which
// authenticates by client_secret_basic. Besides RedirectURL, which is on loopback and may have any port, the
// client may use https://app.test/callback.
func (s *Server) Config() *oauth2.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &oauth2.Config{
		ClientID:     appID,
		ClientSecret: appSecret,
		RedirectURL:  appRedirect,
		Endpoint: oauth2.Endpoint{
			AuthURL:       s.Issuer + "/authorize",
			TokenURL:      s.Issuer + "/token",
			DeviceAuthURL: s.Issuer + "/device_authorization",
			AuthStyle:     oauth2.AuthStyleInHeader,
		},
	}
}

// Listen moves the Server to a port of the loopback interface: Issuer is then http://127.0.0.1:port, and
// HTTPClient uses the real network. Call it before anything else; hosts and APIs added later listen too.
func (s *Server) Listen() {
	s.mu.Lock()
	s.listening = true
	s.mu.Unlock()
	issuer := s.listen(s)
	s.Change(func() { s.Issuer = issuer })
}

// Handle serves h as another host of the network: a second Server, the target of a redirect, a proxy. The
// origin is scheme and host. It returns the origin under which h is reached, another one on loopback.
func (s *Server) Handle(origin string, h http.Handler) string {
	s.mu.Lock()
	listening := s.listening
	s.mu.Unlock()
	if listening {
		origin = s.listen(h)
	}
	s.Change(func() { s.handlers[origin] = h })
	return origin
}

// listen serves h on a loopback port until the test ends.
func (s *Server) listen(h http.Handler) string {
	server := httptest.NewServer(h)
	s.Change(func() { s.servers = append(s.servers, server) })
	return server.URL
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := s.path(r.URL.Path)
	var serve func(http.ResponseWriter, *http.Request, *Request)
	id, isManaged := strings.CutPrefix(path, registerPath+"/")
	if isManaged {
		path = registerPath // where faults go by
	}
	switch path {
	case registerPath:
		serve = s.serveRegister
		if isManaged {
			serve = func(w http.ResponseWriter, r *http.Request, _ *Request) { s.serveRegistration(w, r, id) }
		}
	case "/authorize":
		serve = s.serveAuthorize
	case "/token":
		serve = s.serveToken
	case "/revoke":
		serve = s.serveRevoke
	case "/device_authorization":
		serve = s.serveDevice
	case "/jwks":
		serve = s.serveKeys
	case s.metadataPath(), openIDPath:
		serve = s.serveMetadata
	default:
		http.NotFound(w, r)
		return
	}
	entry := s.record(path, r, readAll(w, r))
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { serve(w, r, entry) })
	s.serve(path, &recorder{w, s, entry}, r, next)
}

func (s *Server) issuer() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Issuer
}

// path returns an address's path as Fail takes it: below the issuer, which may have a path of its own. It
// is empty for an address that is none of ours.
func (s *Server) path(of string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if strings.HasPrefix(of, oauthPath) {
		return of
	}
	below, ok := strings.CutPrefix(of, issuerPath(s.Issuer))
	if !ok {
		return ""
	}
	return below
}

func issuerPath(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	return strings.TrimSuffix(u.Path, "/")
}

// origin returns the scheme and host of an address.
func origin(u *url.URL) string { return u.Scheme + "://" + u.Host }

// handler returns what serves an address, or nil.
func (s *Server) handler(u *url.URL) http.Handler {
	s.mu.Lock()
	defer s.mu.Unlock()
	if own, err := url.Parse(s.Issuer); err == nil && origin(own) == origin(u) {
		return s
	}
	return s.handlers[origin(u)]
}

// sleep waits for d and reports whether the test still runs.
func (s *Server) sleep(d time.Duration) bool {
	if d <= 0 {
		return s.ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-s.ctx.Done():
		return false
	}
}

// run runs f in a goroutine that the end of the test waits for, unless it has come already.
func (s *Server) run(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Go(f)
	}
	return !s.closed
}

// maxBody is the length up to which a request to the Server is read.
const maxBody = 1 << 20

// readAll reads the whole body of a request, so that it can be read again. A body that ends early is a request
// that never arrived: the connection ends without an answer.
func readAll(w http.ResponseWriter, r *http.Request) []byte {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return body
}

// Format implements fmt.Formatter: a Server shows its issuer and nothing else under every verb.
func (s *Server) Format(f fmt.State, _ rune) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(f, "clienttest.Server(%s)", s.Issuer)
}

// Package loopback receives one authorization response in a native app, on a port of the loopback
// interface that is open only while a person logs in (RFC 8252 §7.3).
//
// # Use
//
// Listen opens the port, Listener.RedirectURL is what the authorization request must carry,
// Listener.Wait returns the response, Listener.Succeed or Listener.Fail says how the login went on, and
// Listener.Close ends everything. The person's browser waits meanwhile: it is shown the outcome, never
// a success that the save then undoes.
//
// # Security
//
// Any program on this machine, and any web page in the person's browser, can send requests to the
// port. A request counts only if it asks for exactly the redirect URL's path, at exactly its host (a
// name that was rebound to 127.0.0.1 does not do), and if the caller knows its parameters: the state.
// Everything else gets a page that says no, and changes nothing: a forged response cannot end a
// login. The browser is led away at once from the URL that holds the code (RFC 6749 §3.1.2.5), to a
// page that loads nothing, runs nothing and repeats nothing. Nothing is logged.
package loopback

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// defaultRedirectURL has an ephemeral port, so that each login has a redirect URL of its own
// (RFC 8252 §8.10).
const defaultRedirectURL = "http://127.0.0.1:0/callback"

const (
	maxConnections = 16
	maxRequest     = 64 << 10 // header or form: a code of any sane size, and the cookies of every local port
	patience       = 5 * time.Second
	// linger is how long Close waits for a browser that has brought the response to fetch the outcome.
	linger = 2 * time.Second
)

// Listener listens for one authorization response. It is safe for concurrent use.
type Listener struct {
	redirectURL string
	host        string // what the Host header must be
	path        string
	sockets     []net.Listener
	server      *http.Server

	ours     func(url.Values) bool // set by Wait, before anything is served
	response chan url.Values       // gets one
	broken   chan error            // why a socket stopped being served

	decided chan struct{} // closed once the outcome is set
	shown   chan struct{} // closed once a browser was shown the outcome

	mu       sync.Mutex
	accepted bool           // guarded by mu: a response was taken
	outcome  *page          // guarded by mu; immutable once decided is closed
	wasShown bool           // guarded by mu
	closed   bool           // guarded by mu
	serving  sync.WaitGroup // Add only with mu held and not closed
}

// Listen opens the port of redirectURL: http, on 127.0.0.1, [::1] or localhost (which is both), with
// an explicit port. Port 0 is an ephemeral one. An empty redirectURL is http://127.0.0.1:0/callback, or
// the same on [::1] where there is no IPv4. Browsers that come before Wait is called are kept waiting.
func Listen(redirectURL string) (*Listener, error) {
	if redirectURL != "" {
		return listen(redirectURL)
	}
	l, err := listen(defaultRedirectURL)
	if err == nil {
		return l, nil
	}
	l, err6 := listen(strings.Replace(defaultRedirectURL, "127.0.0.1", "[::1]", 1))
	if err6 != nil {
		return nil, errors.Join(err, err6)
	}
	return l, nil
}

func listen(redirectURL string) (*Listener, error) {
	u, err := check(redirectURL)
	if err != nil {
		return nil, err
	}
	sockets, err := open(u.Hostname(), u.Port())
	if err != nil {
		return nil, fmt.Errorf("loopback: the port of the redirect URL cannot be opened; end the program that uses it, or use port 0: %w", err)
	}
	_, port, _ := net.SplitHostPort(sockets[0].Addr().String())
	host := strings.TrimSuffix(u.Host, u.Port()) + port
	l := &Listener{
		redirectURL: strings.Replace(redirectURL, u.Host, host, 1),
		host:        strings.TrimSuffix(host, ":80"), // as browsers write it (RFC 9110 §7.2)
		path:        u.EscapedPath(),
		sockets:     sockets,
		response:    make(chan url.Values, 1),
		broken:      make(chan error, len(sockets)),
		decided:     make(chan struct{}),
		shown:       make(chan struct{}),
	}
	if l.path == "" {
		l.path = "/"
	}
	l.server = &http.Server{
		Handler:           http.HandlerFunc(l.serve),
		ReadHeaderTimeout: patience,
		MaxHeaderBytes:    maxRequest,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	l.server.SetKeepAlivesEnabled(false)
	return l, nil
}

// check parses a redirect URL. Its errors quote nothing: a URL that is wrong may hold anything.
func check(redirectURL string) (*url.URL, error) {
	u, err := url.Parse(redirectURL)
	wrong := ""
	switch {
	case err != nil:
		wrong = "cannot be parsed"
	case u.Scheme != "http":
		wrong = "is not http; a native app listens at http://127.0.0.1:0/callback or the like"
	case u.User != nil || strings.Contains(redirectURL, "#"):
		wrong = "holds credentials or a fragment (RFC 6749 §3.1.2)"
	case u.Hostname() != "127.0.0.1" && u.Hostname() != "::1" && !strings.EqualFold(u.Hostname(), "localhost"):
		wrong = "must be on 127.0.0.1, [::1] or localhost, to be received by a native app (RFC 8252 §7.3)"
	case u.Port() == "":
		wrong = "names no port; write port 0 for an ephemeral one"
	}
	if wrong != "" {
		return nil, errors.New("loopback: the redirect URL " + wrong)
	}
	return u, nil
}

// RedirectURL returns the redirect URL with the real port, byte for byte as the authorization request
// and the token request must carry it.
func (l *Listener) RedirectURL() string { return l.redirectURL }

// Wait returns the parameters of the first request to the redirect URL that ours accepts, or an error
// when ctx ends or the Listener is closed (http.ErrServerClosed). It is called once. ours is called concurrently; it compares
// the state in constant time.
func (l *Listener) Wait(ctx context.Context, ours func(url.Values) bool) (url.Values, error) {
	if err := l.start(ours); err != nil {
		return nil, err
	}
	select {
	case values := <-l.response:
		return values, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case err := <-l.broken:
		return nil, fmt.Errorf("loopback: the port is not listened on any more: %w", err)
	}
}

func (l *Listener) start(ours func(url.Values) bool) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return fmt.Errorf("loopback: the port is not listened on any more: %w", http.ErrServerClosed)
	}
	l.ours = ours
	slots := make(chan struct{}, maxConnections)
	for _, socket := range l.sockets {
		l.serving.Go(func() { l.broken <- l.server.Serve(&limited{socket, slots}) })
	}
	return nil
}

// Succeed shows the waiting browser that the login is done: the grant is saved.
func (l *Listener) Succeed() { l.decide(succeeded) }

// Fail shows the waiting browser that the login has failed. code is an error code of RFC 6749, or empty.
func (l *Listener) Fail(code string) { l.decide(failed(code)) }

// decide sets the outcome. The first one holds.
func (l *Listener) decide(outcome *page) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.outcome == nil {
		l.outcome = outcome
		close(l.decided)
	}
}

// Close ends everything. A browser that waits for the outcome is shown it, or that the login has ended;
// Close waits for that, two seconds at most.
func (l *Listener) Close() {
	l.decide(ended)
	l.mu.Lock()
	wait := l.accepted && !l.closed
	l.closed = true
	l.mu.Unlock()
	if wait {
		timer := time.NewTimer(linger)
		defer timer.Stop()
		select {
		case <-l.shown:
		case <-timer.C:
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), linger/8)
	defer cancel()
	_ = l.server.Shutdown(ctx) // lets a page that is being written get out
	_ = l.server.Close()
	for _, socket := range l.sockets {
		_ = socket.Close() // without Wait, the server does not know them
	}
	l.serving.Wait()
}

// open opens port on the loopback addresses of host.
func open(host, port string) ([]net.Listener, error) {
	if !strings.EqualFold(host, "localhost") {
		socket, err := net.Listen("tcp", net.JoinHostPort(host, port))
		if err != nil {
			return nil, err
		}
		return []net.Listener{socket}, nil
	}
	number, err := strconv.Atoi(port)
	for range 5 { // an ephemeral port of one address may be taken on the other
		var sockets []net.Listener
		if sockets, err = openBoth(port); err == nil || number != 0 {
			return sockets, err
		}
	}
	return nil, err
}

// openBoth opens one port on both loopback addresses, of which a browser takes either; one will do
// where the machine has only one.
func openBoth(port string) ([]net.Listener, error) {
	var sockets []net.Listener
	var errs []error
	for _, address := range []string{"127.0.0.1", "::1"} {
		socket, err := net.Listen("tcp", net.JoinHostPort(address, port))
		if err == nil {
			sockets = append(sockets, socket)
			_, port, _ = net.SplitHostPort(socket.Addr().String())
			continue
		}
		if errs = append(errs, err); exists(address) {
			// Somebody else has the port there, and would be sent the code.
			for _, socket := range sockets {
				_ = socket.Close()
			}
			return nil, err
		}
	}
	if len(sockets) == 0 {
		return nil, errors.Join(errs...)
	}
	return sockets, nil
}

// exists reports whether the machine has address.
func exists(address string) bool {
	probe, err := net.Listen("tcp", net.JoinHostPort(address, "0"))
	if err != nil {
		return false
	}
	_ = probe.Close()
	return true
}

// limited is a socket that accepts a connection only while there is a slot for it. It is unblocked
// by connections that end, which they all do within the server's patience or at its Close.
type limited struct {
	net.Listener
	slots chan struct{}
}

// Accept implements net.Listener.
func (l *limited) Accept() (net.Conn, error) {
	l.slots <- struct{}{}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.slots
		return nil, err
	}
	return &slotted{Conn: conn, release: sync.OnceFunc(func() { <-l.slots })}, nil
}

// slotted is a connection that gives its slot back.
type slotted struct {
	net.Conn
	release func()
}

// Close implements net.Conn.
func (c *slotted) Close() error {
	defer c.release()
	return c.Conn.Close()
}

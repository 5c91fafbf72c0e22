// Package tcpproxy puts a TCP proxy in front of a server, to lose what a network loses: the request, the answer, time.
package tcpproxy

import (
	"bytes"
	"errors"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Action is what happens to a request and its answer.
type Action int

// The actions. A cut is a reset of both connections.
const (
	CutRequest  Action = iota + 1 // nothing of the request reaches the server
	CutAnswer                     // the server has answered, nothing of it reaches the client
	HoldAnswer                    // the answer comes after Rule.Hold, or when Rule.Gate opens
	HoldRequest                   // the same of the request
	Drop                          // the request is swallowed and the connection stays open, silent
)

// Rule applies to one request: the next whose first bytes are Match.
type Rule struct {
	Match string // such as "POST /token "; empty: any. Of a TLS connection, only the empty Match knows anything
	Do    Action
	Hold  time.Duration // for HoldAnswer and HoldRequest
	Gate  *Gate         // instead of Hold; nil: Hold it is
}

// Gate holds requests or answers until it is opened, for a test that acts meanwhile. It is safe for concurrent use.
type Gate struct{ met, opened chan struct{} }

// NewGate makes a closed gate, for one rule.
func NewGate() *Gate { return &Gate{make(chan struct{}), make(chan struct{})} }

// Met is closed once something is held; an answer then means that the server has done its part.
func (g *Gate) Met() <-chan struct{} { return g.met }

// Open lets pass what is held, and what would be. It is called once.
func (g *Gate) Open() { close(g.opened) }

// Proxy forwards connections until its test ends. It is safe for concurrent use.
type Proxy struct {
	Address  string // where it listens, host:port
	target   atomic.Pointer[string]
	stopped  chan struct{}
	listener net.Listener
	running  sync.WaitGroup

	mu    sync.Mutex // guards what follows
	rules []Rule
	rest  func(start []byte) Rule // for what no rule matches; nil: the zero Rule
	links map[*link]bool
	ended bool
}

// Start starts a proxy on loopback; To says where it leads.
func Start(t testing.TB) *Proxy {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &Proxy{
		Address:  listener.Addr().String(),
		stopped:  make(chan struct{}),
		listener: listener,
		links:    map[*link]bool{},
	}
	p.running.Go(p.accept)
	t.Cleanup(p.stop)
	return p
}

// URL is the proxy's address for http.
func (p *Proxy) URL() string { return "http://" + p.Address }

// To directs new connections to address, host:port. Before the first To they are reset.
func (p *Proxy) To(address string) { p.target.Store(&address) }

// Next adds rules; each is used up by the first request that it matches, older rules first.
func (p *Proxy) Next(rules ...Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rules = append(p.rules, rules...)
}

// Otherwise has choose make the rule of each request that no rule of Next matches, from its first bytes; of a POST with a
// Content-Length, from all of it. Nil: such requests pass. choose is not called twice at a time and must not use the proxy.
func (p *Proxy) Otherwise(choose func(start []byte) Rule) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rest = choose
}

// Unused counts the rules that no request has met yet.
func (p *Proxy) Unused() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.rules)
}

// CutAll resets all connections that are open now.
func (p *Proxy) CutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.cut()
	}
}

func (p *Proxy) stop() {
	p.listener.Close()
	close(p.stopped)
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.CutAll()
	p.running.Wait()
}

func (p *Proxy) accept() {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil {
			p.running.Go(func() { p.serve(conn.(*net.TCPConn)) })
		}
	}
}

func (p *Proxy) serve(client *net.TCPConn) {
	l := &link{client: client, server: client} // until there is a server, this closes the client only
	if target := p.target.Load(); target != nil {
		if server, err := net.Dial("tcp", *target); err == nil {
			l.server = server.(*net.TCPConn)
		}
	}
	if l.server == client || !p.enter(l) {
		l.cut()
		return
	}
	defer p.leave(l)
	defer l.close()
	p.running.Go(func() { p.answers(l) })
	p.requests(l)
}

func (p *Proxy) enter(l *link) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.links[l] = true
	}
	return !p.ended
}

func (p *Proxy) leave(l *link) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.links, l)
}

// requests forwards what the client says, until either side ends.
func (p *Proxy) requests(l *link) {
	buf := make([]byte, 32<<10)
	for silent := false; ; {
		n, err := readRequest(l.client, buf)
		if n > 0 && !silent {
			rule := p.take(buf[:n])
			switch rule.Do {
			case CutRequest:
				l.cut()
				return
			case Drop:
				silent = true
				continue
			case HoldRequest:
				p.hold(rule)
			case CutAnswer, HoldAnswer:
				l.rule.Store(&rule)
			}
			if _, err := l.server.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

var contentLength = regexp.MustCompile(`(?i)\r\ncontent-length: *(\d+)\r\n`)

// readRequest reads what there is; of a POST with a Content-Length, all of it that fits, however it was cut into packets.
func readRequest(r io.Reader, buf []byte) (n int, err error) {
	for err == nil && (n == 0 || n < len(buf) && isPart(buf[:n])) {
		var more int
		more, err = r.Read(buf[n:])
		n += more
	}
	return n, err
}

func isPart(request []byte) bool {
	if !bytes.HasPrefix(request, []byte("POST ")) {
		return false
	}
	head, body, whole := bytes.Cut(request, []byte("\r\n\r\n"))
	length := contentLength.FindSubmatch(append(head[:len(head):len(head)], "\r\n"...))
	if !whole || length == nil {
		return !whole
	}
	n, err := strconv.Atoi(string(length[1]))
	return err == nil && len(body) < n
}

// answers forwards what the server says, until either side ends.
func (p *Proxy) answers(l *link) {
	defer l.close() // wakes requests
	buf := make([]byte, 32<<10)
	for {
		n, err := l.server.Read(buf)
		if rule := l.rule.Swap(nil); rule != nil && n > 0 {
			if rule.Do == CutAnswer {
				l.cut()
				return
			}
			p.hold(*rule)
		}
		if _, werr := l.client.Write(buf[:n]); werr != nil || err != nil {
			return
		}
	}
}

// hold waits as the rule says, or until the proxy ends.
func (p *Proxy) hold(rule Rule) {
	var over <-chan time.Time
	var opened <-chan struct{}
	if g := rule.Gate; g != nil {
		close(g.met)
		opened = g.opened
	} else {
		over = time.After(rule.Hold)
	}
	select {
	case <-over:
	case <-opened:
	case <-p.stopped:
	}
}

// take removes and returns the rule for a request that starts like this. The zero Rule lets it pass.
func (p *Proxy) take(start []byte) Rule {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, rule := range p.rules {
		if bytes.HasPrefix(start, []byte(rule.Match)) {
			p.rules = slices.Delete(p.rules, i, i+1)
			return rule
		}
	}
	if p.rest != nil {
		return p.rest(start)
	}
	return Rule{}
}

// link is one client's connection and the one made for it.
type link struct {
	client, server *net.TCPConn
	rule           atomic.Pointer[Rule] // what happens to the next answer; nil: nothing
}

// close ends both connections in order. It, and cut, do nothing to what has ended.
func (l *link) close() {
	_ = l.client.Close()
	_ = l.server.Close()
}

// cut resets both connections.
func (l *link) cut() {
	_ = l.client.SetLinger(0)
	_ = l.server.SetLinger(0)
	l.close()
}

package transport

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
)

// loan is a request's body over up to two sends. It sees to it that the caller's body is closed once.
type loan struct {
	getBody func() (io.ReadCloser, error)
	lent    *lentBody // nil: there is no body, or the request can make another
	given   io.ReadCloser
}

// newLoan takes charge of req's body.
func newLoan(req *http.Request) loan {
	b := loan{given: req.Body}
	switch {
	case req.Body == nil || req.Body == http.NoBody:
	case req.GetBody != nil:
		b.getBody = req.GetBody
	default:
		b.lent = &lentBody{body: req.Body}
	}
	return b
}

// first is the body of the first send.
func (b *loan) first() io.ReadCloser {
	if b.lent != nil {
		return b.lent
	}
	return b.given
}

// again is the body of the second send: another one, or the first if nobody has read from it.
func (b *loan) again() (io.ReadCloser, bool) {
	switch {
	case b.getBody != nil:
		fresh, err := b.getBody()
		return fresh, err == nil
	case b.lent != nil:
		if !b.lent.recall() {
			return nil, false
		}
		b.lent = &lentBody{body: b.lent.body}
		return b.lent, true
	}
	return b.given, true
}

// release ends the charge: a lent body is closed when its borrower closes it, or now if he has.
func (b *loan) release() {
	if b.lent != nil {
		b.lent.release()
	}
}

// lentBody lends a body that cannot be rewound to one send. Closing is put off until the body is known
// not to be needed again.
type lentBody struct {
	body io.ReadCloser

	mu       sync.Mutex
	read     bool // guarded by mu
	recalled bool // guarded by mu
	returned bool // the borrower has closed it; guarded by mu
	released bool // its closing ends it; guarded by mu
	closed   bool // guarded by mu
}

var errRecalled = errors.New("transport: the body is used by another attempt")

// Read implements io.Reader.
func (l *lentBody) Read(p []byte) (int, error) {
	l.mu.Lock()
	if l.recalled || l.returned {
		l.mu.Unlock()
		return 0, errRecalled
	}
	l.read = true
	l.mu.Unlock()
	return l.body.Read(p)
}

// Close implements io.Closer.
func (l *lentBody) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.returned = true
	return l.closeLocked()
}

// recall takes the body back if it is unread. A borrower that still holds it gets nothing more.
func (l *lentBody) recall() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.read {
		return false
	}
	l.recalled = true
	return true
}

func (l *lentBody) release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = true
	_ = l.closeLocked()
}

func (l *lentBody) closeLocked() error {
	if !l.returned || !l.released || l.recalled || l.closed {
		return nil
	}
	l.closed = true
	return l.body.Close()
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// peekedBody is a response's body as Transport.Rejected sees it: bounded, and remembered.
type peekedBody struct {
	io.ReadCloser
	seen bytes.Buffer
}

// Read implements io.Reader.
func (b *peekedBody) Read(p []byte) (int, error) {
	left := maxPeek - b.seen.Len()
	if left <= 0 {
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), left)])
	b.seen.Write(p[:n])
	return n, err
}

// Close implements io.Closer: looking at a body does not end it.
func (b *peekedBody) Close() error { return nil }

// restored is the whole body again.
func (b *peekedBody) restored() io.ReadCloser {
	if b.seen.Len() == 0 {
		return b.ReadCloser
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(&b.seen, b.ReadCloser), b.ReadCloser}
}

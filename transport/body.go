package transport

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync"
)

// loan is a request's body over all its sends. It sees to it that the caller's body is closed once.
type loan struct {
	getBody func() (io.ReadCloser, error)
	lent    *lentBody // nil: there is no body, or the request can make another
	given   io.ReadCloser
}

// newLoan takes charge of req's body.
func newLoan(req *http.Request) loan {
	l := loan{given: req.Body}
	switch {
	case req.Body == nil || req.Body == http.NoBody:
	case req.GetBody != nil:
		l.getBody = req.GetBody
	default:
		l.lent = newLentBody(req.Body)
	}
	return l
}

// first is the body of the first send.
func (l *loan) first() io.ReadCloser {
	if l.lent != nil {
		return l.lent
	}
	return l.given
}

// hold keeps the first send from touching a body that it has not read from, until again or release.
func (l *loan) hold() {
	if l.lent != nil {
		l.lent.hold()
	}
}

// again is the body of a further send: another one, or the first if nobody has read from it.
func (l *loan) again() (io.ReadCloser, bool) {
	switch {
	case l.getBody != nil:
		fresh, err := l.getBody()
		return fresh, err == nil
	case l.lent != nil:
		if !l.lent.recall() {
			return nil, false
		}
		l.lent = newLentBody(l.given)
		return l.lent, true
	}
	return l.given, true
}

// release says that there will be no further send.
func (l *loan) release() {
	if l.lent != nil {
		l.lent.release()
	}
}

// lentBody lends a body that cannot be made anew to one send. While it is unread and might be needed
// for another send, closing it is put off.
type lentBody struct {
	body io.ReadCloser

	mu       sync.Mutex
	settled  sync.Cond // signals that state or returned has changed
	state    lentState // guarded by mu
	read     bool      // the borrower has begun to read; guarded by mu
	returned bool      // the borrower has closed it; guarded by mu
	closed   bool      // body is closed, or about to be; guarded by mu
}

type lentState int

const (
	lent     lentState = iota
	held               // unread, and reads wait
	recalled           // unread, and given to another send: reads fail
	released           // the borrower's alone
)

// errRecalled reaches nobody but a Base that goes on with a send whose answer is thrown away.
var errRecalled = errors.New("transport: the body has been taken back for another send")

func newLentBody(body io.ReadCloser) *lentBody {
	b := &lentBody{body: body}
	b.settled.L = &b.mu
	return b
}

// Read implements io.Reader.
func (b *lentBody) Read(p []byte) (int, error) {
	if err := b.beginRead(); err != nil {
		return 0, err
	}
	return b.body.Read(p)
}

func (b *lentBody) beginRead() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for b.state == held && !b.returned {
		b.settled.Wait()
	}
	if b.returned {
		return http.ErrBodyReadAfterClose
	}
	if b.state == recalled {
		return errRecalled
	}
	b.read = true
	return nil
}

// Close implements io.Closer.
func (b *lentBody) Close() error {
	b.mu.Lock()
	b.returned = true
	closing := b.takeClosingLocked()
	b.mu.Unlock()
	b.settled.Broadcast()
	if !closing {
		return nil
	}
	return b.body.Close()
}

// hold makes reads wait if none has begun.
func (b *lentBody) hold() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.read {
		b.state = held
	}
}

// recall takes the body back if it is unread.
func (b *lentBody) recall() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.read {
		return false
	}
	b.state = recalled
	b.settled.Broadcast()
	return true
}

// release leaves the body to its borrower, and closes it if he has done so already.
func (b *lentBody) release() {
	b.mu.Lock()
	b.state = released
	closing := b.takeClosingLocked()
	b.mu.Unlock()
	b.settled.Broadcast()
	if closing {
		_ = b.body.Close()
	}
}

// takeClosingLocked reports whether body is to be closed now, by whoever asks. A body that was read
// from is closed at once: a Base may count on it to end a read that hangs.
func (b *lentBody) takeClosingLocked() bool {
	if b.closed || !b.returned || !(b.read || b.state == released) {
		return false
	}
	b.closed = true
	return true
}

// closeBody closes the body of a request that is not sent.
func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

// peekedBody is a response's body as Transport.Rejected sees it: bounded, and remembered.
type peekedBody struct {
	io.ReadCloser
	seen bytes.Buffer
	err  error // what ended the body while it was looked at, if anything did
}

// Read implements io.Reader.
func (b *peekedBody) Read(p []byte) (int, error) {
	left := maxPeek - b.seen.Len()
	if left <= 0 || b.err != nil {
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), left)])
	b.seen.Write(p[:n])
	b.err = err
	return n, err
}

// Close implements io.Closer: looking at a body does not end it.
func (b *peekedBody) Close() error { return nil }

// restored is the whole body again, and the original one if nobody has looked.
func (b *peekedBody) restored() io.ReadCloser {
	if b.seen.Len() == 0 && b.err == nil {
		return b.ReadCloser
	}
	rest := io.Reader(b.ReadCloser)
	if b.err != nil {
		rest = endedReader{b.err}
	}
	return struct {
		io.Reader
		io.Closer
	}{io.MultiReader(&b.seen, rest), b.ReadCloser}
}

// endedReader repeats how a body ended.
type endedReader struct{ err error }

func (r endedReader) Read([]byte) (int, error) { return 0, r.err }

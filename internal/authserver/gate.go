package authserver

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
)

// errSealed stops a transport that begins to write after the caller has been told that nothing left.
var errSealed = errors.New("the request is over")

// A gate stands before the form of one request and remembers whether anything of it went through.
type gate struct {
	ask   func() error // may be nil
	state atomic.Int32 // one of the states below; it only moves forward
}

const (
	untouched int32 = iota // nothing has left
	written                // something may have left
	sealed                 // nothing leaves any more
)

// pass asks whether the form may leave.
func (g *gate) pass() error {
	if g.ask != nil {
		if err := g.ask(); err != nil {
			return err
		}
	}
	if g.state.CompareAndSwap(untouched, written) || g.state.Load() == written {
		return nil
	}
	return errSealed
}

// seal closes the gate for good and reports whether anything went through. A transport may go on with
// the body after it has returned (see http.RoundTripper), so asking alone would be a race.
func (g *gate) seal() (wasWritten bool) { return g.state.Swap(sealed) == written }

// body is a request body of form behind the gate.
func (g *gate) body(form string) io.ReadCloser {
	return &gatedBody{Reader: strings.NewReader(form), gate: g}
}

// gatedBody passes its gate before its first byte, which is when the connection is ready.
type gatedBody struct {
	io.Reader
	gate   *gate
	passed bool
}

// Read implements io.Reader.
func (b *gatedBody) Read(p []byte) (int, error) {
	if !b.passed {
		if err := b.gate.pass(); err != nil {
			return 0, err
		}
		b.passed = true
	}
	return b.Reader.Read(p)
}

// Close implements io.Closer.
func (b *gatedBody) Close() error { return nil }

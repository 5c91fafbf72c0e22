package transport_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/transport"
)

// How a request's body fares on every path (I8).
func TestBodies(t *testing.T) {
	type path struct {
		name    string
		tr      func(*testing.T) *transport.Transport
		ignores int // sends whose body the base closes unread
		fails   bool
		// bodies that arrive, by whether the request rewinds
		rewinding, streaming []string
		renewals             int
	}
	rejecting := func(sends ...*http.Response) func(*testing.T) *transport.Transport {
		return func(*testing.T) *transport.Transport {
			fresh := []*http.Response{}
			for _, resp := range sends {
				fresh = append(fresh, answer(resp.StatusCode, "", resp.Header["Www-Authenticate"]...))
			}
			return &transport.Transport{Source: &rotation{}, Base: &base{answers: fresh}}
		}
	}
	renewing := func(token *oauth2.Token, err error) func(*testing.T) *transport.Transport {
		return func(t *testing.T) *transport.Transport {
			s := source{t: t, renew: func(context.Context, *oauth2.Token) (*oauth2.Token, error) { return token, err }}
			return &transport.Transport{Source: s, Base: &base{answers: []*http.Response{answer(401, "")}}}
		}
	}
	ok, no := answer(200, ""), answer(401, "")
	const c = "content"
	tests := []path{
		{name: "accepted", tr: rejecting(ok), rewinding: []string{c}, streaming: []string{c}},
		{name: "accepted unread", tr: rejecting(ok), ignores: 1, rewinding: []string{""}, streaming: []string{""}},
		{name: "rejected", tr: rejecting(no, ok), rewinding: []string{c, c}, streaming: []string{c}, renewals: 1},
		{name: "rejected unread", tr: rejecting(no, ok), ignores: 1, rewinding: []string{"", c}, streaming: []string{"", c}, renewals: 1},
		{name: "rejected twice", tr: rejecting(no, no), rewinding: []string{c, c}, streaming: []string{c}, renewals: 1},
		{name: "rejected twice unread", tr: rejecting(no, no), ignores: 2, rewinding: []string{"", ""}, streaming: []string{"", ""}, renewals: 1},
		{name: "step-up", tr: rejecting(answer(401, "", `Bearer error="insufficient_scope"`)), rewinding: []string{c}, streaming: []string{c}},
		{name: "renewal fails", tr: renewing(nil, errOutage), fails: true, rewinding: []string{c}, streaming: []string{c}},
		{name: "renewal fails unread", tr: renewing(nil, errOutage), ignores: 1, fails: true, rewinding: []string{""}, streaming: []string{""}},
		{name: "renewal cancelled", tr: renewing(nil, context.Canceled), fails: true, rewinding: []string{c}, streaming: []string{c}},
		{name: "no other token", tr: renewing(nil, transport.ErrRejected), rewinding: []string{c}, streaming: []string{c}},
		{name: "no other token unread", tr: renewing(nil, transport.ErrRejected), ignores: 1, rewinding: []string{""}, streaming: []string{""}},
		{name: "token of another type", tr: renewing(&oauth2.Token{AccessToken: "x", TokenType: "mac"}, nil), ignores: 1, fails: true, rewinding: []string{""}, streaming: []string{""}},
		{name: "token fails", fails: true, tr: func(t *testing.T) *transport.Transport {
			s := source{t: t, token: func(context.Context) (*oauth2.Token, error) { return nil, errOutage }}
			return &transport.Transport{Source: s, Base: &base{}}
		}},
		{name: "token cannot be sent", fails: true, tr: func(t *testing.T) *transport.Transport {
			s := source{t: t, token: func(context.Context) (*oauth2.Token, error) { return nil, nil }}
			return &transport.Transport{Source: s, Base: &base{}}
		}},
		{name: "without token", rewinding: []string{c}, streaming: []string{c}, tr: func(t *testing.T) *transport.Transport {
			return &transport.Transport{Source: source{t: t}, Base: &base{answers: []*http.Response{answer(200, "")}}, Origins: []string{}}
		}},
	}
	for _, tt := range tests {
		for _, rewinds := range []bool{true, false} {
			t.Run(tt.name+map[bool]string{true: "/rewinding", false: "/streaming"}[rewinds], func(t *testing.T) {
				tr := tt.tr(t)
				b := tr.Base.(*base)
				b.ignoresBody = tt.ignores
				req, first, copies := post(t, c, rewinds)
				resp, err := tr.RoundTrip(req)
				if tt.fails {
					require.Error(t, err)
				} else {
					require.NoError(t, err)
					require.Same(t, b.answers[len(b.sent)-1], resp)
				}
				var arrived []string
				for _, s := range b.sent {
					arrived = append(arrived, s.body)
				}
				require.Equal(t, map[bool][]string{true: tt.rewinding, false: tt.streaming}[rewinds], arrived)
				if s, ok := tr.Source.(*rotation); ok {
					require.Len(t, s.renewals(), tt.renewals)
				}
				first.requireClosedOnce(t)
				for _, again := range *copies {
					again.requireClosedOnce(t)
				}
				if rewinds {
					require.Len(t, *copies, max(0, len(arrived)-1))
				}
			})
		}
	}
}

func TestBodyAndBaseError(t *testing.T) {
	broken := errors.New("connection reset")
	for _, failing := range []int{1, 2} {
		for _, reads := range []bool{true, false} {
			req, body, _ := post(t, "content", false)
			sends := 0
			tr := &transport.Transport{Source: &rotation{}, Base: roundTripper(func(sent *http.Request) (*http.Response, error) {
				sends++
				if reads && sends == failing {
					_, _ = sent.Body.Read(make([]byte, 3))
				}
				_ = sent.Body.Close()
				if sends == failing {
					return nil, broken
				}
				return answer(401, ""), nil
			})}
			_, err := tr.RoundTrip(req)
			require.ErrorIs(t, err, broken)
			require.Equal(t, failing, sends)
			body.requireClosedOnce(t)
		}
	}
}

// Without another body the caller gets the rejection, and the next request has a good token.
func TestGetBodyFails(t *testing.T) {
	first := answer(401, "first")
	b := &base{answers: []*http.Response{first, answer(200, "")}}
	s := &rotation{}
	tr := &transport.Transport{Source: s, Base: b}
	req, body, _ := post(t, "content", false)
	req.GetBody = func() (io.ReadCloser, error) { return nil, errors.New("the file is gone") }
	resp, err := tr.RoundTrip(req)
	require.NoError(t, err)
	require.Same(t, first, resp)
	require.Equal(t, "first", read(t, resp))
	body.requireClosedOnce(t)

	_, err = tr.RoundTrip(get(t, api))
	require.NoError(t, err)
	require.Equal(t, []string{"Bearer token-1", "Bearer token-2"}, b.tokens())
}

func TestNoBody(t *testing.T) {
	for name, body := range map[string]io.ReadCloser{"nil": nil, "NoBody": http.NoBody} {
		t.Run(name, func(t *testing.T) {
			req := get(t, api)
			req.Body = body
			b := &base{answers: []*http.Response{answer(401, ""), answer(200, "")}}
			_, err := (&transport.Transport{Source: &rotation{}, Base: b}).RoundTrip(req)
			require.NoError(t, err)
			require.Len(t, b.sent, 2)
			for _, s := range b.sent {
				require.Equal(t, body, s.request.Body)
			}
		})
	}
}

// An answer that nobody gets is read for the sake of its connection, but not for ever.
func TestDrainIsBounded(t *testing.T) {
	const limit = 64 << 10
	for name, tt := range map[string]struct{ size, announced, drained int64 }{
		"small":                {100, 100, 100},
		"at the limit":         {limit, limit, limit},
		"large":                {10 * limit, 10 * limit, 0},
		"large, not announced": {10 * limit, -1, limit},
	} {
		t.Run(name, func(t *testing.T) {
			first := answer(401, string(make([]byte, tt.size)))
			first.ContentLength = tt.announced
			b := &base{answers: []*http.Response{first, answer(200, "")}}
			_, err := (&transport.Transport{Source: &rotation{}, Base: b}).RoundTrip(get(t, api))
			require.NoError(t, err)
			bodyOf(first).requireClosedOnce(t)
			require.Equal(t, tt.drained, tt.size-int64(bodyOf(first).content.Len()))
		})
	}
}

// Nor does a request whose next token is there wait for the rest of such an answer.
func TestDrainIsBoundedInTime(t *testing.T) {
	for name, tt := range map[string]struct {
		announced int64
		every     time.Duration // comes another byte; 0: none does
		bytes     int
		want      time.Duration
	}{
		"nothing comes":          {-1, 0, 0, time.Second},
		"what is announced":      {10, 0, 0, time.Second},
		"a byte now and then":    {-1, 300 * time.Millisecond, 1000, time.Second},
		"it is there in time":    {-1, 300 * time.Millisecond, 3, 900 * time.Millisecond},
		"too long to be awaited": {1 << 20, 0, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				body, rest := io.Pipe()
				var writer sync.WaitGroup
				defer writer.Wait()
				writer.Go(func() {
					if tt.every == 0 {
						return
					}
					for range tt.bytes {
						time.Sleep(tt.every)
						if _, err := rest.Write([]byte("x")); err != nil {
							return
						}
					}
					_ = rest.Close()
				})
				first := answer(401, "")
				first.Body, first.ContentLength = body, tt.announced
				b := &base{answers: []*http.Response{first, answer(200, "")}}
				began := time.Now()
				resp, err := (&transport.Transport{Source: &rotation{}, Base: b}).RoundTrip(get(t, api))
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, resp.StatusCode)
				require.Equal(t, tt.want, time.Since(began))
				_, err = rest.Write([]byte("x"))
				require.ErrorIs(t, err, io.ErrClosedPipe, "it is closed")
			})
		})
	}
}

// slow is a Base that answers the first request with a 401 after a second, goes on with its body in the
// background, and says at the end of it what it read. It gives the second one its whole time.
type slow struct {
	sends     int
	readAfter time.Duration // from the first send on
	read      string
	err       error
	finished  chan struct{}
}

func (s *slow) RoundTrip(req *http.Request) (*http.Response, error) {
	s.sends++
	if s.sends > 1 {
		all, err := io.ReadAll(req.Body)
		_ = req.Body.Close()
		return answer(200, string(all)), err
	}
	go func() {
		defer close(s.finished)
		time.Sleep(s.readAfter)
		all, err := io.ReadAll(req.Body)
		s.read, s.err = string(all), err
		time.Sleep(time.Minute)
		_ = req.Body.Close()
	}()
	time.Sleep(time.Second)
	return answer(401, "first"), nil
}

// A Base may return before it is done with the body. The renewal takes ten seconds here.
func TestBodyOutlivesAnswer(t *testing.T) {
	const content = "content"
	tests := []struct {
		name      string
		readAfter time.Duration
		renewed   error
		want      string // body of the caller's answer
		read      string // by the first send
		fails     bool   // the first send's reading
	}{
		{name: "read before the answer", readAfter: 0, want: "first", read: content},
		{name: "read during the renewal", readAfter: 5 * time.Second, want: content, fails: true},
		{name: "read after the second send", readAfter: 20 * time.Second, want: content, fails: true},
		{name: "read during a renewal in vain", readAfter: 5 * time.Second, renewed: transport.ErrRejected, want: "first", read: content},
		{name: "read after a renewal in vain", readAfter: 20 * time.Second, renewed: transport.ErrRejected, want: "first", read: content},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := source{t: t, renew: func(context.Context, *oauth2.Token) (*oauth2.Token, error) {
					time.Sleep(10 * time.Second)
					return &oauth2.Token{AccessToken: "second"}, tt.renewed
				}}
				b := &slow{readAfter: tt.readAfter, finished: make(chan struct{})}
				req, body, _ := post(t, content, false)
				resp, err := (&transport.Transport{Source: s, Base: b}).RoundTrip(req)
				require.NoError(t, err)
				require.Equal(t, tt.want, read(t, resp))
				if tt.want == "first" {
					require.Zero(t, body.closings(), "closed before Base was done")
				}
				<-b.finished
				require.Equal(t, tt.read, b.read)
				require.Equal(t, tt.fails, b.err != nil)
				body.requireClosedOnce(t)
			})
		})
	}
}

// A Base may close a body to end a read that hangs, and wait for that.
func TestClosingEndsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pipe, w := io.Pipe()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, api, pipe)
		require.NoError(t, err)
		givesUp := roundTripper(func(req *http.Request) (*http.Response, error) {
			done := make(chan struct{})
			go func() { _, _ = req.Body.Read(make([]byte, 1)); close(done) }()
			synctest.Wait()
			_ = req.Body.Close()
			<-done
			return nil, errOutage
		})
		_, err = (&transport.Transport{Source: source{t: t}, Base: givesUp}).RoundTrip(req)
		require.ErrorIs(t, err, errOutage)
		_, err = w.Write([]byte("x"))
		require.ErrorIs(t, err, io.ErrClosedPipe)
	})
}

// A read that waits for the outcome of a renewal ends when its own Base closes the body.
func TestClosingEndsHeldRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var held io.ReadCloser
		s := source{t: t, renew: func(context.Context, *oauth2.Token) (*oauth2.Token, error) {
			done := make(chan error)
			go func() { _, err := held.Read(make([]byte, 1)); done <- err }()
			synctest.Wait()
			_ = held.Close()
			require.ErrorIs(t, <-done, http.ErrBodyReadAfterClose)
			return nil, errOutage
		}}
		req, body, _ := post(t, "content", false)
		_, err := (&transport.Transport{Source: s, Base: roundTripper(func(req *http.Request) (*http.Response, error) {
			held = req.Body
			return answer(401, ""), nil
		})}).RoundTrip(req)
		require.ErrorIs(t, err, errOutage)
		require.Zero(t, body.reads)
		body.requireClosedOnce(t)
	})
}

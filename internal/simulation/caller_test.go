package simulation

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/oauth2"
)

// caller is one call of the resource server, or for a token.
type caller struct {
	id       string
	process  *process
	kind     string // get, post, away, token, renew
	resource string
	cancel   context.CancelFunc
	ctx      context.Context
	atOnce   bool // must not wait: the process has a usable token (I5)
	served   bool // there is a token for it, and it is to end
	body     *countedBody

	mu     sync.Mutex
	done   bool          // guarded by mu
	token  *oauth2.Token // guarded by mu
	status int           // guarded by mu
	err    error         // guarded by mu

	judged bool // the judge's
}

func (c *caller) isDone() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.done }

func (w *world) waiting() []*caller {
	var all []*caller
	for _, c := range w.callers {
		if !c.isDone() {
			all = append(all, c)
		}
	}
	return all
}

// callSome has one or several processes call, once or several times.
func (w *world) callSome(living []*process) {
	some := living
	if w.chance.IntN(2) == 0 {
		some = some[w.chance.IntN(len(some)):][:1]
	}
	for _, p := range some {
		for range one(w.chance, 1, 1, 2, 4) {
			resource := ""
			if w.has("resources") && w.chance.IntN(2) == 0 {
				resource = "https://files.test"
			}
			w.call(p, one(w.chance, "get", "get", "post", "away", "token"), resource)
		}
	}
}

// call begins a call.
func (w *world) call(p *process, kind, resource string) *caller {
	w.tick()
	c := &caller{id: strconv.Itoa(len(w.callers) + 1), process: p, kind: kind, resource: resource}
	limit := 15 * time.Minute
	if !w.calm && w.has("cancel") {
		limit = one(w.chance, 10*time.Millisecond, time.Second, limit)
	}
	c.ctx, c.cancel = context.WithTimeout(context.Background(), limit)
	c.atOnce = w.judge.hasUsable(p, resource) && (kind == "token" || kind == "get")
	w.callers = append(w.callers, c)
	w.note("%s: call %s begins: %s %s", p.name, c.id, kind, resource)
	go func() {
		defer c.cancel()
		token, status, err := w.perform(c)
		c.mu.Lock()
		defer c.mu.Unlock()
		c.done, c.token, c.status, c.err = true, token, status, err
	}()
	w.rest()
	w.judge.begun(c)
	return c
}

// countedBody counts how often it is closed.
type countedBody struct {
	io.Reader
	mu     sync.Mutex
	closed int // guarded by mu
}

func (b *countedBody) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed++
	return nil
}

func (w *world) perform(c *caller) (*oauth2.Token, int, error) {
	s := c.process.alice.Resource(c.resource)
	switch c.kind {
	case "token":
		token, err := s.Token(c.ctx)
		return token, 0, err
	case "renew":
		token, err := s.Renew(c.ctx, nil)
		return token, 0, err
	}
	host, method := "https://api.test", http.MethodGet
	if c.resource != "" {
		host = c.resource
	}
	if c.kind == "away" {
		host += "/away"
	}
	var body io.Reader
	if c.kind == "post" {
		c.body = &countedBody{Reader: strings.NewReader("body of " + c.id)}
		method, body = http.MethodPost, c.body
	}
	req, err := http.NewRequestWithContext(c.ctx, method, host, body)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set(callHeader, c.id)
	hc := s.Wrap(&http.Client{Transport: c.process})
	if c.kind == "post" { // the RoundTripper alone: http.Client closes bodies of its own
		resp, err := hc.Transport.RoundTrip(req)
		return nil, drained(resp), err
	}
	resp, err := hc.Do(req)
	return nil, drained(resp), err
}

func drained(resp *http.Response) int {
	if resp == nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode
}

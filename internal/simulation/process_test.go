package simulation

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/machine"
	"github.com/evergrant/evergrant/tokenstore"
)

var (
	errDead  = errors.New("the process has died")
	errStore = errors.New("the store fails")
)

// process is one program that runs, from its start to its end: a Client with its own way to the store and to the
// servers, and its own clocks. It is its store's tokenstore.Store and its servers' http.RoundTripper.
type process struct {
	world  *world
	name   string
	number int
	client *client.Client
	alice  *client.Session
	wire   http.RoundTripper
	dead   chan struct{} // closed when it is killed or has ended
	owner  string        // how its leases name it; "" before the first. Only the scheduler's turn changes it

	stopped bool // by SIGSTOP or by sleep; only the scheduler's own goroutine uses it
	closing bool // the same
	overrun bool // somebody has taken its lease over while it lived
	diedAt  time.Time
	loaded  tokenstore.Version // what it last saw in the store. Only the scheduler's turn changes it

	mu         sync.Mutex
	wall, mono time.Duration        // that the clocks are off; guarded by mu
	draws      uint64               // guarded by mu
	holds      map[string]bool      // liveness locks; guarded by mu
	gaveUp     map[string]time.Time // when a liveness lock was given up; guarded by mu

	seen knowledge // what the process has been told; the judge's
}

func (p *process) Machine() machine.Machine { return p }

// Now implements machine.Machine.
func (p *process) Now() machine.Reading {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := machine.Real{}.Now()
	return machine.Reading{Wall: now.Wall.Add(p.wall), Mono: now.Mono + p.mono}
}

// Uint64 implements machine.Machine: chance that depends on the seed and the process alone.
func (p *process) Uint64() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.draws++
	return mix(mix(p.world.seed)+uint64(p.number)<<32) ^ mix(p.draws)
}

// mix scatters x (the finalizer of splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func (p *process) jump(wall, mono time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wall += wall
	p.mono += mono
}

func (p *process) isDead() bool {
	select {
	case <-p.dead:
		return true
	default:
		return false
	}
}

// Load implements tokenstore.Store.
func (p *process) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	f, err := p.world.await(ctx, p, "load", "")
	if err == nil && f != "" {
		err = errStore
	}
	if err != nil {
		if !errors.Is(err, context.Canceled) {
			p.world.judge.failedLoad(p)
		}
		return nil, "", err
	}
	value, version, err := p.world.store.Load(context.Background(), key)
	p.loaded = version
	p.world.judge.loaded(p)
	return value, version, err
}

// Swap implements tokenstore.Store.
func (p *process) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	f, err := p.world.await(ctx, p, "swap", describe(value))
	if err == nil && f == "before" {
		err = errStore
	}
	if err != nil {
		p.world.judge.refusedSwap(p, value)
		return "", err
	}
	before, _, _ := p.world.store.Load(context.Background(), key)
	version, err := p.world.store.Swap(context.Background(), key, old, value)
	if err == nil {
		p.world.judge.swapped(p, before, value)
	}
	if err == nil && f == "after" {
		p.world.judge.refusedSwap(p, value)
		return "", errStore
	}
	return version, err
}

// local is a process whose store tells living holders of leases from dead ones.
type local struct{ *process }

func (l local) Hold(_ context.Context, name string) (func(), error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.holds[name] = true
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.holds, name)
		l.gaveUp[name] = time.Now()
	}, nil
}

func (l local) Held(_ context.Context, name string) (bool, error) {
	for _, p := range l.world.everybody() {
		if !p.isDead() && p.isHolding(name) {
			return true, nil
		}
	}
	return false, nil
}

// goneSince is when a process was last known to hold a lease: when it died, or gave its liveness lock up. A
// process that does is not gone.
func (p *process) goneSince(attempt string) (at time.Time, gone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at, gone = p.gaveUp[attempt]; !gone && p.isDead() {
		at, gone = p.diedAt, true
	}
	return at, gone
}

func (p *process) isHolding(name string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.holds[name]
}

// waiting is a process whose store tells of changes.
type waiting struct{ *process }

func (w waiting) Wait(ctx context.Context, key string, not tokenstore.Version) error {
	return w.world.store.Wait(ctx, key, not)
}

// RoundTrip implements http.RoundTripper.
func (p *process) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host == authority {
		return p.ask(req)
	}
	return p.call(req)
}

// ask sends a request to the authorization server. Its answer waits once more before it arrives.
func (p *process) ask(req *http.Request) (*http.Response, error) {
	f, err := p.world.await(req.Context(), p, "send", req.URL.Path)
	if err == nil && f == "unreachable" {
		err = &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	if err != nil {
		closeBody(req)
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Header.Set(faultHeader, string(f))
	req.Header.Set(processHeader, p.name)
	request := fmt.Sprint(p.world.requests.Add(1))
	req.Header.Set(requestHeader, request)
	defer p.world.judge.over(request)
	resp, err := p.wire.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, cut := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if _, err := p.world.await(req.Context(), p, "answer", req.URL.Path); err != nil {
		return nil, err
	}
	p.world.judge.answered(p, request, resp, body, cut)
	resp.Body = io.NopCloser(io.MultiReader(bytes.NewReader(body), failing{cut}))
	return resp, nil
}

// failing ends a body as it ended on the wire.
type failing struct{ err error }

func (f failing) Read([]byte) (int, error) {
	if f.err == nil {
		return 0, io.EOF
	}
	return 0, f.err
}

// call sends a request to a resource server, or wherever a redirect leads.
func (p *process) call(req *http.Request) (*http.Response, error) {
	better := p.world.judge.hasBetter(p, req) // now: others may come by a token before the request leaves
	f, err := p.world.await(req.Context(), p, "call", req.Header.Get(callHeader))
	if err == nil && f != "" {
		err = &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	if err != nil {
		closeBody(req)
		return nil, err
	}
	p.world.judge.called(p, req, better)
	resp, err := p.wire.RoundTrip(req)
	if err == nil {
		p.world.judge.served(p, req, resp)
	}
	return resp, err
}

func closeBody(req *http.Request) {
	if req.Body != nil {
		_ = req.Body.Close()
	}
}

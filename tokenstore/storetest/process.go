package storetest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evergrant/evergrant/tokenstore"
)

// A process is another process with a store of its own over the trial's place. It does one thing at a
// time. It is a tokenstore.Store itself.
type process struct {
	cmd      *exec.Cmd
	stdin    io.Closer
	orders   *json.Encoder
	answers  chan answer // closed when the process has ended
	said     *transcript
	err      error // how the process ended; set before answers is closed
	patience time.Duration
}

// An order is what a child is to do, and an answer what came of it.
type (
	order struct {
		Do              string
		Key, Old, Value []byte // Key and Old are no strings, since JSON keeps only those of valid UTF-8
		For             time.Duration
	}
	answer struct {
		Value, Version []byte
		Count          int
		Failed         string // the error's text, "" if there was none
		Sentinel       int    // its place in sentinels, counted from 1
	}
)

// sentinels are the errors that keep their identity on the way from a child to its parent.
var sentinels = []error{tokenstore.ErrNotFound, tokenstore.ErrConflict, tokenstore.ErrDamaged}

// errLeft says that a child ended well, and too early.
var errLeft = errors.New("its test passed without coming to storetest.Run")

// start runs the test binary again, which opens the store and waits for orders.
func (t *trial) start() (*process, error) {
	if !t.opening.shares {
		return nil, errNotShared
	}
	program, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("the test binary cannot be found, to run it again: %w", err)
	}
	cmd := exec.CommandContext(t.ctx, program, arguments(t.opening.Name())...)
	cmd.Env = append(os.Environ(), childEnv+"="+t.opening.Name(), placeEnv+"="+t.opening.place)
	cmd.WaitDelay = t.patience // for what the child started and left behind with its output
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p := &process{
		cmd: cmd, stdin: stdin, orders: json.NewEncoder(stdin), answers: make(chan answer),
		said: new(transcript), patience: t.patience,
	}
	cmd.Stdout, cmd.Stderr = &listener{answers: p.answers, rest: p.said}, p.said
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("the test binary cannot be run again: %w", err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.answers)
	}()
	if _, err := p.answer(t.ctx); err != nil {
		return nil, fmt.Errorf("another process, %s, has not opened the store: %w", strings.Join(cmd.Args[1:], " "), err)
	}
	return p, nil
}

// arguments make a test binary run the test called name alone. Flags that are not of package testing
// are passed on: the test may be governed by them.
func arguments(name string) []string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	own := []string{
		"-test.run=" + strings.Join(parts, "/"), "-test.count=1", "-test.timeout=10m",
		"-test.short=" + strconv.FormatBool(testing.Short()),
	}
	return append(own, slices.DeleteFunc(slices.Clone(os.Args[1:]), func(arg string) bool {
		return strings.HasPrefix(strings.TrimLeft(arg, "-"), "test.")
	})...)
}

// order has the child begin something.
func (p *process) order(o order) error {
	if err := p.orders.Encode(o); err != nil {
		p.kill()
		return fmt.Errorf("the other process has ended: %w%s", err, p.said)
	}
	return nil
}

// answer waits for what the child has to say next.
func (p *process) answer(ctx context.Context) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*p.patience)
	defer cancel()
	select {
	case a, ok := <-p.answers:
		switch {
		case !ok:
			return a, fmt.Errorf("the other process has ended: %w%s", cmp.Or(p.err, errLeft), p.said)
		case a.Sentinel > 0:
			return a, fmt.Errorf("in the other process: %w: %s", sentinels[a.Sentinel-1], a.Failed)
		case a.Failed != "":
			return a, errors.New("in the other process: " + a.Failed)
		}
		return a, nil
	case <-ctx.Done():
		p.kill()
		return answer{}, fmt.Errorf("the other process does not answer: %w%s", ctx.Err(), p.said)
	}
}

// Load implements tokenstore.Store.
func (p *process) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	if err := p.order(order{Do: "load", Key: []byte(key)}); err != nil {
		return nil, "", err
	}
	a, err := p.answer(ctx)
	return a.Value, tokenstore.Version(a.Version), err
}

// Swap implements tokenstore.Store.
func (p *process) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	if err := p.order(order{Do: "swap", Key: []byte(key), Old: []byte(old), Value: value}); err != nil {
		return "", err
	}
	a, err := p.answer(ctx)
	return tokenstore.Version(a.Version), err
}

// kill ends the child as no program can prevent, and is back when it is dead.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	p.drain()
}

// drain waits for the end of the child and drops what it says until then.
func (p *process) drain() {
	for range p.answers {
	}
}

// end lets the child go, and fails if its test failed: it reports leaks and races of its own.
func (p *process) end() error {
	_ = p.stdin.Close()
	timer := time.AfterFunc(3*p.patience, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	p.drain()
	if p.err != nil {
		return fmt.Errorf("the other process failed: %w%s", p.err, p.said)
	}
	return nil
}

// A transcript keeps the beginning of what a child says that is no answer.
type transcript struct {
	mu   sync.Mutex
	text []byte // guarded by mu
}

func (s *transcript) Write(text []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.text = append(s.text, text[:min(len(text), 8<<10-len(s.text))]...)
	return len(text), nil
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if said := bytes.TrimSpace(s.text); len(said) > 0 {
		return "\nIt said:\n" + string(said)
	}
	return ""
}

// A listener picks the answers out of a child's standard output.
type listener struct {
	answers chan<- answer
	rest    io.Writer
	line    []byte
}

func (l *listener) Write(text []byte) (int, error) {
	l.line = append(l.line, text...)
	for {
		line, more, whole := bytes.Cut(l.line, []byte("\n"))
		if !whole {
			return len(text), nil
		}
		l.line = more
		var a answer
		if said, is := bytes.CutPrefix(line, []byte(mark)); is && json.Unmarshal(said, &a) == nil {
			l.answers <- a
		} else if len(line) > 0 {
			_, _ = l.rest.Write(append(line, '\n'))
		}
	}
}

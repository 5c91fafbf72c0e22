// Package daemon runs the program of a server for tests and benchmarks, which end it and start it again.
package daemon

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// ErrNotInstalled says that the program is not on this machine.
var ErrNotInstalled = errors.New("not installed")

// errEnded says that the program ended before it was ready.
var errEnded = errors.New("it ended as it started")

// Patience is how long the program may take to start or to stop.
const Patience = 30 * time.Second

// Need skips the test if err is ErrNotInstalled and EVERGRANT_E2E is not 1; any other error is the test's failure.
func Need(t testing.TB, err error) {
	t.Helper()
	switch {
	case errors.Is(err, ErrNotInstalled) && os.Getenv("EVERGRANT_E2E") != "1":
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
}

// For is s, which ends with the test. err says why there is none: see Need.
func For[S io.Closer](t testing.TB, s S, err error) S {
	t.Helper()
	Need(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// OnFreePorts calls start with n ports that nobody listens on, and again with others where somebody has taken them
// meanwhile.
func OnFreePorts(n int, start func(ports []string) error) (err error) {
	for range 5 {
		var ports []string
		if ports, err = freePorts(n); err != nil {
			return err
		}
		if err = start(ports); !errors.Is(err, errEnded) {
			return err
		}
	}
	return err
}

func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("finding a free port: %w", err)
		}
		defer l.Close()
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports, nil
}

// Process is a program that may be running. Its methods are for one goroutine at a time. The zero Process is not running.
type Process struct {
	command *exec.Cmd     // nil: not running
	exited  chan struct{} // closed when command has ended
}

// Start starts command, whose words go to the file log, and returns once ready finds nothing missing.
func (p *Process) Start(command *exec.Cmd, log string, ready func(pid int) error) error {
	name := filepath.Base(command.Path)
	if p.command != nil {
		return fmt.Errorf("%s is running", name)
	}
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	command.Stdout, command.Stderr = out, out
	if err := command.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = command.Wait() // how it ended is in its log
	}()
	p.command, p.exited = command, exited
	if err := p.await(ready); err != nil {
		said, _ := os.ReadFile(log)
		return errors.Join(fmt.Errorf("%s: %w; its log ends:\n%s", name, err, said[max(0, len(said)-2000):]), p.End(os.Kill))
	}
	return nil
}

func (p *Process) await(ready func(pid int) error) error {
	var missing error
	for limit := time.After(Patience); ; {
		select {
		case <-p.exited:
			return errEnded
		case <-limit:
			return fmt.Errorf("it is not ready: %w", missing)
		case <-time.After(5 * time.Millisecond):
		}
		if missing = ready(p.command.Process.Pid); missing == nil {
			return nil
		}
	}
}

// End sends the program a signal that it ends upon, and waits. One that is not running has ended.
func (p *Process) End(signal os.Signal) error {
	if p.command == nil {
		return nil
	}
	if err := p.command.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.exited:
		p.command = nil
		return nil
	case <-time.After(Patience):
		return errors.Join(fmt.Errorf("%s does not end", filepath.Base(p.command.Path)), p.command.Process.Kill())
	}
}

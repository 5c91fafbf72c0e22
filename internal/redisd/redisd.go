// Package redisd starts a Redis server of its own for a test or a benchmark, from Debian's package: in a temporary folder,
// on a loopback port, and gone with the process that started it. Valkey serves where only that is installed.
//
// Several tests of one binary share a server, which TestMain stops:
//
//	server, err := redisd.Open()
//
// A test that restarts or breaks a server has one of its own: redisd.Start(t).
package redisd

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// ErrNotInstalled says that there is neither Redis nor Valkey on this machine.
var ErrNotInstalled = errors.New("redisd: no Redis is installed; on Debian: apt-get install redis-server")

// patience is how long the server may take to start or to stop.
const patience = 30 * time.Second

// Server is a server of Redis. Its methods are for one goroutine at a time.
type Server struct {
	// Addr is "127.0.0.1:port", the same one after a restart.
	Addr string
	// ClusterPort is where the other servers of a cluster reach it, if it has a line "cluster-enabled yes".
	ClusterPort string
	// Dir is the server's folder; its log lies in it.
	Dir string

	program string
	args    []string
	process *exec.Cmd     // nil: stopped
	exited  chan struct{} // closed when process has ended
}

// Start is Open for one test, which the server ends with. Without Redis the test is skipped, or fails if EVERGRANT_E2E
// is 1.
func Start(t testing.TB, config ...string) *Server {
	t.Helper()
	s, err := Open(config...)
	Need(t, err)
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

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

// Open starts a server with lines of redis.conf such as "appendonly yes"; without any it keeps nothing on disk. It
// returns when the server answers. A sentinel is a server with a line "sentinel monitor …". Close stops the server and
// removes its folder; if the process is killed, the server ends and the folder stays in the system's folder for temporary
// files.
func Open(config ...string) (*Server, error) {
	program, err := find()
	if err != nil {
		return nil, err
	}
	s := &Server{program: program}
	if s.Dir, err = os.MkdirTemp("", "redisd-"); err != nil {
		return nil, fmt.Errorf("redisd: %w", err)
	}
	// The port is free until somebody else takes it in the meantime: then another one.
	for range 5 {
		if err = s.configure(config); err == nil {
			err = s.Resume()
		}
		if !errors.Is(err, errEnded) {
			break
		}
	}
	if err != nil {
		_ = s.Close() // the error at hand says more
		return nil, err
	}
	return s, nil
}

func find() (string, error) {
	for _, name := range []string{"redis-server", "valkey-server"} {
		if program, err := exec.LookPath(name); err == nil {
			return program, nil
		}
	}
	return "", ErrNotInstalled
}

// configure writes the server's configuration with a port that is free at present.
func (s *Server) configure(config []string) error {
	ports, err := freePorts(2)
	if err != nil {
		return err
	}
	s.Addr, s.ClusterPort = "127.0.0.1:"+ports[0], ports[1]
	lines := []string{"bind 127.0.0.1", "port " + ports[0], `dir "` + s.Dir + `"`}
	all := strings.Join(config, "\n")
	s.args = []string{filepath.Join(s.Dir, "redis.conf")}
	if strings.Contains(all, "sentinel monitor ") {
		s.args = append(s.args, "--sentinel")
	} else {
		lines = append(lines, "save \"\"", "cluster-port "+ports[1])
	}
	text := strings.Join(append(lines, config...), "\n") + "\n"
	if err := os.WriteFile(s.args[0], []byte(text), 0o600); err != nil {
		return fmt.Errorf("redisd: %w", err)
	}
	return nil
}

// freePorts returns n ports that nobody listens on.
func freePorts(n int) ([]string, error) {
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("redisd: finding a free port: %w", err)
		}
		defer l.Close()
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			return nil, fmt.Errorf("redisd: %w", err)
		}
		ports = append(ports, port)
	}
	return ports, nil
}

// errEnded says that the server ended before it answered.
var errEnded = errors.New("the server ended")

// Resume starts a server that was killed or stopped again, over what it has on disk, and returns when it answers.
func (s *Server) Resume() error {
	if s.process != nil {
		return errors.New("redisd: the server is running")
	}
	process := exec.Command(s.program, s.args...)
	process.SysProcAttr = dieWithParent()
	log, err := os.OpenFile(filepath.Join(s.Dir, "log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("redisd: %w", err)
	}
	defer log.Close()
	process.Stdout, process.Stderr = log, log
	if err := process.Start(); err != nil {
		return fmt.Errorf("redisd: %w", err)
	}
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		_ = process.Wait() // how it ended is in its log
	}()
	s.process, s.exited = process, exited
	if err := s.answers(); err != nil {
		_ = s.Kill() // the error at hand says more
		log, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
		return fmt.Errorf("redisd: %w; its log:\n%s", err, log)
	}
	return nil
}

// answers waits until the server has loaded its data.
func (s *Server) answers() error {
	var last error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case <-s.exited:
			return errEnded
		default:
		}
		if last = s.ping(); last == nil {
			return nil
		}
	}
	return fmt.Errorf("the server does not answer: %w", last)
}

// ping succeeds if the server answers, even if with a refusal.
func (s *Server) ping() error {
	conn, err := net.DialTimeout("tcp", s.Addr, patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte("PING\r\n")); err != nil {
		return err
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err == nil && strings.HasPrefix(line, "-LOADING") {
		err = errors.New("it is loading its data")
	}
	return err
}

// Kill ends the server as a crash would. It may be started again.
func (s *Server) Kill() error { return s.end(func(p *os.Process) error { return p.Kill() }) }

// Stop ends the server as an operator would: it writes what it has to its disk first. It may be started again.
func (s *Server) Stop() error { return s.end(terminate) }

func (s *Server) end(signal func(*os.Process) error) error {
	if s.process == nil {
		return nil
	}
	if err := signal(s.process.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("redisd: %w", err)
	}
	select {
	case <-s.exited:
		s.process = nil
		return nil
	case <-time.After(patience):
		return errors.New("redisd: the server does not end")
	}
}

// Restart kills the server, without a warning, and starts it again.
func (s *Server) Restart() error {
	if err := s.Kill(); err != nil {
		return err
	}
	return s.Resume()
}

// Close ends the server and removes its folder.
func (s *Server) Close() error {
	err := s.Kill()
	return errors.Join(err, os.RemoveAll(s.Dir))
}

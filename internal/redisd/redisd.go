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
	"syscall"
	"testing"
	"time"

	"github.com/evergrant/evergrant/internal/daemon"
)

// ErrNotInstalled says that there is neither Redis nor Valkey on this machine.
var ErrNotInstalled = fmt.Errorf("redisd: Redis is %w; on Debian: apt-get install redis-server", daemon.ErrNotInstalled)

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
	process daemon.Process
}

// Start is Open for one test, which the server ends with. Without Redis the test is skipped, or fails if EVERGRANT_E2E
// is 1.
func Start(t testing.TB, config ...string) *Server {
	t.Helper()
	s, err := Open(config...)
	return daemon.For(t, s, err)
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
	err = daemon.OnFreePorts(2, func(ports []string) error {
		if err := s.configure(ports, config); err != nil {
			return err
		}
		return s.Resume()
	})
	if err != nil {
		return nil, errors.Join(err, s.Close())
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

// configure writes the server's configuration.
func (s *Server) configure(ports, config []string) error {
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

// Resume starts a server that was killed or stopped again, over what it has on disk, and returns when it answers.
func (s *Server) Resume() error {
	program := exec.Command(s.program, s.args...)
	program.SysProcAttr = dieWithParent()
	return s.process.Start(program, filepath.Join(s.Dir, "log"), s.ping)
}

// ping succeeds if the server has loaded its data and answers, even if with a refusal.
func (s *Server) ping(int) error {
	conn, err := net.DialTimeout("tcp", s.Addr, daemon.Patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(daemon.Patience)); err != nil {
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
func (s *Server) Kill() error { return s.process.End(os.Kill) }

// Stop ends the server as an operator would: it writes what it has to its disk first. It may be started again.
func (s *Server) Stop() error { return s.process.End(syscall.SIGTERM) }

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

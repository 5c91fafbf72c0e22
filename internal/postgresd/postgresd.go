// Package postgresd starts a PostgreSQL server of its own for a test or a benchmark, from Debian's package: in a temporary
// folder, on a loopback port, behind a random password, and gone with the process that started it.
//
// Several tests of one binary share a server, which TestMain stops:
//
//	server, err := postgresd.Open()
//
// A test that restarts or breaks a server has one of its own: postgresd.Start(t).
package postgresd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/evergrant/evergrant/internal/daemon"
)

// ErrNotInstalled says that there is no PostgreSQL on this machine.
var ErrNotInstalled = fmt.Errorf("postgresd: PostgreSQL is %w; on Debian: apt-get install postgresql", daemon.ErrNotInstalled)

// Server is a running PostgreSQL. Its methods are for one goroutine at a time.
type Server struct {
	programs string // the folder of initdb and postgres
	dir      string
	port     string
	password string
	settings []string
	owner    *syscall.SysProcAttr
	uid      int // the owner's, -1 if that is this process's
	process  daemon.Process
}

// Start is Open for one test, which the server ends with. Without PostgreSQL the test is skipped, or fails if
// EVERGRANT_E2E is 1.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := Open(settings...)
	return daemon.For(t, s, err)
}

// Open makes a cluster and starts it, with settings such as "fsync=off" beside the defaults. It returns when the server
// takes connections. Close stops it and removes all; if the process is killed, the server ends and its folder stays
// in the system's folder for temporary files.
func Open(settings ...string) (*Server, error) {
	programs, err := find()
	if err != nil {
		return nil, err
	}
	s := &Server{programs: programs, password: rand.Text(), settings: settings}
	if err = s.makeFolder(); err == nil {
		err = s.initialise()
	}
	if err == nil {
		err = s.begin()
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Standby makes a standby of the server, which streams to it asynchronously, and starts that. It answers reads, and
// takes writes once it is promoted, with SELECT pg_promote(). It has an address of its own and the same password.
func (s *Server) Standby() (*Server, error) {
	standby := &Server{programs: s.programs, password: s.password, settings: s.settings}
	err := standby.makeFolder()
	if err == nil {
		err = standby.run("pg_basebackup", "--pgdata="+standby.data(), "--host=127.0.0.1", "--port="+s.port, "--username=postgres",
			"--write-recovery-conf", "--checkpoint=fast", "--no-sync")
	}
	if err == nil {
		err = standby.begin()
	}
	if err != nil {
		return nil, errors.Join(err, standby.Close())
	}
	return standby, nil
}

// begin starts a new server on a free port.
func (s *Server) begin() error {
	return daemon.OnFreePorts(1, func(ports []string) error {
		s.port = ports[0]
		return s.Continue()
	})
}

// find returns the folder of the newest server's programs.
func find() (string, error) {
	installed, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil || len(installed) == 0 {
		return "", ErrNotInstalled
	}
	version := func(program string) int {
		n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(program))))
		return n
	}
	return filepath.Dir(slices.MaxFunc(installed, func(a, b string) int { return version(a) - version(b) })), nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// makeFolder makes the server's folder. PostgreSQL refuses to run as root, so root gives it to somebody else.
func (s *Server) makeFolder() (err error) {
	if s.owner, s.uid, err = unprivileged(); err != nil {
		return err
	}
	if s.dir, err = os.MkdirTemp("", "postgresd"); err != nil {
		return err
	}
	return s.give(s.dir)
}

func (s *Server) give(name string) error {
	if s.uid < 0 {
		return nil
	}
	return os.Chown(name, s.uid, -1)
}

// initialise makes the cluster.
func (s *Server) initialise() error {
	password := filepath.Join(s.dir, "password")
	if err := os.WriteFile(password, []byte(s.password), 0o600); err != nil {
		return err
	}
	if err := s.give(password); err != nil {
		return err
	}
	err := s.run("initdb", "--pgdata="+s.data(), "--username=postgres",
		"--auth=scram-sha-256", "--pwfile="+password, "--encoding=UTF8", "--locale=C", "--no-sync")
	return errors.Join(err, os.Remove(password))
}

// run runs one of PostgreSQL's programs to its end.
func (s *Server) run(name string, args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), daemon.Patience)
	defer cancel()
	program := exec.CommandContext(ctx, filepath.Join(s.programs, name), args...)
	program.Dir, program.SysProcAttr, program.Env = s.dir, s.owner, append(os.Environ(), "PGPASSWORD="+s.password)
	if output, err := program.CombinedOutput(); err != nil {
		return fmt.Errorf("postgresd: %s: %w: %s", name, err, output)
	}
	return nil
}

// DSN returns the address of a database of the server, for its superuser; it stays the same when the server restarts.
func (s *Server) DSN() string {
	return fmt.Sprintf("postgres://postgres:%s@127.0.0.1:%s/postgres?sslmode=disable", s.password, s.port)
}

// Address returns host:port of the server.
func (s *Server) Address() string { return "127.0.0.1:" + s.port }

// Continue starts a server that Stop or Kill has ended, over the same data, and returns when it takes connections.
func (s *Server) Continue() error {
	args := []string{"-D", s.data(), "-p", s.port, "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="}
	for _, setting := range s.settings {
		args = append(args, "-c", setting)
	}
	program := exec.Command(filepath.Join(s.programs, "postgres"), args...)
	program.Dir, program.SysProcAttr = s.dir, s.owner
	return s.process.Start(program, filepath.Join(s.dir, "log"), s.ready)
}

// ready looks at the line of the pid file in which the server says how it is.
func (s *Server) ready(pid int) error {
	text, err := os.ReadFile(filepath.Join(s.data(), "postmaster.pid"))
	lines := strings.Split(string(text), "\n")
	if err == nil && (len(lines) < 8 || lines[0] != strconv.Itoa(pid) || strings.TrimSpace(lines[7]) != "ready") {
		err = errors.New("its pid file does not say that it is ready")
	}
	return err
}

// Stop ends the server in good order: connections are told and cut, everything is written.
func (s *Server) Stop() error { return s.process.End(syscall.SIGINT) }

// Kill ends the server as a crash would: what was promised is in its log of writes, nothing else.
func (s *Server) Kill() error { return s.process.End(syscall.SIGQUIT) }

// Restart is Stop and Continue.
func (s *Server) Restart() error { return errors.Join(s.Stop(), s.Continue()) }

// Close ends the server and removes its folder.
func (s *Server) Close() error {
	err := s.Kill()
	if s.dir != "" {
		err = errors.Join(err, os.RemoveAll(s.dir))
	}
	return err
}

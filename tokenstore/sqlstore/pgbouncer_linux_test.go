package sqlstore_test

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/daemon"
	"github.com/evergrant/evergrant/internal/postgresd"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore/pgxlisten"
)

// pgBouncer starts a PgBouncer in transaction mode in front of the shared server, with two connections to it, and
// returns its address.
func pgBouncer(t *testing.T) string {
	t.Helper()
	const program = "/usr/sbin/pgbouncer"
	if _, err := os.Stat(program); err != nil {
		daemon.Need(t, fmt.Errorf("PgBouncer: %w", postgresd.ErrNotInstalled))
	}
	server, err := url.Parse(postgres(t))
	require.NoError(t, err)
	password, _ := server.User.Password()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := listener.Addr().String()
	require.NoError(t, listener.Close())
	_, port, _ := net.SplitHostPort(address)

	dir, err := os.MkdirTemp("", "pgbouncer")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	users, config := filepath.Join(dir, "users"), filepath.Join(dir, "config")
	for name, text := range map[string]string{
		users: fmt.Sprintf("%q %q\n", "postgres", password),
		config: fmt.Sprintf("[databases]\npostgres = host=127.0.0.1 port=%s\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = %s\nunix_socket_dir =\n"+
			"auth_type = scram-sha-256\nauth_file = %s\npool_mode = transaction\ndefault_pool_size = 2\n", server.Port(), port, users),
	} {
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	}
	bouncer := exec.Command(program, config)
	bouncer.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() == 0 { // it refuses to run as root
		owner, err := user.Lookup("postgres")
		require.NoError(t, err)
		uid, err := strconv.Atoi(owner.Uid)
		require.NoError(t, err)
		bouncer.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
		for _, name := range []string{dir, users, config} {
			require.NoError(t, os.Chown(name, uid, -1))
		}
	}
	var log strings.Builder
	bouncer.Stdout, bouncer.Stderr = &log, &log
	require.NoError(t, bouncer.Start())
	t.Cleanup(func() {
		_ = bouncer.Process.Kill()
		_ = bouncer.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", address)
		return err == nil && conn.Close() == nil
	}, 10*time.Second, 10*time.Millisecond)
	server.Host = address
	return server.String()
}

// TestPgBouncer has more connections than the server sees, each statement on another one of those.
func TestPgBouncer(t *testing.T) {
	db := connect(t, "pgx", with(t, pgBouncer(t), "default_query_exec_mode", "exec"))
	db.SetMaxIdleConns(8)
	direct := connect(t, "pgx", postgres(t))
	s := store(t, db, sqlstore.Options{Key: key(1), Listener: pgxlisten.On(direct)})
	require.NoError(t, s.Probe(t.Context()))
	var all sync.WaitGroup
	errs := make([]error, 8)
	for i := range errs {
		all.Go(func() {
			var version tokenstore.Version
			for n := 0; n < 20 && errs[i] == nil; n++ {
				version, errs[i] = s.Swap(t.Context(), fmt.Sprint(i), version, []byte("v"))
			}
		})
	}
	all.Wait()
	require.NoError(t, errors.Join(errs...))
	version := requireValue(t, s, "0", "v")
	over := begin(t, s, "0", version)
	require.Eventually(t, func() bool { return direct.Stats().InUse == 1 }, 10*time.Second, time.Millisecond)
	put(t, s, "0", version, "w")
	require.NoError(t, <-over)
}

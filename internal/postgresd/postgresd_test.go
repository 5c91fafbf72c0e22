package postgresd_test

import (
	"bufio"
	"errors"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/internal/daemon"
	"github.com/evergrant/evergrant/internal/postgresd"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// speaks reports whether a PostgreSQL listens at address: it answers a request for TLS with one letter.
func speaks(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Second)
	if err != nil {
		return false
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := conn.Write([]byte{0, 0, 0, 8, 4, 210, 22, 47}); err != nil {
		return false
	}
	answer := make([]byte, 1)
	_, err = conn.Read(answer)
	return err == nil && answer[0] == 'N'
}

func TestServer(t *testing.T) {
	server := postgresd.Start(t, "fsync=off")
	require.True(t, speaks(server.Address()))
	dsn, err := url.Parse(server.DSN())
	require.NoError(t, err)
	require.Equal(t, server.Address(), dsn.Host)

	for name, end := range map[string]func() error{"stopped": server.Stop, "killed": server.Kill} {
		require.NoError(t, end(), name)
		require.False(t, speaks(server.Address()), name)
		require.NoError(t, server.Continue(), name)
		require.True(t, speaks(server.Address()), name)
	}
	require.NoError(t, server.Restart())
	require.Equal(t, dsn.String(), server.DSN())
	require.True(t, speaks(server.Address()))
	require.NoError(t, server.Close())
	require.False(t, speaks(server.Address()))
}

func TestStandby(t *testing.T) {
	server := postgresd.Start(t, "fsync=off")
	standby, err := server.Standby()
	require.NoError(t, err)
	require.NotEqual(t, server.Address(), standby.Address())
	require.True(t, speaks(standby.Address()))
	require.NoError(t, server.Kill())
	require.True(t, speaks(standby.Address()), "it outlives the other")
	require.NoError(t, standby.Close())
	require.False(t, speaks(standby.Address()))
}

func TestBadSetting(t *testing.T) {
	_, err := postgresd.Open("no_such_setting=1")
	if errors.Is(err, postgresd.ErrNotInstalled) {
		daemon.Need(t, err)
	}
	require.ErrorContains(t, err, "no_such_setting")
}

// TestServerDiesWithItsProcess runs itself: the child starts a server, says where, and is killed.
func TestServerDiesWithItsProcess(t *testing.T) {
	if os.Getenv("EVERGRANT_POSTGRESD_CHILD") == "1" {
		server, err := postgresd.Open("fsync=off")
		daemon.Need(t, err)
		os.Stdout.WriteString("listens at " + server.Address() + "\n")
		select {}
	}
	folder := t.TempDir()
	require.NoError(t, os.Chmod(folder, 0o711))
	require.NoError(t, os.Chmod(filepath.Dir(folder), 0o711))
	self, err := os.Executable()
	require.NoError(t, err)
	child := exec.Command(self, "-test.run=^TestServerDiesWithItsProcess$", "-test.v")
	child.Env = append(os.Environ(), "EVERGRANT_POSTGRESD_CHILD=1", "TMPDIR="+folder)
	output, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	address := ""
	for lines := bufio.NewScanner(output); address == "" && lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "--- SKIP") {
			require.NoError(t, child.Wait())
			t.Skip("PostgreSQL is not installed")
		}
		_, address, _ = strings.Cut(lines.Text(), "listens at ")
	}
	require.NotEmpty(t, address)
	require.True(t, speaks(address))
	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())
	require.Eventually(t, func() bool { return !speaks(address) }, 20*time.Second, 10*time.Millisecond)
}

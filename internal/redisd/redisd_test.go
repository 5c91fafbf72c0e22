package redisd_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/internal/redisd"
)

// childEnv, when set, makes the test binary a process that starts a server, says where, and waits to be killed.
const childEnv = "REDISD_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childEnv) == "" {
		goleak.VerifyTestMain(m)
		return
	}
	server, err := redisd.Open()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println(server.Addr, server.Dir)
	select {}
}

// say sends one command, in words without spaces, and returns the first line of the answer, or of the text in it.
func say(t *testing.T, addr, command string) string {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	defer conn.Close()
	_, err = conn.Write([]byte(command + "\r\n"))
	require.NoError(t, err)
	answer := bufio.NewReader(conn)
	line, err := answer.ReadString('\n')
	require.NoError(t, err)
	if strings.HasPrefix(line, "$") && !strings.HasPrefix(line, "$-1") {
		line, err = answer.ReadString('\n')
		require.NoError(t, err)
	}
	return strings.TrimSpace(line)
}

func TestServerComesBackWithItsData(t *testing.T) {
	server := redisd.Start(t, "appendonly yes", "appendfsync always")
	require.Equal(t, "+OK", say(t, server.Addr, "SET k v"))
	addr := server.Addr
	require.NoError(t, server.Restart())
	require.Equal(t, addr, server.Addr)
	require.Equal(t, "v", say(t, server.Addr, "GET k"))
	require.NoError(t, server.Stop())
	require.Error(t, func() error {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err
	}())
	require.NoError(t, server.Resume())
	require.Equal(t, "v", say(t, server.Addr, "GET k"))
}

func TestServerForgetsByDefault(t *testing.T) {
	server := redisd.Start(t)
	require.Equal(t, "+OK", say(t, server.Addr, "SET k v"))
	require.NoError(t, server.Restart())
	require.Equal(t, "$-1", say(t, server.Addr, "GET k"))
	require.NoError(t, server.Close())
	require.NoDirExists(t, server.Dir)
}

func TestWrongConfigurationIsToldWithTheLog(t *testing.T) {
	redisd.Start(t) // skips where there is no Redis
	_, err := redisd.Open("appendfsync sometimes")
	require.ErrorContains(t, err, "appendfsync sometimes") // Redis quotes the line
}

func TestServerDiesWithAKilledProcess(t *testing.T) {
	redisd.Start(t) // skips where there is no Redis
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childEnv+"=1")
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, child.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	addr, dir, _ := strings.Cut(strings.TrimSpace(line), " ")
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	require.Equal(t, "+PONG", say(t, addr, "PING"))
	require.NoError(t, child.Process.Kill())
	require.Error(t, child.Wait())
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err != nil
	}, 10*time.Second, 5*time.Millisecond)
}

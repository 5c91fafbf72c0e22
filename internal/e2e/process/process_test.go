//go:build linux

package process_test

import (
	"bufio"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/process"
)

func TestNothingOutlivesItsTest(t *testing.T) {
	var child int
	t.Run("a shell with a child", func(t *testing.T) {
		cmd := exec.Command(process.Need(t, "sh"), "-c", "sleep 600 & echo $!; wait")
		stdout, err := cmd.StdoutPipe()
		require.NoError(t, err)
		process.Start(t, cmd)
		line, err := bufio.NewReader(stdout).ReadString('\n')
		require.NoError(t, err)
		child, err = strconv.Atoi(strings.TrimSpace(line))
		require.NoError(t, err)
		require.NoError(t, syscall.Kill(child, 0))
	})
	require.Eventually(t, func() bool { return !running(child) }, 5*time.Second, time.Millisecond)
}

// running reports whether pid runs; a dead child that nobody has waited for does not.
func running(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestNeedSkipsOrFails(t *testing.T) {
	for _, tt := range []struct {
		name, e2e       string
		failed, skipped bool
	}{
		{name: "on a developer's machine", e2e: "", skipped: true},
		{name: "under make test", e2e: "1", failed: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("EVERGRANT_E2E", tt.e2e)
			recorder := &recorder{TB: t}
			done := make(chan struct{})
			go func() {
				defer close(done)
				process.Need(recorder, "no-such-program-anywhere")
			}()
			<-done
			require.Equal(t, tt.failed, recorder.failed)
			require.Equal(t, tt.skipped, recorder.skipped)
		})
	}
}

// recorder is a test that can fail without failing the one around it.
type recorder struct {
	testing.TB
	failed, skipped bool
}

func (r *recorder) Fatal(...any) {
	r.failed = true
	runtime.Goexit()
}

func (r *recorder) Skip(...any) {
	r.skipped = true
	runtime.Goexit()
}

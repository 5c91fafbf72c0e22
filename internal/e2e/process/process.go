// Package process runs the real programs that the end-to-end tests need, and lets none of them outlive its test.
//
// A program that is not installed fails the test when EVERGRANT_E2E is 1, as `make test` sets it, and skips it
// otherwise.
package process

import (
	"bufio"
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Need returns the path of the program name; without one the test ends as Missing says.
func Need(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		Missing(t, "the program "+name)
	}
	return path
}

// Missing ends the test: as a failure when EVERGRANT_E2E is 1, as skipped otherwise.
func Missing(t testing.TB, what string) {
	t.Helper()
	const advice = " is missing; `make test` installs what the end-to-end tests need"
	if os.Getenv("EVERGRANT_E2E") == "1" {
		t.Fatal(what + advice)
	}
	t.Skip(what + advice)
}

// Start starts cmd at the head of a process group of its own. When the test ends, the group is killed and waited for;
// when the test program dies, the kernel kills cmd (on Linux). What cmd writes to its standard error is logged if the
// test failed.
func Start(t testing.TB, cmd *exec.Cmd) {
	t.Helper()
	var stderr output
	cmd.Stderr = &stderr
	ownGroup(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatalf("starting %s: %v", cmd.Path, err)
	}
	t.Cleanup(func() {
		killGroup(cmd)
		_ = cmd.Wait() // reports the kill
		if t.Failed() {
			t.Logf("%s said: %s", cmd.Path, stderr.String())
		}
	})
}

// Serve starts cmd as Start does, gives it input as a line of JSON on its standard input, and waits for a line of JSON on
// its standard output, which it reads into ready. The standard input stays open for as long as cmd is to live.
func Serve(t testing.TB, cmd *exec.Cmd, input, ready any) {
	t.Helper()
	stdin, err := cmd.StdinPipe()
	require.NoError(t, err)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	Start(t, cmd)
	require.NoError(t, json.NewEncoder(stdin).Encode(input))
	line, err := bufio.NewReader(stdout).ReadBytes('\n')
	require.NoError(t, err, "%s ended before it was ready", cmd.Path)
	require.NoError(t, json.Unmarshal(line, ready))
}

// output keeps the first 64 KiB written to it.
type output struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf.Write(p[:min(len(p), 64<<10-o.buf.Len())])
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

package loopback_test

import (
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/loopback"
)

// TestR8252_7_3_2 runs itself on a machine of its own that has no 127.0.0.1.
func TestR8252_7_3_2(t *testing.T) {
	const inside = "EVERGRANT_WITHOUT_IPV4"
	if os.Getenv(inside) != "" {
		l, err := loopback.Listen("")
		require.NoError(t, err)
		defer l.Close()
		require.Regexp(t, `^http://\[::1\]:[1-9]\d*/callback$`, l.RedirectURL())
		return
	}
	const isolate = "ip link set lo up && ip address delete 127.0.0.1/8 dev lo && exec \"$@\""
	if err := exec.CommandContext(t.Context(), "unshare", "--map-root-user", "--net", "sh", "-c", isolate, "sh", "true").Run(); err != nil {
		t.Skipf("this machine gives out no networks: %v", err)
	}
	again := exec.CommandContext(t.Context(), "unshare", "--map-root-user", "--net", "sh", "-c", isolate, "sh",
		os.Args[0], "-test.run=^TestR8252_7_3_2$", "-test.v")
	again.Env = append(os.Environ(), inside+"=1")
	output, err := again.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Contains(t, string(output), "--- PASS: TestR8252_7_3_2")
}

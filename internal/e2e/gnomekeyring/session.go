// Package gnomekeyring gives a test a D-Bus session of its own with a real gnome-keyring on it, in any of the states that
// programs meet. The keyrings of the person who runs the tests are out of its sight.
//
// A process looks for its session once. So a test that uses the session itself runs again in a process of its own:
//
//	func TestKeychain(t *testing.T) {
//		if gnomekeyring.Rerun(t, gnomekeyring.Unlocked) {
//			return
//		}
//		// here, the session is this process's
//	}
package gnomekeyring

import (
	"bufio"
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/internal/e2e/process"
)

// State is what a program finds when it looks for a keyring.
type State string

const (
	Unlocked  State = "unlocked"   // a keyring that is ready
	Locked    State = "locked"     // a keyring that asks for its password, and no display to ask on
	NoService State = "no service" // a bus without any keyring
	NoBus     State = "no bus"     // no session bus
)

const (
	password = "correct horse battery staple"
	secrets  = "org.freedesktop.secrets"        // the service's name on the bus
	service  = "org.freedesktop.Secret.Service" // its interface
	marker   = "EVERGRANT_E2E_KEYRING"          // in the environment of a test that runs again
	login    = dbus.ObjectPath("/org/freedesktop/secrets/collection/login")
)

// Rerun reports whether the test is done: it has run again, in a process whose session is in the given state, and
// passed there. False means that this is that process. A benchmark reports what it has measured there.
func Rerun(t testing.TB, state State) bool {
	t.Helper()
	if os.Getenv(marker) == string(state) {
		return false
	}
	var levels []string
	for level := range strings.SplitSeq(t.Name(), "/") {
		levels = append(levels, "^"+regexp.QuoteMeta(level)+"$")
	}
	arguments := []string{"-test.v", "-test.count=1", "-test.run=" + strings.Join(levels, "/")}
	b, measures := t.(*testing.B)
	if measures {
		arguments = []string{
			"-test.run=^$", "-test.bench=" + strings.Join(levels, "/"),
			"-test.benchtime=" + flag.Lookup("test.benchtime").Value.String(),
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit(t))
	defer cancel()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(ctx, self, arguments...)
	cmd.Env = append(Start(t, state), marker+"="+string(state))
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "in a session of its own: %s", output)
	if measures {
		report(b, output)
		return true
	}
	require.Contains(t, string(output), "--- PASS: "+t.Name(), "the test did not run in its session")
	if testing.Verbose() {
		t.Logf("in a session of its own: %s", output)
	}
	return true
}

// measured is what a benchmark prints, in nanoseconds.
var measured = regexp.MustCompile(`\s([0-9.]+) ns/op`)

// report passes on what a benchmark has printed.
func report(b *testing.B, output []byte) {
	match := measured.FindSubmatch(output)
	require.NotNil(b, match, "the benchmark did not run in its session: %s", output)
	each, err := strconv.ParseFloat(string(match[1]), 64)
	require.NoError(b, err)
	b.ReportMetric(each, "ns/op")
}

// limit is how long a test that runs again may take: so long that this process can still tell what it said.
func limit(t testing.TB) time.Duration {
	test, ok := t.(interface{ Deadline() (time.Time, bool) })
	if !ok {
		return time.Hour
	}
	if end, ok := test.Deadline(); ok {
		return time.Until(end) - 5*time.Second
	}
	return time.Hour
}

// Start starts a session in the given state, until the test ends, and returns the environment for its programs.
func Start(t testing.TB, state State) []string {
	t.Helper()
	home := t.TempDir()
	// A socket's path is short: it cannot lie in a folder named like the test.
	run, err := os.MkdirTemp("", "keyring")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(run) })
	env := append(environment(), "HOME="+home, "XDG_RUNTIME_DIR="+run,
		"XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home)
	if state == NoBus {
		return append(env, "PATH="+home) // dbus-launch, if installed, would start a bus
	}
	address := startBus(t, env, run, state != NoService)
	env = append(env, "DBUS_SESSION_BUS_ADDRESS="+address)
	if state == NoService {
		return env
	}
	startKeyring(t, env)
	bus := connect(t, address)
	require.Eventually(t, func() bool { return ready(bus) }, 10*time.Second, 10*time.Millisecond, "no keyring appeared")
	if state == Locked {
		require.NoError(t, call(bus, service+".Lock", []dbus.ObjectPath{login}).Err)
	}
	return env
}

// environment is this process's without what leads to a session or a display.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(entry string) bool {
		for _, prefix := range []string{"DBUS_", "XDG_", "GNOME_", "DISPLAY=", "WAYLAND_", "HOME="} {
			if strings.HasPrefix(entry, prefix) {
				return true
			}
		}
		return false
	})
}

// startBus starts a session bus and returns its address. With activation, it starts services as a desktop's bus does.
func startBus(t testing.TB, env []string, run string, activation bool) string {
	t.Helper()
	services := ""
	if activation {
		services = "<standard_session_servicedirs/>"
	}
	config := filepath.Join(run, "bus.conf")
	require.NoError(t, os.WriteFile(config, []byte(`<busconfig>
<type>session</type>
<listen>unix:dir=`+run+`</listen>
<auth>EXTERNAL</auth>
`+services+`
<policy context="default">
<allow send_destination="*" eavesdrop="true"/>
<allow eavesdrop="true"/>
<allow own="*"/>
</policy>
</busconfig>
`), 0o600))
	cmd := exec.Command(process.Need(t, "dbus-daemon"), "--nofork", "--nopidfile", "--print-address=1", "--config-file="+config)
	cmd.Env = env
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	process.Start(t, cmd)
	address, err := bufio.NewReader(stdout).ReadString('\n')
	require.NoError(t, err, "dbus-daemon ended before it was ready")
	return strings.TrimSpace(address)
}

func startKeyring(t testing.TB, env []string) {
	t.Helper()
	cmd := exec.Command(process.Need(t, "gnome-keyring-daemon"), "--foreground", "--unlock", "--components=secrets")
	cmd.Env = env
	cmd.Stdin = strings.NewReader(password)
	process.Start(t, cmd)
}

func connect(t testing.TB, address string) *dbus.Conn {
	t.Helper()
	bus, err := dbus.Connect(address)
	require.NoError(t, err)
	t.Cleanup(func() { bus.Close() })
	return bus
}

// ready reports whether our keyring has its login collection. It is asked only once it is there: a question to an absent
// service would make the bus start another.
func ready(bus *dbus.Conn) bool {
	var there bool
	err := bus.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, secrets).Store(&there)
	if err != nil || !there {
		return false
	}
	var collections dbus.Variant
	err = call(bus, "org.freedesktop.DBus.Properties.Get", service, "Collections").Store(&collections)
	paths, _ := collections.Value().([]dbus.ObjectPath)
	return err == nil && slices.Contains(paths, login)
}

func call(bus *dbus.Conn, method string, arguments ...any) *dbus.Call {
	return bus.Object(secrets, "/org/freedesktop/secrets").Call(method, 0, arguments...)
}

// Bus are the goroutines that a process keeps once it has asked its keychain: go-keyring shares one connection to the
// session bus and never closes it.
func Bus() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/godbus/dbus/v5.newConn.func1"),
		goleak.IgnoreAnyFunction("github.com/godbus/dbus/v5.(*Conn).inWorker"),
	}
}

package keychain_test

import (
	"bufio"
	"bytes"
	"context"
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

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/keychain"
)

// roles are the programs that the tests below run, each under a HOME, and mostly a D-Bus, of its own:
// no role can reach the keychain of the person who runs the tests.
var roles = map[string]func(context.Context) error{
	"no bus":     func(ctx context.Context) error { return expect(ctx, keychain.ErrUnavailable, time.Second) },
	"no service": func(ctx context.Context) error { return expect(ctx, keychain.ErrUnavailable, 5*time.Second) },
	"no keyring": withDisplay(withKeyring(nil, expectNoKeyring)),
	"unlocked":   withKeyring([]string{"--unlock"}, keepRecords),
	"locked": withKeyring(nil, func(ctx context.Context) error {
		return expect(ctx, keychain.ErrLocked, 5*time.Second)
	}),
	"prompt": withDisplay(withKeyring(nil, expectPrompt)),
	"deaths": withKeyring([]string{"--unlock"}, dieEverywhere),
	"dies":   die,
}

// run makes the test binary play a role, on a D-Bus of its own unless bus is given.
func run(t *testing.T, role, home, bus string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	name, args := "dbus-run-session", []string{"--", os.Args[0]}
	if role == "no service" {
		args = append([]string{"--config-file=" + lonelyBus(t, home)}, args...)
	}
	if bus != "" {
		name, args = os.Args[0], nil
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = []string{
		roleEnv + "=" + role, "PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home,
		"XDG_RUNTIME_DIR=" + home, "XDG_DATA_HOME=" + filepath.Join(home, "data"),
		"XDG_CONFIG_HOME=" + filepath.Join(home, "config"), "XDG_CACHE_HOME=" + filepath.Join(home, "cache"),
	}
	if bus != "" {
		cmd.Env = append(cmd.Env, "DBUS_SESSION_BUS_ADDRESS="+bus)
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// lonelyBus writes the configuration of a bus that can start no service.
func lonelyBus(t *testing.T, dir string) string {
	t.Helper()
	path := filepath.Join(dir, "bus.conf")
	config := `<busconfig><type>session</type><listen>unix:tmpdir=` + dir + `</listen><policy context="default">` +
		`<allow send_destination="*"/><allow eavesdrop="true"/><allow own="*"/></policy></busconfig>`
	require.NoError(t, os.WriteFile(path, []byte(config), 0o600))
	return path
}

// needTools skips the test unless real keychains are asked for; then they must be there.
func needTools(t *testing.T, tools ...string) {
	t.Helper()
	if os.Getenv("EVERGRANT_E2E") != "1" {
		t.Skip("real keychains are tested with EVERGRANT_E2E=1")
	}
	for _, tool := range tools {
		_, err := exec.LookPath(tool)
		require.NoError(t, err, "apt-get install dbus gnome-keyring xvfb")
	}
}

// home makes a folder that is short enough for sockets and private enough for keyrings.
func home(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kc")
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestWithoutABus(t *testing.T) {
	dir := home(t)
	run(t, "no bus", dir, "unix:path="+filepath.Join(dir, "missing"))
}

func TestBusWithoutAService(t *testing.T) {
	needTools(t, "dbus-run-session")
	run(t, "no service", home(t), "")
}

func TestSecretService(t *testing.T) {
	needTools(t, "dbus-run-session", "gnome-keyring-daemon")
	run(t, "unlocked", home(t), "")
}

func TestLockedSecretService(t *testing.T) {
	needTools(t, "dbus-run-session", "gnome-keyring-daemon")
	dir := home(t)
	run(t, "unlocked", dir, "") // makes the keyring that the next finds locked
	run(t, "locked", dir, "")
}

func TestSecretServiceThatAsks(t *testing.T) {
	needTools(t, "dbus-run-session", "gnome-keyring-daemon", "Xvfb")
	dir := home(t)
	run(t, "unlocked", dir, "")
	run(t, "prompt", dir, "")
}

func TestSecretServiceWithoutAKeyring(t *testing.T) {
	needTools(t, "dbus-run-session", "gnome-keyring-daemon", "Xvfb")
	run(t, "no keyring", home(t), "")
}

func TestDeathAtEveryOperationOfASecretService(t *testing.T) {
	needTools(t, "dbus-run-session", "gnome-keyring-daemon")
	run(t, "deaths", home(t), "")
}

// withKeyring plays a role while a gnome-keyring-daemon runs.
func withKeyring(args []string, role func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		args := append([]string{"--foreground", "--components=secrets"}, args...)
		daemon := exec.Command("gnome-keyring-daemon", args...)
		daemon.Stdin = strings.NewReader("password")
		daemon.Stderr = os.Stderr
		if err := daemon.Start(); err != nil {
			return err
		}
		defer func() {
			_ = daemon.Process.Kill()
			_ = daemon.Wait()
		}()
		if err := awaitService(ctx); err != nil {
			return err
		}
		return role(ctx)
	}
}

// awaitService waits until somebody on the bus is the Secret Service.
func awaitService(ctx context.Context) error {
	for {
		out, err := exec.CommandContext(ctx, "dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus",
			"/org/freedesktop/DBus", "org.freedesktop.DBus.NameHasOwner", "string:org.freedesktop.secrets").Output()
		if err != nil {
			return err
		}
		if bytes.Contains(out, []byte("boolean true")) {
			return nil
		}
		time.Sleep(10 * time.Millisecond) // another program's start, which tells nobody
	}
}

// withDisplay plays a role while there is a display on which it can ask, and nobody who looks at it.
func withDisplay(role func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		display := exec.Command("Xvfb", "-displayfd", "1", "-nolisten", "tcp")
		out, err := display.StdoutPipe()
		if err != nil {
			return err
		}
		if err := display.Start(); err != nil {
			return err
		}
		defer func() {
			_ = display.Process.Kill()
			_ = display.Wait()
		}()
		number, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			return err
		}
		name := ":" + strings.TrimSpace(number)
		if err := os.Setenv("DISPLAY", name); err != nil {
			return err
		}
		// The prompter is started by the bus, not by us.
		if err := exec.CommandContext(ctx, "dbus-update-activation-environment", "DISPLAY").Run(); err != nil {
			return err
		}
		return role(ctx)
	}
}

func newStore() (*keychain.Store, error) { return keychain.New("evergrant test", keychain.Options{}) }

// keepRecords stores and loads records of all sizes.
func keepRecords(ctx context.Context) error {
	s, err := newStore()
	if err != nil {
		return err
	}
	other, err := newStore() // as another process
	if err != nil {
		return err
	}
	_, version, err := s.Load(ctx, "k")
	if !errors.Is(err, tokenstore.ErrNotFound) {
		return fmt.Errorf("an empty keychain: %w", err)
	}
	for _, size := range []int{2 << 10, 8 << 10, 100 << 10, 10} {
		value := noise(size)
		if version, err = s.Swap(ctx, "k", version, value); err != nil {
			return fmt.Errorf("writing %d bytes: %w", size, err)
		}
		got, at, err := other.Load(ctx, "k")
		if err != nil {
			return fmt.Errorf("reading %d bytes: %w", size, err)
		}
		if !bytes.Equal(got, value) || at != version {
			return fmt.Errorf("%d bytes came back as %d", size, len(got))
		}
	}
	if _, err = other.Swap(ctx, "k", "stale", []byte("v")); !errors.Is(err, tokenstore.ErrConflict) {
		return fmt.Errorf("a stale swap: %w", err)
	}
	if _, err = other.Swap(ctx, "k", version, nil); err != nil {
		return fmt.Errorf("deleting: %w", err)
	}
	if _, _, err = s.Load(ctx, "k"); !errors.Is(err, tokenstore.ErrNotFound) {
		return fmt.Errorf("after deleting: %w", err)
	}
	for _, err := range s.Keys(ctx, "") {
		return fmt.Errorf("a key is left: %w", err)
	}
	made, err := s.Key(ctx, true)
	if err != nil {
		return err
	}
	if found, err := other.Key(ctx, false); err != nil || !bytes.Equal(made, found) {
		return fmt.Errorf("the key is another one: %w", err)
	}
	if _, err := s.Swap(ctx, "k", "", []byte("v")); err != nil {
		return err
	}
	for key, err := range other.Keys(ctx, "") {
		if key != "k" || err != nil {
			return fmt.Errorf("the keys hold %q: %w", key, err)
		}
	}
	if err := s.Probe(ctx); err != nil {
		return fmt.Errorf("probing what works: %w", err)
	}
	unattended, err := keychain.New("evergrant test", keychain.Options{Unattended: true})
	if err != nil {
		return err
	}
	_, _, err = unattended.Load(ctx, "k")
	return err
}

// expect tries every kind of access, which must fail for the reason want before the deadline.
func expect(ctx context.Context, want error, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	s, err := newStore()
	if err != nil {
		return err
	}
	_, _, loaded := s.Load(ctx, "k")
	_, swapped := s.Swap(ctx, "k", "", []byte("v"))
	_, keyed := s.Key(ctx, true)
	var listed error
	for _, err := range s.Keys(ctx, "") {
		listed = err
	}
	for _, err := range []error{loaded, swapped, keyed, listed, s.Probe(ctx)} {
		if !errors.Is(err, want) {
			return fmt.Errorf("%w instead of %w", err, want)
		}
	}
	return ctx.Err()
}

// expectNoKeyring finds a Secret Service that has no keyring, which nobody is asked to make.
func expectNoKeyring(ctx context.Context) error {
	if err := expect(ctx, keychain.ErrUnavailable, 5*time.Second); err != nil {
		return err
	}
	return expectPrompter(ctx, false)
}

// expectPrompter checks whether the program that puts prompts on the display was started. The bus starts
// it for the first prompt.
func expectPrompter(ctx context.Context, want bool) error {
	out, err := exec.CommandContext(ctx, "dbus-send", "--session", "--print-reply", "--dest=org.freedesktop.DBus",
		"/org/freedesktop/DBus", "org.freedesktop.DBus.NameHasOwner", "string:org.gnome.keyring.SystemPrompter").Output()
	if err == nil && bytes.Contains(out, []byte("boolean true")) != want {
		err = fmt.Errorf("a prompt came up: %v", !want)
	}
	return err
}

// expectPrompt reads from a keychain that asks, and goes on asking when the reader has left.
func expectPrompt(ctx context.Context) error {
	s, err := newStore()
	if err != nil {
		return err
	}
	if err := s.Probe(ctx); !errors.Is(err, keychain.ErrLocked) {
		return fmt.Errorf("%w from a probe", err)
	}
	unattended, err := keychain.New("evergrant test", keychain.Options{Unattended: true})
	if err != nil {
		return err
	}
	if _, err := unattended.Swap(ctx, "k", "", []byte("v")); !errors.Is(err, keychain.ErrLocked) {
		return fmt.Errorf("%w with nobody there", err)
	}
	if err := expectPrompter(ctx, false); err != nil {
		return err
	}
	told := make(chan string, 1)
	defer s.Notify(func(_, text string) { told <- text })()
	short, cancel := context.WithTimeout(ctx, 6500*time.Millisecond) // longer than silence is borne
	defer cancel()
	began := time.Now()
	_, _, err = s.Load(short, "k")
	if !errors.Is(err, keychain.ErrLocked) || !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("%w instead of a wait until the deadline", err)
	}
	if took := time.Since(began); took > 6550*time.Millisecond {
		return fmt.Errorf("a deadline of 6.5s took %v", took)
	}
	if len(told) != 1 {
		return errors.New("the program was not told that it waits for a person")
	}
	if err := expectPrompter(ctx, true); err != nil {
		return err
	}
	began = time.Now()
	_, err = s.Swap(ctx, "k", "", []byte("v"))
	if !errors.Is(err, keychain.ErrLocked) {
		return fmt.Errorf("%w beside a call that was left behind", err)
	}
	if took := time.Since(began); took > time.Second {
		return fmt.Errorf("failing at once took %v", took)
	}
	return nil
}

// A keychain that has crashed is not absent: its answer is lost, and what it was told may have been done.
func TestKeychainThatCrashesIsNotAbsent(t *testing.T) {
	for name, trouble := range map[string]error{
		"no reply":           dbus.Error{Name: "org.freedesktop.DBus.Error.NoReply"},
		"disconnected":       dbus.Error{Name: "org.freedesktop.DBus.Error.Disconnected"},
		"timed out":          dbus.Error{Name: "org.freedesktop.DBus.Error.TimedOut"},
		"connection closed":  dbus.ErrClosed,
		"connection is lost": &net.OpError{Op: "read", Net: "unix", Err: syscall.ECONNRESET},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			d.f.trouble = func(string, string) error { return trouble }
			e := d.open(t, true)
			_, _, err := e.Load(t.Context(), "k")
			require.ErrorIs(t, err, keychain.ErrUnavailable)
			require.NotErrorIs(t, err, tokenstore.ErrNotFound)
			_, err = e.Swap(t.Context(), "k", "", []byte("v"))
			require.ErrorIs(t, err, keychain.ErrUnavailable)
			requireValue(t, d.fallback, "")
		})
	}
}

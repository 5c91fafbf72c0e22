package keychain_test

import (
	"errors"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/keychain"
)

// exit is the error of a program that ended with code.
func exit(t *testing.T, code int) error {
	if runtime.GOOS == "windows" {
		t.Skip("needs a shell")
	}
	err := exec.Command("sh", "-c", "exit "+strconv.Itoa(code)).Run()
	require.Error(t, err)
	return err
}

func TestErrors(t *testing.T) {
	text := func(s string) func(*testing.T) error { return func(*testing.T) error { return errors.New(s) } }
	code := func(n int) func(*testing.T) error { return func(t *testing.T) error { return exit(t, n) } }
	is := func(err error) func(*testing.T) error { return func(*testing.T) error { return err } }
	named := func(name string) func(*testing.T) error {
		return is(fmt.Errorf("a call: %w", dbus.Error{Name: name, Body: []any{"some words"}}))
	}
	all := []error{
		keychain.ErrUnavailable, keychain.ErrLocked, keychain.ErrDenied, keychain.ErrCancelled, keychain.ErrTooBig,
	}
	advice := map[string]string{ // what a person is to do, by system and error
		"darwin locked": "security unlock-keychain", "linux locked": "unlock the login keyring",
		"darwin denied": "Always Allow", "windows unavailable": "log on at the machine", "linux unavailable": "start a Secret Service",
	}
	short := map[error]string{keychain.ErrLocked: "locked", keychain.ErrDenied: "denied", keychain.ErrUnavailable: "unavailable"}
	for name, c := range map[string]struct {
		system string
		err    func(*testing.T) error
		want   error // nil: none of ours
	}{
		"unsupported":                {"plan9", is(keyring.ErrUnsupportedPlatform), keychain.ErrUnavailable},
		"no dbus-launch":             {"linux", is(&exec.Error{Name: "dbus-launch", Err: exec.ErrNotFound}), keychain.ErrUnavailable},
		"dbus-launch fails":          {"linux", code(1), keychain.ErrUnavailable},
		"no socket":                  {"linux", is(&net.OpError{Op: "dial", Net: "unix", Err: syscall.ENOENT}), keychain.ErrUnavailable},
		"somebody else's socket":     {"linux", is(&net.OpError{Op: "dial", Net: "unix", Err: syscall.EACCES}), keychain.ErrDenied},
		"no service":                 {"linux", named("org.freedesktop.DBus.Error.ServiceUnknown"), keychain.ErrUnavailable},
		"service does not start":     {"linux", named("org.freedesktop.DBus.Error.Spawn.ChildExited"), keychain.ErrUnavailable},
		"no answer":                  {"linux", named("org.freedesktop.DBus.Error.NoReply"), keychain.ErrUnavailable},
		"bus is gone":                {"linux", is(dbus.ErrClosed), keychain.ErrUnavailable},
		"access denied":              {"linux", named("org.freedesktop.DBus.Error.AccessDenied"), keychain.ErrDenied},
		"the service itself fails":   {"linux", named("org.freedesktop.DBus.Error.Failed"), nil},
		"an error of somebody's":     {"linux", named("org.example.Error"), nil},
		"locked, nobody to ask":      {"linux", text("failed to unlock correct collection '/org/freedesktop/secrets/collection/login'"), keychain.ErrLocked},
		"no keyring yet":             {"linux", text("failed to unlock correct collection '/org/freedesktop/secrets/aliases/default'"), keychain.ErrLocked},
		"locked":                     {"linux", named("org.freedesktop.Secret.Error.IsLocked"), keychain.ErrLocked},
		"locked, in words":           {"linux", text("Cannot create an item in a locked collection"), keychain.ErrLocked},
		"interaction required":       {"darwin", code(29), keychain.ErrLocked},
		"interaction not allowed":    {"darwin", code(36), keychain.ErrLocked},
		"wrong password":             {"darwin", code(51), keychain.ErrLocked},
		"cancelled":                  {"darwin", code(128), keychain.ErrCancelled},
		"no access to the item":      {"darwin", code(101), keychain.ErrDenied},
		"no default keychain":        {"darwin", code(37), keychain.ErrUnavailable},
		"another failure on macOS":   {"darwin", code(1), nil},
		"no logon session":           {"windows", is(syscall.Errno(1312)), keychain.ErrUnavailable},
		"cancelled on Windows":       {"windows", is(syscall.Errno(1223)), keychain.ErrCancelled},
		"another failure of Windows": {"windows", is(syscall.Errno(87)), nil},
		"same number elsewhere":      {"linux", is(syscall.Errno(1312)), nil},
		"too big":                    {"windows", is(keyring.ErrSetDataTooBig), keychain.ErrTooBig},
		"too big for Windows itself": {"windows", is(syscall.Errno(1783)), keychain.ErrTooBig},
	} {
		t.Run(name, func(t *testing.T) {
			cause := c.err(t)
			err := keychain.ClassifyOn(c.system, fmt.Errorf("wrapped: %w", cause))
			require.ErrorIs(t, err, cause)
			require.Contains(t, err.Error(), advice[c.system+" "+short[c.want]])
			for _, sentinel := range all {
				require.Equal(t, sentinel == c.want, errors.Is(err, sentinel), "%v", err)
			}
		})
	}
	require.NoError(t, keychain.ClassifyOn("linux", nil))
}

func TestErrorsReachTheCaller(t *testing.T) {
	f := newFake()
	s := over(t, f, t.TempDir())
	version := swap(t, s, "k", "", []byte("v"))
	for _, broken := range []string{opGet, opSet, opDelete} {
		t.Run(broken, func(t *testing.T) {
			f.trouble = func(operation, _ string) error {
				if operation == broken {
					return errCut
				}
				return nil
			}
			value := []byte("w")
			if broken == opDelete {
				value = nil
			}
			_, err := s.Swap(t.Context(), "k", version, value)
			require.ErrorIs(t, err, errCut)
			_, _, err = s.Load(t.Context(), "k")
			require.Equal(t, broken == opGet, errors.Is(err, errCut))
			require.NotErrorIs(t, err, tokenstore.ErrNotFound)
		})
	}
}

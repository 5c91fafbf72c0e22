package keychain

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os/exec"
	"runtime"
	"strings"
	"syscall"

	"github.com/zalando/go-keyring"
)

var (
	// ErrUnavailable says that there is no keychain here that works: no D-Bus session, no service on it,
	// no default keychain, a logon session without one, a service that does not answer.
	ErrUnavailable = errors.New("keychain: there is no working keychain here")

	// ErrLocked says that the keychain is locked and nobody unlocked it in time, or can be asked to. The
	// Secret Service says the same when a person closes its prompt.
	ErrLocked = errors.New("keychain: the keychain is locked or waits for a person")

	// ErrDenied says that the person or the system refused the program.
	ErrDenied = errors.New("keychain: access to the keychain was refused")

	// ErrCancelled says that the person closed the prompt, where the keychain tells that from a refusal.
	ErrCancelled = errors.New("keychain: the person closed the keychain's prompt")

	// ErrTooBig says that the keychain took no item of the size that it should take. Values of any size
	// are spread over items, so it is not to be expected.
	ErrTooBig = errors.New("keychain: the keychain takes no item that long")
)

var (
	// errSilent says that a keychain is there, asks nobody, and does not answer.
	errSilent = errors.New("it does not answer, though nobody is asked anything: it may have to be restarted")

	// errNobody is the cause of a context that has ended because of answer.
	errNobody = fmt.Errorf("nobody has answered it for %v", answer)
)

// advice says what a person can do about an error, by operating system; "" for all others.
var advice = map[error]map[string]string{
	ErrUnavailable: {
		"darwin":  "make a default keychain with Keychain Access, or keep grants with package tokenstore/file",
		"windows": "log on at the machine, services and remote commands have no Credential Manager, or keep grants with package tokenstore/file",
		"":        "start a Secret Service (gnome-keyring, KWallet, KeePassXC) in this D-Bus session and make a keyring, let a sandbox talk to org.freedesktop.secrets, or keep grants with package tokenstore/file",
	},
	ErrLocked: {
		"darwin":  "unlock it, over SSH with: security unlock-keychain",
		"windows": "answer what it asks, and try again",
		"":        "unlock the login keyring, which needs a display to ask on, and try again",
	},
	ErrDenied: {
		"darwin": "choose Always Allow when asked, or allow it in Keychain Access",
		"":       "allow the program to use it, and try again",
	},
	ErrCancelled: {"": "try again, and let the program use the keychain"},
	ErrTooBig:    {"": "seal files with a key that the keychain holds: package tokenstore/file"},
}

// explain joins what went wrong, its cause and what to do about it.
func explain(what, cause error) error { return explainOn(runtime.GOOS, what, cause) }

func explainOn(system string, what, cause error) error {
	todo, ok := advice[what][system]
	if !ok {
		todo = advice[what][""]
	}
	return fmt.Errorf("%w: %w; %s", what, cause, todo)
}

// late says what the end of a context means inside a keychain: when time ran out a person was asked,
// unless something else is known.
func late(ctx context.Context) error {
	if ctx.Err() == context.DeadlineExceeded {
		return explain(ErrLocked, timeout(ctx))
	}
	return fmt.Errorf("keychain: %w", ctx.Err())
}

// timeout is the error of a context whose time is over: its own, unless the time was given to it here.
func timeout(ctx context.Context) error {
	if context.Cause(ctx) == errNobody {
		return errNobody
	}
	return ctx.Err()
}

// classify says what an error of go-keyring means. It never holds a value.
func classify(err error) error { return classifyOn(runtime.GOOS, err) }

func classifyOn(system string, err error) error {
	if err == nil {
		return nil
	}
	for _, what := range []error{
		meaningOfType(err), meaningOfName(err), meaningOfText(err), meaningOfExit(system, err), meaningOfNumber(system, err),
	} {
		if what == ErrUnavailable && isUnanswered(err) {
			return explainOn(system, what, fmt.Errorf("%w: %w", errSilent, err))
		}
		if what != nil {
			return explainOn(system, what, err)
		}
	}
	return fmt.Errorf("keychain: the keychain failed: %w", err)
}

// meaningOfType looks at the types of errors that mean the same everywhere.
func meaningOfType(err error) error {
	var network *net.OpError
	var command *exec.Error
	switch {
	case errors.Is(err, fs.ErrPermission):
		return ErrDenied
	case errors.Is(err, keyring.ErrSetDataTooBig):
		return ErrTooBig
	case errors.Is(err, keyring.ErrUnsupportedPlatform), errors.As(err, &network), errors.As(err, &command):
		return ErrUnavailable // no D-Bus to dial, no dbus-launch or security to run
	}
	return nil
}

// meaningOfText looks for the words of go-keyring and of Secret Services, whose errors have no types or
// names that tell them apart.
func meaningOfText(err error) error {
	text := err.Error()
	for _, c := range []struct {
		words string
		what  error
	}{
		{"failed to unlock", ErrLocked}, // nobody to ask, the prompt was dismissed, or no keyring yet
		{"Cannot create an item in a locked collection", ErrLocked},
		{"Cannot get secret of a locked object", ErrLocked},
		{"dbus: ", ErrUnavailable}, // closed by user, couldn't determine address …
	} {
		if strings.Contains(text, c.words) {
			return c.what
		}
	}
	return nil
}

// meaningOfExit looks at how macOS's security ended: with the last byte of the OSStatus.
func meaningOfExit(system string, err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return nil
	}
	if system != "darwin" {
		return ErrUnavailable // dbus-launch, the only program that is run there
	}
	switch exit.ExitCode() {
	case 29, 36, 51: // errSecInteractionRequired -25315, errSecInteractionNotAllowed -25308, errSecAuthFailed -25293
		return ErrLocked
	case 101: // errSecNoAccessForItem -25243
		return ErrDenied
	case 128: // userCanceledErr -128
		return ErrCancelled
	case 37, 50, 53: // errSecNoDefaultKeychain -25307, errSecNoSuchKeychain -25294, errSecNotAvailable -25291
		return ErrUnavailable
	}
	return nil
}

// meaningOfNumber looks at the error numbers of Windows.
func meaningOfNumber(system string, err error) error {
	var number syscall.Errno
	if system != "windows" || !errors.As(err, &number) {
		return nil
	}
	switch number {
	case 1312, 1058, 1062, 1722: // no such logon session, service disabled, not started, RPC unavailable
		return ErrUnavailable
	case 1223: // cancelled by the user
		return ErrCancelled
	case 1783: // bad data: what CredWrite says of a blob that is too long
		return ErrTooBig
	}
	return nil
}

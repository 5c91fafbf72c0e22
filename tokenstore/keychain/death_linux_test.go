package keychain_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/godbus/dbus/v5"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/keychain"
)

// dieAtEnv says before which of its operations a process dies, grantEnv which grant it was to write.
const (
	dieAtEnv = "KEYCHAIN_TEST_DIE_AT"
	grantEnv = "KEYCHAIN_TEST_GRANT"
)

// mortal is the keychain of a process that kills itself.
type mortal struct {
	keychain.System
	left int
}

func (m *mortal) step() {
	if m.left--; m.left == 0 {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	}
}

func (m *mortal) Get(service, user string) (string, error) {
	m.step()
	return m.System.Get(service, user)
}

func (m *mortal) Set(service, user, text string) error {
	m.step()
	return m.System.Set(service, user, text)
}

func (m *mortal) Delete(service, user string) error {
	m.step()
	return m.System.Delete(service, user)
}

// mortalStore has items so short that a grant of 250 bytes lies in three.
func mortalStore(dieAt int) (*keychain.Store, error) {
	return keychain.NewOn(&mortal{left: dieAt}, keychain.Platform{Limit: 200}, "evergrant test", os.Getenv("HOME"))
}

// known is a value of n bytes that cannot be compressed, the same in every process.
func known(seed byte, n int) []byte {
	value := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(value)
	return value
}

// deaths are the changes of a grant in which processes die; a nil one is an absent grant. Others are tried
// where the keychain is a fake.
var deaths = []struct{ before, after []byte }{
	{known(1, 250), known(2, 250)},
	{known(1, 250), nil},
	{known(1, 20), known(2, 250)},
}

// die changes the grant, and dies on the way.
func die(ctx context.Context) error {
	at, err := strconv.Atoi(os.Getenv(dieAtEnv))
	if err != nil {
		return err
	}
	which, err := strconv.Atoi(os.Getenv(grantEnv))
	if err != nil {
		return err
	}
	s, err := mortalStore(at)
	if err != nil {
		return err
	}
	return put(ctx, s, deaths[which].after)
}

// put makes value the grant, whatever it was.
func put(ctx context.Context, s *keychain.Store, value []byte) error {
	_, version, err := s.Load(ctx, "k")
	if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
		return err
	}
	_, err = s.Swap(ctx, "k", version, value)
	return err
}

// dieEverywhere has a process die before each operation of each change.
func dieEverywhere(ctx context.Context) error {
	for which := range deaths {
		for at := 1; ; at++ {
			came, err := dieBefore(ctx, which, at)
			if err != nil {
				return fmt.Errorf("change %d, killed before operation %d: %w", which, at, err)
			}
			if !came {
				continue
			}
			if at < 5 {
				return fmt.Errorf("change %d came through after %d operations", which, at-1)
			}
			break
		}
	}
	return nil
}

// dieBefore has a process die, and looks at what it left. came reports that it came through.
func dieBefore(ctx context.Context, which, at int) (came bool, err error) {
	s, err := mortalStore(0) // immortal
	if err != nil {
		return false, err
	}
	before, after := deaths[which].before, deaths[which].after
	if err := put(ctx, s, before); err != nil {
		return false, err
	}
	child := exec.CommandContext(ctx, os.Args[0])
	child.Env = append(os.Environ(), roleEnv+"=dies", dieAtEnv+"="+strconv.Itoa(at), grantEnv+"="+strconv.Itoa(which))
	out, err := child.CombinedOutput()
	came = err == nil
	if status, ok := child.ProcessState.Sys().(syscall.WaitStatus); !came && (!ok || status.Signal() != syscall.SIGKILL) {
		return false, fmt.Errorf("%w: %s", err, out)
	}
	value, _, err := s.Load(ctx, "k")
	if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
		return false, err
	}
	if !bytes.Equal(value, after) && (came || !bytes.Equal(value, before)) {
		return false, fmt.Errorf("a grant of %d bytes is neither the former nor the new one", len(value))
	}
	return came, leavesNothing(ctx, s)
}

// leavesNothing writes a grant of one item, deletes it, and counts the items both times.
func leavesNothing(ctx context.Context, s *keychain.Store) error {
	bus, err := dbus.ConnectSessionBus()
	if err != nil {
		return err
	}
	defer bus.Close()
	for _, c := range []struct {
		value []byte
		items int
	}{{[]byte("v"), 2}, {nil, 0}} { // with the list of keys, which goes with its last one
		if err := put(ctx, s, c.value); err != nil {
			return err
		}
		var open, locked []dbus.ObjectPath
		err := bus.Object("org.freedesktop.secrets", "/org/freedesktop/secrets").CallWithContext(ctx,
			"org.freedesktop.Secret.Service.SearchItems", 0, map[string]string{"service": "evergrant test"}).Store(&open, &locked)
		if err != nil {
			return err
		}
		if len(open)+len(locked) != c.items {
			return fmt.Errorf("a grant of %d bytes lies in %d items", len(c.value), len(open)+len(locked))
		}
	}
	return nil
}

package gnomekeyring_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/gnomekeyring"
	"github.com/evergrant/evergrant/internal/e2e/process"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
	"github.com/evergrant/evergrant/tokenstore/keychain"
	"github.com/evergrant/evergrant/tokenstore/seal"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

const program = "evergrant-e2e" // the service in the keychain

func open(t testing.TB, options keychain.Options) *keychain.Store {
	t.Helper()
	s, err := keychain.New(program, options)
	require.NoError(t, err)
	return s
}

func TestStoreContract(t *testing.T) {
	if gnomekeyring.Rerun(t, gnomekeyring.Unlocked) {
		return
	}
	storetest.Run(t, func(t testing.TB) tokenstore.Store {
		return open(t, keychain.Options{Dir: storetest.Place(t)})
	})
}

func TestProbe(t *testing.T) {
	for state, want := range map[gnomekeyring.State]error{
		gnomekeyring.Unlocked:  nil,
		gnomekeyring.Locked:    keychain.ErrLocked,
		gnomekeyring.NoService: keychain.ErrUnavailable,
		gnomekeyring.NoBus:     keychain.ErrUnavailable,
	} {
		t.Run(string(state), func(t *testing.T) {
			if gnomekeyring.Rerun(t, state) {
				return
			}
			dir := t.TempDir()
			require.ErrorIs(t, open(t, keychain.Options{Dir: dir}).Probe(t.Context()), want)
			_, err := open(t, keychain.Options{Dir: dir, Unattended: true}).Swap(t.Context(), "k", "", []byte("v"))
			require.ErrorIs(t, err, want, "as a Swap then finds it")
		})
	}
}

// A desktop program and a cron job, which has no session bus, share one grant.
func TestOrElse(t *testing.T) {
	if gnomekeyring.Rerun(t, gnomekeyring.Unlocked) {
		return
	}
	dir := t.TempDir()
	desktop, err := orElse(dir)
	require.NoError(t, err)
	require.NoError(t, desktop.Probe(t.Context()))
	require.Zero(t, items(t), "a probe leaves nothing")
	_, err = desktop.Swap(t.Context(), "desktop's", "", []byte("v"))
	require.NoError(t, err)
	require.Equal(t, 2, items(t), "the grant and the list of keys")

	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = []string{cron + "=" + dir, "PATH=" + dir, "HOME=" + dir, "XDG_RUNTIME_DIR=" + dir}
	output, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", output)
	value, _, err := desktop.Load(t.Context(), "cron's")
	require.NoError(t, err)
	require.Equal(t, "v", string(value))
	require.Equal(t, 2, items(t), "the cron job's grant is in the fallback")
	var keys []string
	for key, err := range desktop.Keys(t.Context(), "") {
		require.NoError(t, err)
		keys = append(keys, key)
	}
	require.ElementsMatch(t, []string{"desktop's", "cron's"}, keys)
}

// cron is the variable that makes the test binary the cron job; it names the folder that both use.
const cron = "EVERGRANT_E2E_CRON"

func orElse(dir string) (*keychain.Either, error) {
	ring, err := keychain.New(program, keychain.Options{Dir: dir})
	if err != nil {
		return nil, err
	}
	key := bytes.Repeat([]byte("k"), 32)
	files, err := file.New(filepath.Join(dir, "files"), file.Options{Key: seal.RawKey(key)})
	if err != nil {
		return nil, err
	}
	return ring.OrElse(files), nil
}

// logInAsCron logs in where there is no keychain.
func logInAsCron(dir string) error {
	store, err := orElse(dir)
	if err != nil {
		return err
	}
	if err := store.Probe(context.Background()); err != nil {
		return err
	}
	_, err = store.Swap(context.Background(), "cron's", "", []byte("v"))
	return err
}

// items returns how many items of the program the keyring has.
func items(t *testing.T) int {
	bus, err := dbus.ConnectSessionBus()
	require.NoError(t, err)
	defer bus.Close()
	var unlocked, locked []dbus.ObjectPath
	err = bus.Object("org.freedesktop.secrets", "/org/freedesktop/secrets").Call(
		"org.freedesktop.Secret.Service.SearchItems", 0, map[string]string{"service": program}).Store(&unlocked, &locked)
	require.NoError(t, err)
	return len(unlocked) + len(locked)
}

// victim is the variable that makes the test binary a program which writes until it is killed; it names
// the folder of the locks.
const victim = "EVERGRANT_E2E_VICTIM"

// numbered is the value number n: whole, or not to be taken for it. Every other one lies in several items.
func numbered(n uint64) []byte {
	size := 100
	if n%2 == 0 {
		size = 150 << 10
	}
	value := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{byte(n), byte(n >> 8)}).Read(value)
	binary.BigEndian.PutUint64(value, n)
	return value
}

// writeUntilKilled replaces the grant by the one with the next number, and says each that is written.
func writeUntilKilled(dir string) error {
	s, err := keychain.New(program, keychain.Options{Dir: dir})
	if err != nil {
		return err
	}
	for {
		value, version, err := s.Load(context.Background(), "k")
		if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
			return err
		}
		var n uint64
		if err == nil {
			n = binary.BigEndian.Uint64(value)
		}
		if _, err := s.Swap(context.Background(), "k", version, numbered(n+1)); err != nil {
			return err
		}
		fmt.Println(n + 1)
	}
}

// Processes are killed at random moments: the grant is whole, and what they said was written is.
func TestKills(t *testing.T) {
	if gnomekeyring.Rerun(t, gnomekeyring.Unlocked) {
		return
	}
	dir := t.TempDir()
	s := open(t, keychain.Options{Dir: dir})
	for round := range 12 {
		said := killOne(t, dir)
		value, version, err := s.Load(t.Context(), "k")
		require.NoError(t, err, "round %d", round)
		n := binary.BigEndian.Uint64(value)
		require.True(t, bytes.Equal(numbered(n), value), "round %d: the grant is not whole", round)
		require.Contains(t, []uint64{said, said + 1}, n, "round %d", round)
		if round%4 == 3 {
			version, err = s.Swap(t.Context(), "k", version, numbered(n+1+n%2)) // a short one
			require.NoError(t, err)
			require.NotEmpty(t, version)
			require.Equal(t, 2, items(t), "parts are left beside the grant and the list of keys")
		}
	}
}

// killOne runs a victim for a while and returns the last number that it said.
func killOne(t *testing.T, dir string) (said uint64) {
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), victim+"="+dir)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	process.Start(t, cmd)
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		first := said == 0
		said, err = strconv.ParseUint(strings.TrimSpace(lines.Text()), 10, 64)
		require.NoError(t, err)
		if first {
			time.AfterFunc(time.Duration(rand.IntN(200_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		}
	}
	require.NotZero(t, said, "the victim never wrote")
	_ = cmd.Wait()
	return said
}

package gnomekeyring_test

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"

	"github.com/evergrant/evergrant/internal/e2e/gnomekeyring"
	"github.com/evergrant/evergrant/internal/e2e/process"
)

func TestUnlocked(t *testing.T) {
	if gnomekeyring.Rerun(t, gnomekeyring.Unlocked) {
		return
	}
	_, err := keyring.Get("evergrant-e2e", "nobody")
	require.ErrorIs(t, err, keyring.ErrNotFound)
	value := strings.Repeat("v", 100<<10)
	require.NoError(t, keyring.Set("evergrant-e2e", "somebody", value))
	got, err := keyring.Get("evergrant-e2e", "somebody")
	require.NoError(t, err)
	require.Equal(t, value, got)
}

func TestLocked(t *testing.T) {
	if gnomekeyring.Rerun(t, gnomekeyring.Locked) {
		return
	}
	_, err := keyring.Get("evergrant-e2e", "somebody")
	require.Error(t, err)
	require.NotErrorIs(t, err, keyring.ErrNotFound)
	require.ErrorContains(t, err, "unlock", "go-keyring has no type for it")
}

func TestNoService(t *testing.T) {
	if gnomekeyring.Rerun(t, gnomekeyring.NoService) {
		return
	}
	var refused dbus.Error
	require.ErrorAs(t, keyring.Set("evergrant-e2e", "somebody", "v"), &refused)
	require.Equal(t, "org.freedesktop.DBus.Error.ServiceUnknown", refused.Name)
}

func TestNoBus(t *testing.T) {
	if gnomekeyring.Rerun(t, gnomekeyring.NoBus) {
		return
	}
	require.ErrorIs(t, keyring.Set("evergrant-e2e", "somebody", "v"), exec.ErrNotFound)
}

func TestAnotherProgramSeesTheSession(t *testing.T) {
	tool := process.Need(t, "secret-tool")
	env := gnomekeyring.Start(t, gnomekeyring.Unlocked)
	store := exec.Command(tool, "store", "--label=test", "service", "evergrant-e2e")
	store.Env = env
	store.Stdin = strings.NewReader("a value")
	output, err := store.CombinedOutput()
	require.NoError(t, err, "%s", output)

	lookup := exec.Command(tool, "lookup", "service", "evergrant-e2e")
	lookup.Env = env
	value, err := lookup.Output()
	require.NoError(t, err)
	require.Equal(t, "a value", string(value))
}

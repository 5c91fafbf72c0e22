package file_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore/file"
)

// useNetworkFolder runs where all mounts are its own: there the folder's becomes one of NFS without locks,
// as far as the kernel's list says, and then one with locks.
func useNetworkFolder(ctx context.Context, s *file.Store) error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", "/proc", "tmpfs", 0, ""); err != nil {
		return err
	}
	if err := os.Mkdir("/proc/self", 0o755); err != nil {
		return err
	}
	if err := listNFS("local_lock=all"); err != nil {
		return err
	}
	_, err := s.Swap(ctx, "k", "", []byte("v"))
	_, held := s.Hold(ctx, "attempt")
	for _, err := range []error{err, held, s.Probe(ctx)} {
		if !errors.Is(err, file.ErrLocalLocks) {
			return fmt.Errorf("a folder without locks: %w", err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(childDir(), "*")); len(left) > 0 {
		return fmt.Errorf("left there: %q", left)
	}
	if err := listNFS("local_lock=none"); err != nil {
		return err
	}
	if err := s.Probe(ctx); err != nil {
		return err
	}
	_, err = s.Swap(ctx, "k", "", []byte("v"))
	return err
}

func listNFS(option string) error {
	line := "40 31 0:45 / " + childDir() + " rw,relatime - nfs server:/export rw,vers=3,hard," + option + ",addr=10.0.0.1\n"
	return os.WriteFile("/proc/self/mountinfo", []byte(line), 0o600)
}

func TestNetworkFolder(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=network:"+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{HostID: gid, Size: 1}}
	}
	out, err := cmd.CombinedOutput()
	if errors.Is(err, syscall.EPERM) {
		t.Skip("this machine lets nobody have mounts of his own")
	}
	require.NoError(t, err, string(out))
	value, _, err := sealed(t, dir).Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "v", string(value))
}

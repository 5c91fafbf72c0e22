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

	"github.com/evergrant/evergrant/tokenstore"
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

// useSmallDisk runs where all mounts are its own: it puts a disk of 64 KiB on the folder, fills it, frees
// it, and makes it one that can only be read.
func useSmallDisk(ctx context.Context, s *file.Store) error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", childDir(), "tmpfs", 0, "size=64k,mode=700"); err != nil {
		return err
	}
	version, err := s.Swap(ctx, "k", "", []byte("v"))
	if err != nil {
		return err
	}
	filler := filepath.Join(childDir(), "filler")
	if err := os.WriteFile(filler, make([]byte, 64<<10), 0o600); !errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("the disk is not full: %w", err)
	}
	if err := refuses(ctx, s, version, syscall.ENOSPC); err != nil {
		return err
	}
	if err := os.Remove(filler); err != nil {
		return err
	}
	if err := s.Probe(ctx); err != nil {
		return err
	}
	if err := syscall.Mount("", childDir(), "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		return err
	}
	return refuses(ctx, s, version, syscall.EROFS)
}

// refuses checks that nothing can be written, for the reason want, that Probe says so too, and that what
// is there can be read and stays as it is.
func refuses(ctx context.Context, s *file.Store, version tokenstore.Version, want error) error {
	_, err := s.Swap(ctx, "k", version, []byte("w"))
	for _, err := range []error{err, s.Probe(ctx)} {
		if !errors.Is(err, want) {
			return fmt.Errorf("%w instead of %w", err, want)
		}
	}
	value, again, err := s.Load(ctx, "k")
	if err != nil || string(value) != "v" || again != version {
		return fmt.Errorf("%q is left: %w", value, err)
	}
	if left, _ := filepath.Glob(filepath.Join(childDir(), "*.tmp")); len(left) > 0 {
		return fmt.Errorf("left there: %q", left)
	}
	return nil
}

func listNFS(option string) error {
	line := "40 31 0:45 / " + childDir() + " rw,relatime - nfs server:/export rw,vers=3,hard," + option + ",addr=10.0.0.1\n"
	return os.WriteFile("/proc/self/mountinfo", []byte(line), 0o600)
}

// withMounts runs job in a process that has mounts of its own, and returns its folder.
func withMounts(t *testing.T, job string) (dir string) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+job+":"+dir)
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
	return dir
}

func TestNetworkFolder(t *testing.T) {
	dir := withMounts(t, "network")
	value, _, err := sealed(t, dir).Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "v", string(value))
}

func TestSmallDisk(t *testing.T) { withMounts(t, "disk") }

// loseVolume runs where all mounts are its own: it takes the volume of a folder away from under a Store, and gives it
// back as another device. The folder is that where the volume is mounted, or one below.
func loseVolume(ctx context.Context, _ *file.Store) error {
	if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	for i, below := range []string{"", "below", "far/below"} {
		point := filepath.Join(childDir(), fmt.Sprintf("volume %d", i))
		if err := os.MkdirAll(point, 0o700); err != nil {
			return err
		}
		s, err := file.New(filepath.Join(point, below), file.Options{Plaintext: true})
		if err != nil {
			return err
		}
		if err := loseVolumeOf(ctx, s, point, below); err != nil {
			return fmt.Errorf("%q: %w", below, err)
		}
	}
	return nil
}

func loseVolumeOf(ctx context.Context, s *file.Store, point, below string) error {
	if err := syscall.Mount("tmpfs", point, "tmpfs", 0, "mode=700"); err != nil {
		return err
	}
	if _, _, err := s.Load(ctx, "k"); !errors.Is(err, tokenstore.ErrNotFound) {
		return fmt.Errorf("of an empty volume: %w", err)
	}
	version, err := s.Swap(ctx, "k", "", []byte("v"))
	if err != nil {
		return err
	}
	saved := filepath.Join(childDir(), "saved")
	if err := os.CopyFS(saved, os.DirFS(point)); err != nil {
		return err
	}
	defer os.RemoveAll(saved)
	if err := syscall.Unmount(point, 0); err != nil {
		return err
	}
	if err := isGone(ctx, s, version); err != nil {
		return err
	}
	if left, _ := filepath.Glob(filepath.Join(point, "*")); len(left) > 0 {
		return fmt.Errorf("left on the bare mount point: %q", left)
	}
	if err := syscall.Mount("tmpfs", point, "tmpfs", 0, "mode=700"); err != nil {
		return err
	}
	if err := os.CopyFS(point, os.DirFS(saved)); err != nil {
		return err
	}
	if below != "" { // os.CopyFS made folders as the mask lets it
		if err := os.Chmod(filepath.Join(point, below), 0o700); err != nil {
			return err
		}
	}
	if version, err = s.Swap(ctx, "k", version, []byte("w")); err != nil {
		return fmt.Errorf("of a volume that is back: %w", err)
	}
	if below == "" {
		return nil
	}
	if err := os.RemoveAll(filepath.Join(point, below)); err != nil { // by a person
		return err
	}
	if _, _, err := s.Load(ctx, "k"); !errors.Is(err, tokenstore.ErrNotFound) {
		return fmt.Errorf("of a deleted folder: %w", err)
	}
	if _, err := s.Swap(ctx, "k", version, []byte("x")); !errors.Is(err, tokenstore.ErrConflict) {
		return fmt.Errorf("of a deleted folder: %w", err)
	}
	_, err = s.Swap(ctx, "k", "", []byte("x"))
	return err
}

// isGone checks that nothing is said of the grant, whatever is asked.
func isGone(ctx context.Context, s *file.Store, version tokenstore.Version) error {
	_, _, loaded := s.Load(ctx, "k")
	_, replaced := s.Swap(ctx, "k", version, []byte("w"))
	_, deleted := s.Swap(ctx, "k", version, nil)
	_, created := s.Swap(ctx, "k", "", []byte("w"))
	_, held := s.Hold(ctx, "attempt")
	_, lives := s.Held(ctx, "attempt")
	var listed error
	for _, err := range s.Keys(ctx, "") {
		listed = err
	}
	for name, err := range map[string]error{
		"Load": loaded, "replacement": replaced, "deletion": deleted, "creation": created, "Hold": held, "Held": lives,
		"Keys": listed, "Probe": s.Probe(ctx),
	} {
		if !errors.Is(err, file.ErrFolderGone) || errors.Is(err, tokenstore.ErrNotFound) || errors.Is(err, tokenstore.ErrConflict) {
			return fmt.Errorf("%s without the volume: %w", name, err)
		}
	}
	return nil
}

func TestVolumeThatGoesAwayTakesNoGrantAlong(t *testing.T) { withMounts(t, "volume") }

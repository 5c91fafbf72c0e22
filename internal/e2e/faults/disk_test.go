//go:build linux

package faults_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/process"
)

// disk is a small file system of its own, which can be made to refuse writes.
type disk struct {
	t      *testing.T
	dir    string
	folder string // of the store
}

// newDisk mounts one, for root. For others it is a folder, which can be closed to writing but not full.
func newDisk(t *testing.T) *disk {
	t.Helper()
	d := &disk{t: t, dir: t.TempDir()}
	d.folder = filepath.Join(d.dir, "store")
	if isRoot() {
		if err := syscall.Mount("tmpfs", d.dir, "tmpfs", 0, "size=64k,mode=0700"); err != nil {
			process.Missing(t, "the right to mount a file system")
		}
		t.Cleanup(func() { require.NoError(t, syscall.Unmount(d.dir, syscall.MNT_DETACH)) })
	}
	require.NoError(t, os.Mkdir(d.folder, 0o700))
	return d
}

func isRoot() bool { return os.Geteuid() == 0 }

// fill leaves no page free.
func (d *disk) fill() {
	d.t.Helper()
	ballast, err := os.Create(d.ballast())
	require.NoError(d.t, err)
	defer ballast.Close()
	page := make([]byte, os.Getpagesize())
	for err == nil {
		_, err = ballast.Write(page)
	}
	require.ErrorIs(d.t, err, syscall.ENOSPC)
}

func (d *disk) empty() {
	d.t.Helper()
	require.NoError(d.t, os.Remove(d.ballast()))
}

func (d *disk) ballast() string { return filepath.Join(d.dir, "ballast") }

// protect makes the disk read-only and returns how it says so.
func (d *disk) protect() syscall.Errno {
	d.t.Helper()
	if isRoot() {
		require.NoError(d.t, syscall.Mount("", d.dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
		return syscall.EROFS
	}
	require.NoError(d.t, os.Chmod(d.folder, 0o500))
	return syscall.EACCES
}

func (d *disk) unprotect() {
	d.t.Helper()
	if isRoot() {
		require.NoError(d.t, syscall.Mount("", d.dir, "", syscall.MS_REMOUNT, ""))
		return
	}
	require.NoError(d.t, os.Chmod(d.folder, 0o700))
}

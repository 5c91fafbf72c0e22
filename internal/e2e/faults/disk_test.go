//go:build linux

package faults_test

import (
	"fmt"
	"os"
	"os/exec"
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

// newDisk mounts one, as root or through sudo, as what the end-to-end tests need is installed.
func newDisk(t *testing.T) *disk {
	t.Helper()
	d := &disk{t: t, dir: t.TempDir()}
	d.folder = filepath.Join(d.dir, "store")
	options := fmt.Sprintf("size=64k,mode=0700,uid=%d", os.Geteuid())
	if err := asRoot("mount", "-t", "tmpfs", "-o", options, "tmpfs", d.dir); err != nil {
		process.Missing(t, "the right to mount a file system")
	}
	t.Cleanup(func() { require.NoError(t, asRoot("umount", "--lazy", d.dir)) })
	require.NoError(t, os.Mkdir(d.folder, 0o700))
	return d
}

func asRoot(command ...string) error {
	if os.Geteuid() != 0 {
		command = append([]string{"sudo", "-n"}, command...)
	}
	return exec.Command(command[0], command[1:]...).Run()
}

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

func (d *disk) protect() {
	d.t.Helper()
	require.NoError(d.t, asRoot("mount", "-o", "remount,ro", d.dir))
}

func (d *disk) unprotect() {
	d.t.Helper()
	require.NoError(d.t, asRoot("mount", "-o", "remount,rw", d.dir))
}

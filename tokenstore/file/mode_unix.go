//go:build !windows

package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// guardFolder sees to it that only its owner can write to dir: whoever else can, could put a file of
// theirs in the place of a grant.
func guardFolder(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("file: the folder cannot be used: %w", err)
	}
	mode := info.Mode()
	switch {
	case !info.IsDir():
		return fmt.Errorf("file: %s is no folder: %w", dir, fs.ErrInvalid)
	case mode&0o022 == 0:
		return nil
	case mode&fs.ModeSticky != 0:
		return fmt.Errorf("file: the folder %s is shared with others: name a folder of the program's own in it: %w", dir, fs.ErrPermission)
	}
	if err := os.Chmod(dir, mode&^0o022); err != nil {
		return fmt.Errorf("file: others can write to the folder, take that right away (chmod 700): %w", err)
	}
	return nil
}

// guardFile sees to it that only its owner can read f.
func guardFile(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("file: a grant cannot be read: %w", err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("file: %s is no regular file: %w", f.Name(), fs.ErrInvalid)
	}
	if info.Mode()&0o077 == 0 {
		return nil
	}
	if err := f.Chmod(0o600); err != nil {
		return fmt.Errorf("file: others can read a grant, take that right away (chmod 600): %w", err)
	}
	return nil
}

// syncFolder makes the names in dir durable, where the file system can.
func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// isMomentary reports whether err is gone in a moment. Unix knows no such errors.
func isMomentary(error) bool { return false }

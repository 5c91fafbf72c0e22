package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// guardFolder checks that dir is one: who may use it is said by its access list, which is not ours.
func guardFolder(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("file: the folder cannot be used: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("file: %s is no folder: %w", dir, fs.ErrInvalid)
	}
	return nil
}

// guardFile does nothing: a file has the access list of its folder.
func guardFile(*os.File) error { return nil }

// syncFolder does nothing: Windows syncs no folders.
func syncFolder(string) error { return nil }

const (
	errorSharingViolation = syscall.Errno(32)
	errorLockViolation    = syscall.Errno(33)
)

// isMomentary reports whether somebody else has the file open: a reader of ours, a virus scanner, an
// indexer. Replacing or opening a file then fails, as access denied too.
func isMomentary(err error) bool {
	return errors.Is(err, errorSharingViolation) || errors.Is(err, errorLockViolation) ||
		errors.Is(err, syscall.ERROR_ACCESS_DENIED)
}

package durable

import (
	"errors"
	"syscall"
)

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

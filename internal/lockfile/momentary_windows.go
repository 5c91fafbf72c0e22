package lockfile

import (
	"errors"
	"syscall"
)

const (
	errorSharingViolation = syscall.Errno(32)
	errorLockViolation    = syscall.Errno(33)
)

// IsMomentary reports whether somebody else has the file open: a reader of ours, one who removes it, a
// virus scanner, an indexer. Opening, replacing or removing it then fails, as access denied too.
func IsMomentary(err error) bool {
	return errors.Is(err, errorSharingViolation) || errors.Is(err, errorLockViolation) ||
		errors.Is(err, syscall.ERROR_ACCESS_DENIED)
}

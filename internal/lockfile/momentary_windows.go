package lockfile

import (
	"errors"
	"io/fs"
	"slices"
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

// unreachable are what Windows says when the server of a share, or the share, cannot be reached: of the first of them Go
// says fs.ErrNotExist.
var unreachable = []syscall.Errno{
	53,   // ERROR_BAD_NETPATH
	64,   // ERROR_NETNAME_DELETED
	67,   // ERROR_BAD_NET_NAME
	1231, // ERROR_NETWORK_UNREACHABLE
}

// IsAbsent reports whether err says that a file or folder is not there. What cannot be reached may be there.
func IsAbsent(err error) bool {
	var number syscall.Errno
	if errors.As(err, &number) && slices.Contains(unreachable, number) {
		return false
	}
	return errors.Is(err, fs.ErrNotExist)
}

//go:build !windows

package lockfile

import (
	"errors"
	"io/fs"
)

// IsMomentary reports whether err is gone in a moment. Unix knows no such errors.
func IsMomentary(error) bool { return false }

// IsAbsent reports whether err says that a file or folder is not there.
func IsAbsent(err error) bool { return errors.Is(err, fs.ErrNotExist) }

//go:build !windows

package file

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// readFlags open a grant. Whoever follows a link in its place would close another file to others, and
// whoever opens a pipe there would hang.
const readFlags = os.O_RDONLY | syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// guardFolder refuses a folder that others can write to: they could put a file of theirs in the place of
// a grant, or have done so already, so that closing it would be no help.
func guardFolder(dir string) (fs.FileInfo, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("file: the folder cannot be used: %w", err)
	}
	mode := info.Mode()
	switch {
	case !info.IsDir():
		return nil, fmt.Errorf("file: %s is no folder: %w", dir, fs.ErrInvalid)
	case isForeign(info):
		return nil, fmt.Errorf("file: the folder %s belongs to another user: name one of the program's own, in it if need be: %w", dir, fs.ErrPermission)
	case mode&0o022 != 0 && mode&fs.ModeSticky != 0:
		return nil, fmt.Errorf("file: the folder %s is shared with others: name a folder of the program's own in it: %w", dir, fs.ErrPermission)
	case mode&0o022 == 0o020 && mode&fs.ModeSetgid != 0: // so Kubernetes leaves it
		return nil, fmt.Errorf("file: the group can write to the folder %s (%v): see that all in it is yours, then chmod 700 it; where a pod's fsGroup opens it at every start, set fsGroupChangePolicy: OnRootMismatch in its securityContext, and name a folder below the volume's own: %w", dir, mode, fs.ErrPermission)
	case mode&0o022 != 0:
		return nil, fmt.Errorf("file: others can write to the folder %s (%v): see that all in it is yours, then chmod 700 it, or name a folder of the program's own in it: %w", dir, mode, fs.ErrPermission)
	}
	return info, nil
}

// guardFile sees to it that only its owner, who is the user of this process, can use f. It returns the
// mode that f had.
func guardFile(f *os.File) (was fs.FileMode, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	switch was = info.Mode(); {
	case !was.IsRegular():
		return 0, fmt.Errorf("%s is no regular file: %w", f.Name(), fs.ErrInvalid)
	case isForeign(info):
		return 0, fmt.Errorf("%s belongs to another user: delete it to log in anew: %w", f.Name(), fs.ErrPermission)
	case was&0o077 == 0:
		return was, nil
	}
	if err := f.Chmod(0o600); err != nil {
		return 0, fmt.Errorf("others can use it, take that right away (chmod 600): %w", err)
	}
	return was, nil
}

// isForeign reports whether what info describes belongs to somebody else than the user of this process.
func isForeign(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && int64(stat.Uid) != int64(os.Geteuid())
}

// device names the volume on which what info describes lies.
func device(info fs.FileInfo) uint64 {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0
	}
	return uint64(stat.Dev)
}

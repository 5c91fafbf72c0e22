package lockfile

import (
	"fmt"
	"syscall"
)

// local is MNT_LOCAL of statfs(2): the file system is stored on this machine.
const local = 0x1000

// reasonAgainst refuses every network file system: how it is mounted macOS does not tell.
func reasonAgainst(dir string) string {
	var stat syscall.Statfs_t
	if err := syscall.Statfs(dir, &stat); err != nil || stat.Flags&local != 0 {
		return ""
	}
	var kind []byte
	for _, c := range stat.Fstypename {
		if c == 0 {
			break
		}
		kind = append(kind, byte(c))
	}
	return fmt.Sprintf("a network file system (%s)", kind)
}

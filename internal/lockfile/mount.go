package lockfile

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// ErrLocal says that the locks of a file system do not bind everybody who may use it: other machines,
// or the host of a virtual one, have locks of their own or none.
var ErrLocal = errors.New("locks do not reach every machine that may use it")

// CheckFolder returns nil if locks in dir are worth something: dir lies on a disk of this machine, or on
// a network file system that passes locks on. Otherwise the error wraps ErrLocal and says why. What it
// cannot find out it takes for a local disk.
func CheckFolder(dir string) error {
	if reason := reasonAgainst(dir); reason != "" {
		return fmt.Errorf("lockfile: the folder %s lies on %s, whose %w: name a folder on a local disk", dir, reason, ErrLocal)
	}
	return nil
}

// mount is a line of Linux's mountinfo: proc_pid_mountinfo(5).
type mount struct {
	point, kind, source string
	options             []string // of the file system, not of the place where it is mounted
}

// mountOf returns the mount on which the absolute path lies.
func mountOf(mountinfo, path string) (best mount) {
	for line := range strings.Lines(mountinfo) {
		before, after, _ := strings.Cut(line, " - ")
		place, system := strings.Fields(before), strings.Fields(after)
		if len(place) < 5 || len(system) < 3 {
			continue
		}
		point := plain.Replace(place[4])
		// Of two at one place the later one covers the other.
		if isBelow(path, point) && len(point) >= len(best.point) {
			best = mount{point, system[0], plain.Replace(system[1]), strings.Split(system[2], ",")}
		}
	}
	return best
}

// plain undoes how mountinfo writes what would tear a line apart.
var plain = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`)

func isBelow(path, point string) bool {
	rest, found := strings.CutPrefix(path, point)
	return found && (rest == "" || rest[0] == '/' || point == "/")
}

// Options by which a network file system (NFS, Lustre, AFS, SMB) says that it keeps locks to itself.
var localOptions = []string{"nolock", "local_lock=all", "local_lock=flock", "localflock", "noflock", "flock=local", "nobrl"}

// FUSE keeps the locks of a file system that has none of its own within the machine. These reach others.
var remote = []string{"sshfs", "rclone", "s3fs", "gcsfuse", "goofys", "geesefs", "mountpoint-s3", "blobfuse", "blobfuse2",
	"davfs", "curlftpfs", "smbnetfs", "afpfs", "gvfsd-fuse", "google-drive-ocamlfuse", "onedriver", "vmhgfs-fuse", "prl_fsd",
	"grpcfuse", "osxfs"}

// reason says what is wrong with the locks on m, "" if nothing is known to be.
func (m mount) reason() string {
	for _, option := range localOptions {
		if slices.Contains(m.options, option) {
			return fmt.Sprintf("%s, a %s file system mounted with %s", m.point, m.kind, option)
		}
	}
	kind, driver, _ := strings.Cut(m.kind, ".")
	switch kind {
	case "cifs", "smb3", "smbfs": // locks that are mandatory or local, modes that mean nothing, no atomic replacement
	case "vboxsf", "prl_fs", "vmhgfs", "fakeowner", "drvfs": // the host's: the last two Docker Desktop's and WSL 1's
	case "9p", "virtiofs":
		if m.point == "/" { // that of a sandbox or a small virtual machine, which nobody else uses
			return ""
		}
	case "fuse":
		if !slices.Contains(remote, driver) && !slices.Contains(remote, filepath.Base(m.source)) {
			return ""
		}
	default:
		return ""
	}
	return fmt.Sprintf("%s, a %s file system", m.point, m.kind)
}

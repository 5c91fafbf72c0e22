package lockfile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/lockfile"
)

func TestMountsWhoseLocksBindNobodyElse(t *testing.T) {
	for name, c := range map[string]struct{ file, path, reason string }{
		"disk":                    {"mountinfo", "/var/lib/grants", ""},
		"disk, the root":          {"mountinfo", "/", ""},
		"named like a mount":      {"mountinfo", "/net/smbs", ""},
		"overlay":                 {"mountinfo", "/container/d", ""},
		"NFS 4":                   {"mountinfo", "/people/me/.config/p", ""},
		"NFS 3":                   {"mountinfo", "/net/v3/d", ""},
		"NFS, posix locks local":  {"mountinfo", "/net/posix/d", ""},
		"NFS without locks":       {"mountinfo", "/net/nolock/d", "/net/nolock, a nfs file system mounted with nolock"},
		"NFS with local locks":    {"mountinfo", "/net/flock", "/net/flock, a nfs file system mounted with local_lock=flock"},
		"memory on NFS":           {"mountinfo", "/net/v3/local/d", ""},
		"SMB":                     {"mountinfo", "/net/smb/d", "/net/smb, a cifs file system"},
		"sshfs":                   {"mountinfo", "/net/far away/d", "/net/far away, a fuse.sshfs file system"},
		"bucket":                  {"mountinfo", "/net/bucket/d", "/net/bucket, a fuse file system"},
		"encrypted folder":        {"mountinfo", "/people/me/private/d", ""},
		"NTFS on a stick":         {"mountinfo", "/mnt/usb/d", ""},
		"disk of Windows in WSL":  {"mountinfo", "/mnt/c/Users/me", "/mnt/c, a 9p file system"},
		"folder of the host":      {"mountinfo", "/mnt/host/d", "/mnt/host, a virtiofs file system"},
		"Docker Desktop":          {"mountinfo", "/app/d", "/app, a fakeowner file system"},
		"Docker Desktop, gRPC":    {"mountinfo", "/app-grpc/d", "/app-grpc, a fuse.grpcfuse file system"},
		"Docker Desktop, osxfs":   {"mountinfo", "/app-osx/d", "/app-osx, a fuse.osxfs file system"},
		"disk of Windows in WSL1": {"mountinfo", "/mnt/d/Users/me", "/mnt/d, a drvfs file system"},
		"VirtualBox":              {"mountinfo", "/mnt/vbox/d", "/mnt/vbox, a vboxsf file system"},
		"Lustre":                  {"mountinfo", "/lustre/d", ""},
		"Lustre with local locks": {"mountinfo", "/lustre-local/d", "/lustre-local, a lustre file system mounted with localflock"},
		"Ceph":                    {"mountinfo", "/ceph/d", ""},
		"sandbox":                 {"mountinfo-sandbox", "/var/d", ""},
		"volume of a sandbox":     {"mountinfo-sandbox", "/data/d", "/data, a 9p file system"},
	} {
		t.Run(name, func(t *testing.T) {
			mountinfo, err := os.ReadFile(filepath.Join("testdata", c.file))
			require.NoError(t, err)
			require.Equal(t, c.reason, lockfile.ReasonAgainst(string(mountinfo), c.path))
		})
	}
}

// The deepest mount counts, wherever it is listed, and of two at one place the later one.
func TestMountsOverMounts(t *testing.T) {
	const disk, nas = "1 1 8:1 / %s rw - ext4 /dev/sda1 rw\n", "2 1 0:50 / %s rw - cifs //nas/share rw\n"
	for name, c := range map[string]struct {
		mountinfo string
		isGood    bool
	}{
		"a disk in a share":                {fmt.Sprintf(nas+disk, "/a", "/a/b"), true},
		"the same, listed before it":       {fmt.Sprintf(disk+nas, "/a/b", "/a"), true},
		"a share in a disk":                {fmt.Sprintf(disk+nas, "/a", "/a/b"), false},
		"the same, listed before the disk": {fmt.Sprintf(nas+disk, "/a/b", "/a"), false},
		"a share over a disk":              {fmt.Sprintf(disk+nas, "/a", "/a"), false},
		"a disk over a share":              {fmt.Sprintf(nas+disk, "/a", "/a"), true},
	} {
		require.Equal(t, c.isGood, lockfile.ReasonAgainst(c.mountinfo, "/a/b/c") == "", name)
	}
}

func TestCheckFolderOnThisDisk(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, lockfile.CheckFolder(dir))
	link := filepath.Join(dir, "link")
	if os.Symlink(dir, link) == nil {
		require.NoError(t, lockfile.CheckFolder(link))
	}
}

package lockfile

import (
	"os"
	"path/filepath"
)

func reasonAgainst(dir string) string {
	mountinfo, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return ""
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return ""
	}
	return mountOf(string(mountinfo), real).reason()
}

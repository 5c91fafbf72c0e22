//go:build !windows

package lockfile

// IsMomentary reports whether err is gone in a moment. Unix knows no such errors.
func IsMomentary(error) bool { return false }

//go:build !linux && !darwin

package lockfile

// reasonAgainst knows nothing. Windows itself passes locks on to the server of a share.
func reasonAgainst(string) string { return "" }

package lockfile

// ReasonAgainst says what speaks against path, given what is mounted.
func ReasonAgainst(mountinfo, path string) string { return mountOf(mountinfo, path).reason() }

package machine

// Fingerprint is the name of a machine with that id.
func Fingerprint(id string) string { return fingerprint([]byte(id)) }

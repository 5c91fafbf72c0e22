package keychain

import (
	"context"
	"strings"
)

// tool runs a program of macOS and returns what it writes.
type tool func(ctx context.Context, name string, args ...string) ([]byte, error)

// lookAtLoginKeychain asks macOS's tools what they tell without asking a person: whether there is a
// keychain, and whether this is the session of a person at the screen, in which alone prompts come up.
// In any other (SSH, launchd) a locked keychain is an error at once. Whether it is locked no tool tells:
// security show-keychain-info itself asks for the password.
func lookAtLoginKeychain(ctx context.Context, run tool) error {
	if _, err := run(ctx, "/usr/bin/security", "default-keychain"); err != nil {
		return classifyOn("darwin", err)
	}
	session, err := run(ctx, "/bin/launchctl", "managername")
	if err == nil && strings.TrimSpace(string(session)) != "Aqua" {
		return nil
	}
	return errOpaque
}

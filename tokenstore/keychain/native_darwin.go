package keychain

import (
	"context"
	"os/exec"
)

// native is the login keychain. Its limit is what is left for a secret of the 4096 bytes of a command
// to security, after go-keyring has put it into base64. Not every version of security is known to end
// with an error when it could not write.
var native = platform{
	limit:   2400,
	rereads: true,
	look:    func(ctx context.Context) error { return lookAtLoginKeychain(ctx, runTool) },
}

func runTool(ctx context.Context, name string, args ...string) ([]byte, error) {
	return exec.CommandContext(ctx, name, args...).Output()
}

func meaningOfName(error) error { return nil }

// isUnanswered is for D-Bus.
func isUnanswered(error) bool { return false }

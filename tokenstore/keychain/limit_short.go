//go:build windows || darwin

package keychain

// itemLimit is below the 2560 bytes of a Windows credential, and below what is left for a secret of
// the 4096 bytes of a command to macOS's security, after go-keyring has put it into base64.
const itemLimit = 2400

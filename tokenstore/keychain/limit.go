//go:build !windows && !darwin

package keychain

// itemLimit keeps an item at a size that Secret Services are quick with; they have no limit.
const itemLimit = 64 << 10

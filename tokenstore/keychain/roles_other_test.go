//go:build !linux

package keychain_test

import "context"

var roles map[string]func(context.Context) error

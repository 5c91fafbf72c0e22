package keychain

import "context"

// native is the Credential Manager, which takes 2560 bytes and never asks a person.
var native = platform{limit: 2400, look: func(context.Context) error { return nil }}

func meaningOfName(error) error { return nil }

// isUnanswered is for D-Bus.
func isUnanswered(error) bool { return false }

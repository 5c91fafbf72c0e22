package keychain

import (
	"context"
	"errors"
)

// Ring is what a Store uses of go-keyring.
type Ring = ring

// System is the keychain of the operating system.
type System = system

// Platform is a keychain's operating system.
type Platform struct {
	Limit      int
	Rereads    bool
	Unattended bool
	Look       func(context.Context) error // nil: nobody can tell
}

// NewOn makes a Store over a keychain of the test's.
func NewOn(r Ring, p Platform, service, dir string) (*Store, error) {
	s, err := New(service, Options{Dir: dir, Unattended: p.Unattended})
	if err != nil {
		return nil, err
	}
	if p.Look == nil {
		p.Look = func(context.Context) error { return errOpaque }
	}
	s.ring, s.platform = r, platform{p.Limit, p.Rereads, p.Look}
	return s, nil
}

// Through has s use its keychain through what wrap makes of it.
func Through(s *Store, wrap func(Ring) Ring) *Store {
	s.ring = wrap(s.ring)
	return s
}

// What a look may find, besides nil.
var (
	Opaque = errOpaque
	Locked = explain(ErrLocked, errors.New("it says so"))
	Away   = explain(ErrUnavailable, errors.New("it says so"))
)

// ClassifyOn says what an error of go-keyring means on an operating system.
var ClassifyOn = classifyOn

// LookAtLoginKeychain looks through the given tools.
func LookAtLoginKeychain(run func(context.Context, string, ...string) ([]byte, error)) error {
	return lookAtLoginKeychain(context.Background(), run)
}

// ShortLimit is the longest item of macOS and Windows.
const ShortLimit = 2400

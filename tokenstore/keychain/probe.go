package keychain

import (
	"context"
	"errors"
)

// probeUser is the user under which Probe writes. No grant lies there: theirs begin with grant-.
const probeUser = "probe"

// Probe implements tokenstore.Prober: an item is written, read and deleted where that asks nobody.
// Whether the keychain of a person at a Mac is locked only an access would show, which could ask; there
// Probe looks only whether there is a keychain.
func (s *Store) Probe(ctx context.Context) error {
	return s.do(ctx, locked, func(i items) error {
		switch err := i.platform.look(i.ctx); {
		case errors.Is(err, errOpaque):
			return nil
		case errors.Is(err, ErrLocked):
			return err
		}
		const text = "written to see whether a login could be kept"
		if err := i.put(probeUser, text); err != nil {
			return err
		}
		if err := i.verify(probeUser, text); err != nil {
			return err
		}
		return i.drop(probeUser)
	})
}

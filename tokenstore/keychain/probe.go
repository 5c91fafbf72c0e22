package keychain

import (
	"context"
	"errors"

	"github.com/evergrant/evergrant/tokenstore/seal"
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

// ProbeKey is what Box.Probe of package seal asks of a KeySource: nil if there is a key, or a person would have to be
// asked to find out; seal.ErrNoKey if there is none and one could be made; else what is in the way.
func (s *Store) ProbeKey(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.key.Load() != nil {
		return nil
	}
	missing := false
	err := s.do(ctx, free, func(i items) error {
		switch err := i.platform.look(i.ctx); {
		case errors.Is(err, errOpaque):
			return nil
		case errors.Is(err, ErrLocked):
			return err
		}
		key, err := i.readKey()
		missing = err == nil && key == nil
		return err
	})
	if err != nil {
		return err // and a call that was left behind may still set missing
	}
	if !missing {
		return nil
	}
	if err := s.Probe(ctx); err != nil {
		return err
	}
	return seal.ErrNoKey
}

package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/evergrant/evergrant/tokenstore"
)

// A trial is one check under way. Its methods are the steps that the checks are made of; each says in
// its error what it did and what came of it.
type trial struct {
	ctx      context.Context
	store    tokenstore.Store
	prefix   string // of every key of this trial
	patience time.Duration

	opening *opening
	open    func(testing.TB) tokenstore.Store
}

// key returns the trial's key of that name.
func (t *trial) key(name string) string { return t.prefix + name }

// over is the same trial of another store.
func (t *trial) over(store tokenstore.Store) *trial {
	other := *t
	other.store = store
	return &other
}

// again opens the store once more.
func (t *trial) again() (tokenstore.Store, error) {
	if !t.opening.shares {
		return nil, errNotShared
	}
	return t.open(t.opening), nil
}

// load is the store's Load, which gets its time and no more.
func (t *trial) load(key string) ([]byte, tokenstore.Version, error) {
	ctx, cancel := context.WithTimeout(t.ctx, 3*t.patience)
	defer cancel()
	return t.store.Load(ctx, key)
}

// try is the store's Swap, which gets its time and no more.
func (t *trial) try(key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	ctx, cancel := context.WithTimeout(t.ctx, 3*t.patience)
	defer cancel()
	return t.store.Swap(ctx, key, old, value)
}

// swap must succeed.
func (t *trial) swap(key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	version, err := t.try(key, old, value)
	switch {
	case err != nil:
		return "", fmt.Errorf("Swap of %d bytes at a current version failed: %w", len(value), err)
	case len(value) == 0 && version != "":
		return "", errors.New("Swap that deletes returned a version that is not the zero one")
	case len(value) > 0 && version == "":
		return "", errors.New("Swap returned the zero Version for a value")
	}
	return version, nil
}

// put creates a key.
func (t *trial) put(name, value string) (tokenstore.Version, error) {
	return t.swap(t.key(name), "", []byte(value))
}

// conflict makes a Swap that must end in ErrConflict.
func (t *trial) conflict(key string, old tokenstore.Version, value []byte) error {
	version, err := t.try(key, old, value)
	if !errors.Is(err, tokenstore.ErrConflict) {
		return fmt.Errorf("Swap returned %v instead of ErrConflict", err)
	}
	if version != "" {
		return errors.New("Swap returned a version together with ErrConflict")
	}
	return nil
}

// has looks for value under key, at version unless that is zero.
func (t *trial) has(key string, value []byte, version tokenstore.Version) error {
	got, at, err := t.load(key)
	switch {
	case err != nil:
		return fmt.Errorf("Load of a value of %d bytes failed: %w", len(value), err)
	case !bytes.Equal(got, value):
		return fmt.Errorf("Load returned %.40q (%d bytes) instead of %.40q (%d bytes)", got, len(got), value, len(value))
	case at == "":
		return errors.New("Load returned the zero Version with a value")
	case version != "" && at != version:
		return errors.New("Load returned another version than the Swap that wrote the value")
	}
	return nil
}

// hasNot looks for an absent key.
func (t *trial) hasNot(key string) error {
	value, version, err := t.load(key)
	if !errors.Is(err, tokenstore.ErrNotFound) {
		return fmt.Errorf("Load of an absent key returned %v instead of ErrNotFound", err)
	}
	if len(value) > 0 || version != "" {
		return errors.New("Load returned a value or a version together with ErrNotFound")
	}
	return nil
}

// settle ends what is in doubt after a Swap whose outcome nobody knows: what is loaded must be as allowed
// says, and can be replaced by next. The Swap in doubt may land meanwhile, once.
func (t *trial) settle(key string, next []byte, allowed func(value []byte) error) (tokenstore.Version, error) {
	for range 2 {
		value, version, err := t.load(key)
		if err != nil {
			return "", fmt.Errorf("Load failed: %w", err)
		}
		if err := allowed(value); err != nil {
			return "", err
		}
		version, err = t.try(key, version, next)
		if err == nil {
			return version, nil
		}
		if !errors.Is(err, tokenstore.ErrConflict) {
			return "", fmt.Errorf("Swap at the version loaded failed: %w", err)
		}
	}
	return "", errors.New("Swap at the version loaded returned ErrConflict twice, though one Swap alone was in doubt")
}

// step is one of several that are taken in turn.
type step struct {
	name string
	take func() error
}

func inTurn(steps ...step) error {
	for _, s := range steps {
		if err := s.take(); err != nil {
			return fmt.Errorf("when %s: %w", s.name, err)
		}
	}
	return nil
}

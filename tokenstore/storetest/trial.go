package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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
}

// key returns the trial's key of that name.
func (t *trial) key(name string) string { return t.prefix + name }

// swap must succeed.
func (t *trial) swap(key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	version, err := t.store.Swap(t.ctx, key, old, value)
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
	version, err := t.store.Swap(t.ctx, key, old, value)
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
	got, at, err := t.store.Load(t.ctx, key)
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
	value, version, err := t.store.Load(t.ctx, key)
	if !errors.Is(err, tokenstore.ErrNotFound) {
		return fmt.Errorf("Load of an absent key returned %v instead of ErrNotFound", err)
	}
	if len(value) > 0 || version != "" {
		return errors.New("Load returned a value or a version together with ErrNotFound")
	}
	return nil
}

// soon runs call and fails if it is not back within the trial's patience.
func (t *trial) soon(what string, call func() error) error {
	done := make(chan error, 1)
	go func() { done <- call() }()
	timer := time.NewTimer(t.patience)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("%s is not back after %v", what, t.patience)
	}
}

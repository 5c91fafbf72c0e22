package file

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/internal/durable"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// Reseal seals every file with Options.Key that a former key has sealed. Values and versions stay as they
// are, so programs may be at work meanwhile. Files that open with no key, or are damaged, are left alone,
// and the errors about them come together in the end. After nil the former keys are needed no more, as
// far as no program seals with them. A Store in the clear has nothing to do.
func (s *Store) Reseal(ctx context.Context) error {
	if s.box == nil {
		return nil
	}
	names, err := s.names()
	errs := []error{err}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, s.resealFile(ctx, filepath.Join(s.dir, name)))
	}
	return errors.Join(errs...)
}

func (s *Store) resealFile(ctx context.Context, path string) error {
	key, found, err := s.keyOf(ctx, path)
	if err != nil || !found {
		return err
	}
	release, err := s.lock(key).Acquire(ctx)
	if err != nil {
		return fmt.Errorf("file: %w", err)
	}
	defer release()
	e, found, err := s.readFile(ctx, path)
	if err != nil || !found {
		return err
	}
	if _, err := s.open(ctx, path, key, e); err != nil {
		return err
	}
	var body []byte
	var changed bool
	err = s.withKey(ctx, func() (err error) {
		body, changed, err = s.box.Reseal(ctx, e.body, string(e.head))
		return err
	})
	if err != nil || !changed {
		return about(path, err)
	}
	if err := durable.Write(ctx, path, join(e.head, body), false); err != nil {
		return fmt.Errorf("file: a grant cannot be written: %w", err)
	}
	return nil
}

// seal makes the file of a value.
func (s *Store) seal(ctx context.Context, key string, version tokenstore.Version, value []byte) ([]byte, error) {
	if s.box == nil {
		return join(head(key, version, wordPlain+hash(value)), value), nil
	}
	head := head(key, version, wordSealed)
	var body []byte
	err := s.withKey(ctx, func() (err error) {
		body, err = s.box.Seal(ctx, value, string(head))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("file: a grant cannot be sealed: %w", err)
	}
	return join(head, body), nil
}

// open returns the value of the file at path, which should be that of key.
func (s *Store) open(ctx context.Context, path, key string, e envelope) (value []byte, err error) {
	switch {
	case s.path(e.key) != path || e.key != key:
		err = damaged("its name is not that of its key")
	case e.sealed && s.box == nil:
		err = fmt.Errorf("%w: this store was opened with Plaintext; set Options.Key instead", seal.ErrWrongKey)
	case !e.sealed && s.box != nil:
		err = fmt.Errorf("%w: the file is in the clear, and this store seals", seal.ErrWrongKey)
	case e.sealed:
		value, err = s.box.Open(ctx, e.body, string(e.head))
	case e.hash != hash(e.body):
		err = damaged("its hash does not fit")
	default:
		value = e.body
	}
	return value, about(path, err)
}

// withKey has act do what needs the key, which is made if there is none yet and none was lost.
func (s *Store) withKey(ctx context.Context, act func() error) error {
	err := act()
	if !errors.Is(err, seal.ErrNoKey) {
		return err
	}
	if err := s.losesNothing(ctx); err != nil {
		return err
	}
	if err := s.box.MakeKey(ctx); err != nil {
		return fmt.Errorf("file: %w", err)
	}
	return act()
}

// losesNothing returns nil if a new key may be made: beside files that need the old one it would hide
// that this is lost.
func (s *Store) losesNothing(ctx context.Context) error {
	names, err := s.names()
	if err != nil {
		return err
	}
	for _, name := range names {
		path := filepath.Join(s.dir, name)
		e, found, err := s.readFile(ctx, path)
		if err == nil && found {
			_, err = s.open(ctx, path, e.key, e)
		}
		if err != nil {
			return fmt.Errorf("file: there is no key, and no new one is made beside a file that does not open without it: %w", err)
		}
	}
	return nil
}

// about says which file err is about and, if it is lost, what a person can do.
func about(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, tokenstore.ErrDamaged) || errors.Is(err, seal.ErrWrongKey):
		return fmt.Errorf("file: %s: %w; if that cannot be mended, delete the file to log in anew", path, err)
	}
	return fmt.Errorf("file: %s: %w", path, err)
}

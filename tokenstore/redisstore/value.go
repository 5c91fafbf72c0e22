package redisstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// What lies in Redis under a key is its version, a byte that says how the rest is to be read, and the rest.
const (
	versionLength = 26 // of what rand.Text returns

	inTheClear = 'p'
	sealed     = 's'
)

// seal makes what is stored of a value.
func (s *Store) seal(ctx context.Context, key string, version tokenstore.Version, value []byte) ([]byte, error) {
	if s.box == nil {
		return join(version, inTheClear, value), nil
	}
	body, err := s.box.Seal(ctx, value, s.prefix+key, string(version))
	if errors.Is(err, seal.ErrNoKey) {
		if err = s.makeKey(ctx); err == nil {
			body, err = s.box.Seal(ctx, value, s.prefix+key, string(version))
		}
	}
	if err != nil {
		return nil, err
	}
	return join(version, sealed, body), nil
}

// makeKey has a key made if nothing lies here that was sealed with one which is lost.
func (s *Store) makeKey(ctx context.Context) error {
	if err := s.losesNothing(ctx); err != nil {
		return err
	}
	return s.box.MakeKey(ctx)
}

// losesNothing returns nil if a new key may be made.
func (s *Store) losesNothing(ctx context.Context) error {
	for _, err := range s.Keys(ctx, "") {
		if err != nil {
			return err
		}
		return fmt.Errorf("%w: it sealed what lies under this prefix; restore it, or delete all that to log in anew", seal.ErrNoKey)
	}
	return nil
}

func join(version tokenstore.Version, form byte, body []byte) []byte {
	stored := make([]byte, 0, versionLength+1+len(body))
	stored = append(stored, version...)
	stored = append(stored, form)
	return append(stored, body...)
}

// open undoes seal.
func (s *Store) open(ctx context.Context, key, stored string) ([]byte, tokenstore.Version, error) {
	if len(stored) < versionLength+2 {
		return nil, "", damaged("it is too short")
	}
	version, form, body := tokenstore.Version(stored[:versionLength]), stored[versionLength], []byte(stored[versionLength+1:])
	switch {
	case form != inTheClear && form != sealed:
		return nil, "", damaged("this package did not write it")
	case form == sealed && s.box == nil:
		return nil, "", fmt.Errorf("%w: the value is sealed: set Options.Key instead of Plaintext", seal.ErrWrongKey)
	case form == inTheClear && s.box != nil:
		return nil, "", fmt.Errorf("%w: the value is in the clear, and this store seals: delete it to log in anew", seal.ErrWrongKey)
	case form == inTheClear:
		return body, version, nil
	}
	value, err := s.box.Open(ctx, body, s.prefix+key, string(version))
	return value, version, err
}

func damaged(why string) error {
	return fmt.Errorf("%w: %s; delete the key in Redis, which means a new login", tokenstore.ErrDamaged, why)
}

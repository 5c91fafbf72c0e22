package seal

import (
	"context"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/evergrant/evergrant/internal/secret"
	"github.com/evergrant/evergrant/tokenstore"
)

// keyLength is the length of every key in bytes: AES-256.
const keyLength = 32

var (
	// ErrWrongKey says that a value cannot be opened with the keys that there are: it was sealed with
	// another one, or the key is gone, or a passphrase is not the one that was given first.
	ErrWrongKey = errors.New("seal: the wrong key")

	// ErrNoKey says that a KeySource has no key yet, or has lost it.
	ErrNoKey = errors.New("seal: there is no key")
)

// KeySource gives the key that seals. It is safe for concurrent use. It is asked at every operation, so
// one that is slow remembers what it gave.
//
// One that may ask a person for the key also has a method ProbeKey(ctx context.Context) error, which Box.Probe calls
// instead: it asks nobody, and returns nil if there is a key or that cannot be seen, ErrNoKey if there is none and one
// could be made, else what is in the way. Where there is no such method, that of a tokenstore.Prober takes its place.
type KeySource interface {
	// Key returns the key: 32 bytes from a random generator, always the same ones. Where there is no
	// key yet, create says what to do: make one and keep it, such that everybody who asks gets the
	// same one, or return nil. An error wraps neither tokenstore.ErrNotFound nor ErrConflict.
	Key(ctx context.Context, create bool) ([]byte, error)
}

// RawKey is the KeySource of a key that the program has: 32 bytes from a random generator, not a
// password. NewBox refuses any other length. It shows itself under no fmt verb, slog handler or encoder.
func RawKey(key []byte) KeySource { return rawKey{secret.New(string(key))} }

type rawKey struct{ secret.String }

// Key implements KeySource.
func (k rawKey) Key(context.Context, bool) ([]byte, error) { return []byte(k.Reveal()), nil }

// check says what NewBox cannot accept.
func (k rawKey) check() error {
	if n := len(k.Reveal()); n != keyLength {
		return fmt.Errorf("seal: RawKey needs %d bytes, not %d", keyLength, n)
	}
	return nil
}

// ask returns the key of source, nil if there is none.
func ask(ctx context.Context, source KeySource, create bool) ([]byte, error) {
	key, err := source.Key(ctx, create)
	if errors.Is(err, tokenstore.ErrNotFound) || errors.Is(err, tokenstore.ErrConflict) {
		return nil, fmt.Errorf("seal: the key cannot be had: %v", err) // not what these words mean of a grant
	}
	if err != nil {
		return nil, fmt.Errorf("seal: the key cannot be had: %w", err)
	}
	if key != nil && len(key) != keyLength {
		return nil, fmt.Errorf("seal: the KeySource gave %d bytes: a key has %d", len(key), keyLength)
	}
	return key, nil
}

// keyID returns a short name of key that tells nothing about it.
func keyID(key []byte) ([]byte, error) {
	id, err := hkdf.Expand(sha256.New, key, "evergrant/tokenstore/seal 1: id", idLength)
	if err != nil {
		return nil, fmt.Errorf("seal: naming the key: %w", err)
	}
	return id, nil
}

package file

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/evergrant/evergrant/internal/secret"
)

// keyLength is the length of a sealing key in bytes: AES-256.
const keyLength = 32

// ErrWrongKey says that a file cannot be opened with the key of the Store: it was sealed with
// another one, or the key is gone, or one of the two is in the clear and the other is not. The file
// is left alone.
var ErrWrongKey = errors.New("sealed with another key")

// KeySource gives the key that seals the files of a Store. It is safe for concurrent use. The Store
// asks at every operation, so a source that is slow remembers what it gave.
type KeySource interface {
	// Key returns the key: 32 bytes from a random generator, always the same ones. Where there is no
	// key yet, create says what to do: make one and keep it, such that everybody who asks gets the
	// same one, or return nil. An error wraps neither tokenstore.ErrNotFound nor ErrConflict.
	Key(ctx context.Context, create bool) ([]byte, error)
}

// RawKey is the KeySource of a key that the program has: 32 bytes from a random generator, not a
// password. New refuses any other length. It shows itself under no fmt verb, slog handler or encoder.
func RawKey(key []byte) KeySource { return rawKey{secret.New(string(key))} }

type rawKey struct{ secret.String }

// Key implements KeySource.
func (k rawKey) Key(context.Context, bool) ([]byte, error) { return []byte(k.Reveal()), nil }

// seal makes the file of a value.
func (s *Store) seal(ctx context.Context, e envelope, value []byte) ([]byte, error) {
	if s.key == nil {
		e.id = hash(value)
		return join(e.encodeHead(), value), nil
	}
	key, err := s.sealingKey(ctx)
	if err != nil {
		return nil, err
	}
	e.sealed = true
	if e.id, err = keyID(key); err != nil {
		return nil, err
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	head := e.encodeHead()
	return join(head, aead.Seal(nil, nil, value, head)), nil
}

// open returns the value of a file.
func (s *Store) open(ctx context.Context, e envelope) ([]byte, error) {
	switch {
	case e.sealed && s.key == nil:
		return nil, fmt.Errorf("%w: this store was opened with Plaintext; set Options.Key instead", ErrWrongKey)
	case !e.sealed && s.key != nil:
		return nil, fmt.Errorf("%w: the file is in the clear, and this store seals; delete the file to log in anew", ErrWrongKey)
	case !e.sealed && e.id != hash(e.body):
		return nil, damaged("its hash does not fit")
	case !e.sealed:
		return e.body, nil
	}
	key, err := s.getKey(ctx, false)
	if err != nil {
		return nil, err
	}
	if key == nil {
		return nil, fmt.Errorf("%w: the key is gone; restore it, or delete the file to log in anew", ErrWrongKey)
	}
	id, err := keyID(key)
	if err != nil {
		return nil, err
	}
	if id != e.id {
		return nil, fmt.Errorf("%w: give the one that sealed the file, or delete the file to log in anew", ErrWrongKey)
	}
	aead, err := newAEAD(key)
	if err != nil {
		return nil, err
	}
	value, err := aead.Open(nil, nil, e.body, e.head)
	if err != nil {
		return nil, damaged("its seal is broken")
	}
	return value, nil
}

// sealingKey returns the key to seal with. A key is made only in a folder without grants: beside
// sealed ones it would hide that theirs is lost.
func (s *Store) sealingKey(ctx context.Context) ([]byte, error) {
	key, err := s.getKey(ctx, false)
	if err != nil || key != nil {
		return key, err
	}
	names, err := s.names()
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		return nil, fmt.Errorf("file: %s: %w: the key of the files in this folder is gone; restore it, or delete them to log in anew", s.dir, ErrWrongKey)
	}
	if key, err = s.getKey(ctx, true); err == nil && key == nil {
		err = errors.New("file: Options.Key made no key")
	}
	return key, err
}

// getKey asks the source.
func (s *Store) getKey(ctx context.Context, create bool) ([]byte, error) {
	key, err := s.key.Key(ctx, create)
	if err != nil {
		return nil, fmt.Errorf("file: the sealing key cannot be had: %w", err)
	}
	if key != nil && len(key) != keyLength {
		return nil, fmt.Errorf("file: Options.Key gave %d bytes: a sealing key has %d", len(key), keyLength)
	}
	return key, nil
}

// keyID returns a short name of key that tells nothing about it.
func keyID(key []byte) (string, error) {
	id, err := hkdf.Key(sha256.New, key, nil, "evergrant/tokenstore/file: id of the sealing key", 8)
	if err != nil {
		return "", fmt.Errorf("file: naming the sealing key: %w", err)
	}
	return hex.EncodeToString(id), nil
}

// newAEAD returns AES-256-GCM that prepends a random nonce.
func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("file: sealing: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("file: sealing: %w", err)
	}
	return aead, nil
}

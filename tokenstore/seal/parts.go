package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/evergrant/evergrant/tokenstore"
)

// A sealed value, in bytes:
//
//	1    the form of what follows: 1
//	8    the id of the key
//	32   salt: with it HKDF-Expand derives from the key the one that wraps
//	60   the data key, wrapped: nonce, ciphertext, tag
//	28+  the value under the data key: nonce, ciphertext, tag
const (
	formNow       = 1
	idLength      = 8
	saltLength    = 32
	sealLength    = 12 + 16 // nonce and tag
	wrappedLength = keyLength + sealLength
	headLength    = 1 + idLength + saltLength + wrappedLength
)

// parts is a sealed value taken apart. They prove nothing yet.
type parts struct{ id, salt, wrapped, body []byte }

func parse(sealed []byte) (parts, error) {
	if len(sealed) > 0 && sealed[0] > formNow {
		return parts{}, errors.New("seal: this was sealed by a newer version of the program: update this one")
	}
	if len(sealed) < headLength+sealLength || sealed[0] != formNow {
		return parts{}, fmt.Errorf("%w: this is nothing sealed", tokenstore.ErrDamaged)
	}
	id, rest := sealed[1:1+idLength], sealed[1+idLength:]
	salt, rest := rest[:saltLength], rest[saltLength:]
	return parts{id, salt, rest[:wrappedLength], rest[wrappedLength:]}, nil
}

// join makes a sealed value: the head, with dataKey wrapped by key, and what body appends to it.
func join(key, dataKey, binding []byte, body func(head []byte) []byte) ([]byte, error) {
	id, err := keyID(key)
	if err != nil {
		return nil, err
	}
	salt := make([]byte, saltLength)
	if _, err := rand.Read(salt); err != nil {
		return nil, fmt.Errorf("seal: making a salt: %w", err)
	}
	wrapper, err := newWrapper(key, salt)
	if err != nil {
		return nil, err
	}
	head := append([]byte{formNow}, id...)
	head = append(head, salt...)
	return body(wrapper.Seal(head, nil, dataKey, binding)), nil
}

func (p parts) unwrap(key, binding []byte) ([]byte, error) {
	wrapper, err := newWrapper(key, p.salt)
	if err != nil {
		return nil, err
	}
	dataKey, err := wrapper.Open(nil, nil, p.wrapped, binding)
	if err != nil {
		return nil, fmt.Errorf("%w: its seal is broken", tokenstore.ErrDamaged)
	}
	return dataKey, nil
}

func (p parts) open(dataKey, binding []byte) ([]byte, error) {
	aead, err := newAEAD(dataKey)
	if err != nil {
		return nil, err
	}
	value, err := aead.Open(nil, nil, p.body, binding)
	if err != nil {
		return nil, fmt.Errorf("%w: its seal is broken", tokenstore.ErrDamaged)
	}
	return value, nil
}

// newWrapper returns what wraps one data key. The key is random already, so HKDF's first step, which
// makes it so, is left out (RFC 5869, section 3.3).
func newWrapper(key, salt []byte) (cipher.AEAD, error) {
	derived, err := hkdf.Expand(sha256.New, key, "evergrant/tokenstore/seal 1: wrap "+string(salt), keyLength)
	if err != nil {
		return nil, fmt.Errorf("seal: deriving a key: %w", err)
	}
	return newAEAD(derived)
}

// newAEAD returns AES-256-GCM that prepends a random nonce.
func newAEAD(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return aead, nil
}

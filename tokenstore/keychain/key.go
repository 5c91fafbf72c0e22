package keychain

import (
	"context"
	"crypto/rand"
	"encoding/base64"

	"github.com/evergrant/evergrant/internal/secret"
)

// keyUser is the user under which the key for files lies. No grant does: theirs begin with grant-.
const keyUser = "file-key"

// Key implements seal.KeySource: a random key of 32 bytes, the same one for every process that uses
// the service. Without create and without a key in the keychain it returns nil. The Store remembers
// the key, so the keychain is asked once.
func (s *Store) Key(ctx context.Context, create bool) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if known := s.key.Load(); known != nil {
		return []byte(known.Reveal()), nil
	}
	var key []byte
	err := s.do(ctx, access(create), func(i items) (err error) {
		if key, err = i.readKey(); err == nil && key == nil && create {
			key, err = i.makeKey()
		}
		return err
	})
	if err != nil || key == nil {
		return nil, err
	}
	known := secret.New(string(key))
	s.key.Store(&known)
	return key, nil
}

func (i items) readKey() ([]byte, error) {
	text, found, err := i.get(keyUser)
	if err != nil || !found {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(text)
	if err != nil || len(key) != 32 {
		return nil, damaged("the key for files is not as it was written")
	}
	return key, nil
}

// makeKey writes a new key. The caller holds the lock, so nobody else makes one too.
func (i items) makeKey() ([]byte, error) {
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, err
	}
	return key, i.put(keyUser, base64.StdEncoding.EncodeToString(key))
}

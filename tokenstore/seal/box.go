package seal

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/evergrant/evergrant/tokenstore"
)

// Box seals values with one key and opens those sealed with it or with former ones. It is safe for
// concurrent use, and prints no key.
type Box struct{ sources []KeySource } // the first one seals; immutable

// NewBox makes a Box that seals with key. The former keys only open: those that sealed once and, while
// programs change to it one after the other, the next one. It asks no KeySource yet.
func NewBox(key KeySource, former ...KeySource) (*Box, error) {
	box := &Box{sources: append([]KeySource{key}, former...)}
	for _, source := range box.sources {
		if source == nil {
			return nil, errors.New("seal: a KeySource is nil")
		}
		if checked, ok := source.(interface{ check() error }); ok {
			if err := checked.check(); err != nil {
				return nil, err
			}
		}
	}
	return box, nil
}

// MakeKey has the KeySource make a key if there is none. Whoever calls it makes sure that nothing lies
// sealed with a key that was lost: a new one would hide that.
func (b *Box) MakeKey(ctx context.Context) error {
	key, err := ask(ctx, b.sources[0], true)
	if err == nil && key == nil {
		err = fmt.Errorf("%w: the KeySource made none", ErrNoKey)
	}
	return err
}

// Probe returns nil if Seal would succeed as things stand: ErrNoKey where there is no key yet, else what
// is in the way. It asks no person anything, as long as the KeySource does not, or has the method ProbeKey or is a
// tokenstore.Prober.
func (b *Box) Probe(ctx context.Context) error {
	switch prober := b.sources[0].(type) {
	case interface {
		ProbeKey(ctx context.Context) error
	}:
		return prober.ProbeKey(ctx)
	case tokenstore.Prober:
		return prober.Probe(ctx)
	}
	_, err := b.key(ctx)
	return err
}

// Seal seals value and binds it to bound, in that order: the key under which it will lie, its version.
// It returns ErrNoKey where there is no key yet.
func (b *Box) Seal(ctx context.Context, value []byte, bound ...string) ([]byte, error) {
	key, err := b.key(ctx)
	if err != nil {
		return nil, err
	}
	dataKey := make([]byte, keyLength)
	if _, err := rand.Read(dataKey); err != nil {
		return nil, fmt.Errorf("seal: making a data key: %w", err)
	}
	binding := encode(bound)
	aead, err := newAEAD(dataKey)
	if err != nil {
		return nil, err
	}
	return join(key, dataKey, binding, func(head []byte) []byte {
		return aead.Seal(head, nil, value, binding)
	})
}

// Open returns the value that was sealed and bound to bound. The error wraps ErrWrongKey if no key fits,
// tokenstore.ErrDamaged if sealed was changed or bound to something else.
func (b *Box) Open(ctx context.Context, sealed []byte, bound ...string) ([]byte, error) {
	p, err := parse(sealed)
	if err != nil {
		return nil, err
	}
	dataKey, _, err := b.unwrap(ctx, p, encode(bound))
	if err != nil {
		return nil, err
	}
	return p.open(dataKey, encode(bound))
}

// Reseal returns what sealed becomes under the key that seals now, and whether that is a change. The
// value stays, and what it is bound to. It is opened first, so that nothing damaged gets a new seal.
func (b *Box) Reseal(ctx context.Context, sealed []byte, bound ...string) (resealed []byte, changed bool, err error) {
	p, err := parse(sealed)
	if err != nil {
		return nil, false, err
	}
	binding := encode(bound)
	dataKey, isCurrent, err := b.unwrap(ctx, p, binding)
	if err != nil {
		return nil, false, err
	}
	if _, err := p.open(dataKey, binding); err != nil || isCurrent {
		return sealed, false, err
	}
	key, err := b.key(ctx)
	if err != nil {
		return nil, false, err
	}
	resealed, err = join(key, dataKey, binding, func(head []byte) []byte { return append(head, p.body...) })
	return resealed, err == nil, err
}

// key returns the key that seals.
func (b *Box) key(ctx context.Context) ([]byte, error) {
	key, err := ask(ctx, b.sources[0], false)
	if err == nil && key == nil {
		err = ErrNoKey
	}
	return key, err
}

// unwrap returns the data key of p, and whether the key that seals wrapped it. A source that fails is
// no harm while another one has the key that is needed.
func (b *Box) unwrap(ctx context.Context, p parts, binding []byte) (dataKey []byte, isCurrent bool, err error) {
	var failed error
	for i, source := range b.sources {
		key, err := ask(ctx, source, false)
		if err != nil || key == nil {
			failed = errors.Join(failed, err)
			continue
		}
		id, err := keyID(key)
		if err != nil {
			return nil, false, err
		}
		if bytes.Equal(id, p.id) {
			dataKey, err := p.unwrap(key, binding)
			return dataKey, i == 0, err
		}
	}
	if failed != nil {
		return nil, false, failed
	}
	return nil, false, fmt.Errorf("%w: give the one that sealed this, as the key or a former one", ErrWrongKey)
}

// encode puts the words together in a way that no others can be.
func encode(words []string) []byte {
	var all []byte
	for _, word := range words {
		all = binary.BigEndian.AppendUint64(all, uint64(len(word)))
		all = append(all, word...)
	}
	return all
}

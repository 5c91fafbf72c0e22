package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"path/filepath"
	"strconv"

	"github.com/evergrant/evergrant/internal/lockfile"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/internal/keyname"
)

// Options says how a Store keeps what it is given: exactly one field is set.
type Options struct {
	// Key gives the key that seals the values: RawKey, a *keychain.Store, or a source of your own.
	// Nil: Plaintext must be set.
	Key KeySource

	// Plaintext says that the values, refresh tokens among them, may lie in the clear, behind nothing
	// but the file's mode. False: Key must be set.
	Plaintext bool
}

// Store is a tokenstore.Store in a folder. It is a Lister and a Liveness too, and safe for concurrent
// use by goroutines and processes.
type Store struct {
	dir    string
	key    KeySource // nil: plain text
	locks  [16]*lockfile.Lock
	living lockfile.Living
}

var (
	_ tokenstore.Store    = (*Store)(nil)
	_ tokenstore.Lister   = (*Store)(nil)
	_ tokenstore.Liveness = (*Store)(nil)
)

// New makes a Store in the folder dir, which belongs to it alone. The folder is made by the first
// Swap, so a folder that cannot be written to fails there.
func New(dir string, options Options) (*Store, error) {
	switch raw, isRaw := options.Key.(rawKey); {
	case dir == "":
		return nil, errors.New("file: dir is empty: name a folder of the program's own")
	case options.Key == nil && !options.Plaintext:
		return nil, errors.New("file: Options.Key is nil: set it to seal what is stored, or set Options.Plaintext to leave it in the clear")
	case options.Key != nil && options.Plaintext:
		return nil, errors.New("file: Options.Key and Options.Plaintext exclude each other: set one of them")
	case isRaw && len(raw.Reveal()) != keyLength:
		return nil, fmt.Errorf("file: Options.Key: RawKey needs %d bytes, not %d", keyLength, len(raw.Reveal()))
	}
	dir, err := filepath.Abs(dir) // the program may change its folder later
	if err != nil {
		return nil, fmt.Errorf("file: the folder cannot be found: %w", err)
	}
	s := &Store{dir: dir, key: options.Key, living: lockfile.NewLiving(dir)}
	for i := range s.locks {
		s.locks[i] = lockfile.New(filepath.Join(dir, "lock-"+strconv.FormatInt(int64(i), 16)))
	}
	return s, nil
}

// Load implements tokenstore.Store.
func (s *Store) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	value, version, err := s.read(ctx, key)
	if err == nil && version == "" {
		err = tokenstore.ErrNotFound
	}
	return value, version, err
}

// Swap implements tokenstore.Store. What it writes outlives a crash of the machine.
func (s *Store) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	if err := makeFolder(s.dir); err != nil {
		return "", err
	}
	release, err := s.lock(key).Acquire(ctx)
	if err != nil {
		return "", fmt.Errorf("file: %w", err)
	}
	defer release()
	_, current, err := s.read(ctx, key)
	switch {
	case err != nil:
		return "", err
	case current != old:
		return "", tokenstore.ErrConflict
	case len(value) > 0:
		return s.write(ctx, key, value)
	case current == "":
		return "", nil
	}
	return "", remove(ctx, s.path(key))
}

// Hold implements tokenstore.Liveness.
func (s *Store) Hold(ctx context.Context, name string) (release func(), err error) {
	if err := makeFolder(s.dir); err != nil {
		return nil, err
	}
	return s.living.Hold(ctx, name)
}

// Held implements tokenstore.Liveness.
func (s *Store) Held(ctx context.Context, name string) (bool, error) {
	return s.living.Held(ctx, name)
}

// They keep a grant's file apart from the other files of the folder, and its name from those that
// Windows reserves.
const (
	filePrefix = "key-"
	fileSuffix = ".grant"
)

func (s *Store) path(key string) string {
	return filepath.Join(s.dir, filePrefix+keyname.Escape(key)+fileSuffix)
}

// lock returns the lock for the writers of key. Which one it is must never change: programs of
// different ages share a folder.
func (s *Store) lock(key string) *lockfile.Lock {
	sum := fnv.New32a()
	sum.Write([]byte(key))
	return s.locks[sum.Sum32()%uint32(len(s.locks))]
}

// read returns the value under key, and the zero Version if there is none.
func (s *Store) read(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	path := s.path(key)
	data, err := readFile(ctx, path)
	if err != nil || data == nil {
		return nil, "", err
	}
	e, err := parse(data)
	if err == nil && e.key != key {
		err = fmt.Errorf("%w: it is the file of another key", tokenstore.ErrDamaged)
	}
	var value []byte
	if err == nil {
		value, err = s.open(ctx, e)
	}
	if err != nil {
		return nil, "", fmt.Errorf("file: %s: %w", path, err)
	}
	return value, e.version, nil
}

// write puts value under key; the caller holds the key's lock.
func (s *Store) write(ctx context.Context, key string, value []byte) (tokenstore.Version, error) {
	e := envelope{key: key, version: tokenstore.Version(rand.Text())}
	data, err := s.seal(ctx, e, value)
	if err != nil {
		return "", err
	}
	if err := writeFile(ctx, s.path(key), data); err != nil {
		return "", err
	}
	return e.version, nil
}

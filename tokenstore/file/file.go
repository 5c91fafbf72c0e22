package file

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/evergrant/evergrant/internal/lockfile"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/internal/durable"
	"github.com/evergrant/evergrant/tokenstore/internal/keyname"
	"github.com/evergrant/evergrant/tokenstore/internal/notice"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// Options says how a Store keeps what it is given: either Key or Plaintext is set.
type Options struct {
	// Key gives the key that seals the values: seal.RawKey, seal.Passphrase, a *keychain.Store, or a
	// source of your own. Nil: Plaintext must be set.
	Key seal.KeySource

	// Former give keys that open but do not seal: those that were Key once and, while programs change
	// over one after the other, the one that will be. Empty: none.
	Former []seal.KeySource

	// Plaintext says that the values, refresh tokens among them, may lie in the clear, behind nothing
	// but the file's mode. False: Key must be set.
	Plaintext bool
}

// ErrLocalLocks says that the folder lies on a file system whose locks do not reach all machines that
// may use it. The text around it names the file system; a folder on a local disk is the way out.
var ErrLocalLocks = lockfile.ErrLocal

// ErrFolderGone says that the folder in which this Store has found or put grants is not there, and that what is in its
// place, or above it, lies on another volume: nothing can be said of any grant until its own is mounted again. A folder
// that a person has deleted is no error: its grants are absent.
var ErrFolderGone = errors.New("the folder is gone: is its volume mounted?")

// Store is a tokenstore.Store in a folder. It is a Lister, a Liveness, a Prober and a Notifier too, and
// safe for concurrent use by goroutines and processes.
type Store struct {
	dir     string
	box     *seal.Box // nil: plain text
	locks   [16]*lockfile.Lock
	living  lockfile.Living
	checked atomic.Pointer[fs.FileInfo] // the folder whose file system was last found good
	home    atomic.Pointer[fs.FileInfo] // the folder in which a grant was last found or put; nil: none was yet
	board   notice.Board
}

var (
	_ tokenstore.Store    = (*Store)(nil)
	_ tokenstore.Lister   = (*Store)(nil)
	_ tokenstore.Liveness = (*Store)(nil)
	_ tokenstore.Prober   = (*Store)(nil)
	_ tokenstore.Notifier = (*Store)(nil)
)

// New makes a Store in the folder dir, which belongs to it alone. The folder is made by the first
// Swap, so a folder that cannot be written to fails there, or in Probe.
func New(dir string, options Options) (*Store, error) {
	switch {
	case dir == "":
		return nil, errors.New("file: dir is empty: name a folder of the program's own")
	case options.Key == nil && !options.Plaintext:
		return nil, errors.New("file: Options.Key is nil: set it to seal what is stored, or set Options.Plaintext to leave it in the clear")
	case options.Plaintext && (options.Key != nil || len(options.Former) > 0):
		return nil, errors.New("file: Options.Plaintext excludes Options.Key and Options.Former: set one or the other")
	}
	dir, err := filepath.Abs(dir) // the program may change its folder later
	if err != nil {
		return nil, fmt.Errorf("file: the folder cannot be found: %w", err)
	}
	s := &Store{dir: dir, living: lockfile.NewLiving(dir)}
	if !options.Plaintext {
		if s.box, err = seal.NewBox(options.Key, options.Former...); err != nil {
			return nil, fmt.Errorf("file: Options.Key and Options.Former: %w", err)
		}
	}
	for i := range s.locks {
		s.locks[i] = lockfile.New(filepath.Join(dir, lockPrefix+strconv.FormatInt(int64(i), 16)))
	}
	return s, nil
}

// Load implements tokenstore.Store.
func (s *Store) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	folder, err := s.folder()
	if lockfile.IsAbsent(err) {
		return nil, "", tokenstore.ErrNotFound
	}
	if err != nil {
		return nil, "", err
	}
	value, version, err := s.read(ctx, key)
	if err != nil {
		return nil, "", err
	}
	if version == "" {
		return nil, "", tokenstore.ErrNotFound
	}
	s.settle(folder)
	return value, version, nil
}

// Swap implements tokenstore.Store. What it writes outlives a crash of the machine.
func (s *Store) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	folder, err := s.makeFolder()
	if err != nil {
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
		version, err := s.write(ctx, key, value, current == "")
		if err == nil {
			s.settle(folder)
		}
		return version, err
	case current == "":
		return "", nil
	}
	if err := durable.Remove(ctx, s.path(key)); err != nil {
		return "", fmt.Errorf("file: a grant cannot be deleted: %w", err)
	}
	return "", nil
}

// Hold implements tokenstore.Liveness.
func (s *Store) Hold(ctx context.Context, name string) (release func(), err error) {
	if _, err := s.makeFolder(); err != nil {
		return nil, err
	}
	return s.living.Hold(ctx, name)
}

// Held implements tokenstore.Liveness.
func (s *Store) Held(ctx context.Context, name string) (bool, error) {
	held, err := s.living.Held(ctx, name)
	if held || err != nil {
		return held, err
	}
	return false, s.mustBeHere()
}

// Notify implements tokenstore.Notifier: it tells of files that were open to others.
func (s *Store) Notify(tell func(key, text string)) (stop func()) { return s.board.Notify(tell) }

// lockPrefix begins the names of the files that writers lock.
const lockPrefix = "lock-"

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
	e, found, err := s.readFile(ctx, path)
	if err != nil {
		return nil, "", err
	}
	if !found {
		return nil, "", s.mustBeHere() // it may have gone after the last look
	}
	value, err := s.open(ctx, path, key, e)
	return value, e.version, err
}

// write puts value under key; the caller holds the key's lock.
func (s *Store) write(ctx context.Context, key string, value []byte, isNew bool) (tokenstore.Version, error) {
	version := tokenstore.Version(rand.Text())
	data, err := s.seal(ctx, key, version, value)
	if err != nil {
		return "", err
	}
	err = durable.Write(ctx, s.path(key), data, isNew)
	if errors.Is(err, fs.ErrExist) && isNew {
		return "", tokenstore.ErrConflict
	}
	if err != nil {
		return "", fmt.Errorf("file: a grant cannot be written: %w", err)
	}
	return version, nil
}

package keychain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"unicode"
	"unicode/utf8"

	"github.com/evergrant/evergrant/internal/lockfile"
	"github.com/evergrant/evergrant/internal/secret"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/internal/keyname"
	"github.com/evergrant/evergrant/tokenstore/internal/notice"
)

// Options says where the processes that share a keychain meet, and whether somebody is there.
type Options struct {
	// Dir is the folder of the lock files, the same one for every program of the person that uses the
	// service. Empty: evergrant/keychain in os.UserConfigDir, which depends on HOME or XDG_CONFIG_HOME
	// where there are those.
	Dir string

	// Unattended says that nobody is there to answer a prompt, as in a service or a cron job: a locked
	// keychain is ErrLocked at once, on macOS after a few seconds, instead of a question. False: a
	// person is asked, and has until the context's deadline, or two minutes if it has none.
	Unattended bool
}

// Store is a tokenstore.Store in the keychain of the operating system. It is a Lister, a Liveness, a
// Prober and a Notifier too, and a key source for package file. It is safe for concurrent use by
// goroutines and processes.
type Store struct {
	service    string
	dir        string
	unattended bool
	ring       ring
	platform   platform
	lock       *lockfile.Lock
	living     lockfile.Living
	board      notice.Board
	turn       chan struct{}                 // full while a call is inside the keychain
	left       atomic.Pointer[call]          // the call that was left behind last, if any
	key        atomic.Pointer[secret.String] // for Key, once known
}

var (
	_ tokenstore.Store    = (*Store)(nil)
	_ tokenstore.Lister   = (*Store)(nil)
	_ tokenstore.Liveness = (*Store)(nil)
	_ tokenstore.Prober   = (*Store)(nil)
	_ tokenstore.Notifier = (*Store)(nil)
)

// New makes a Store whose items belong to service, the name of the program in the eyes of the person:
// 1 to 128 bytes of UTF-8 without control characters. It does not ask the keychain yet.
func New(service string, options Options) (*Store, error) {
	if service == "" || len(service) > 128 || !utf8.ValidString(service) || strings.ContainsFunc(service, unicode.IsControl) {
		return nil, errors.New("keychain: service is empty, too long or no plain text: name the program in 1 to 128 bytes")
	}
	dir := options.Dir
	if dir == "" {
		config, err := os.UserConfigDir()
		if err != nil {
			return nil, fmt.Errorf("keychain: the person's folder for lock files cannot be found, set Options.Dir: %w", err)
		}
		dir = filepath.Join(config, "evergrant", "keychain")
	}
	dir, err := filepath.Abs(dir) // the program may change its folder later
	if err != nil {
		return nil, fmt.Errorf("keychain: Options.Dir cannot be found: %w", err)
	}
	return &Store{
		service:    service,
		dir:        dir,
		unattended: options.Unattended,
		ring:       system{},
		platform:   native,
		lock:       lockfile.New(filepath.Join(dir, "service-"+keyname.Escape(service)+".lock")),
		living:     lockfile.NewLiving(dir),
		turn:       make(chan struct{}, 1),
	}, nil
}

// Load implements tokenstore.Store.
func (s *Store) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	g, err := s.read(ctx, userOf(key))
	switch {
	case err != nil:
		return nil, "", err
	case g.version() == "":
		return nil, "", tokenstore.ErrNotFound
	}
	return g.value, g.version(), nil
}

// read returns what lies under user, without keeping anybody from writing unless it must.
func (s *Store) read(ctx context.Context, user string) (grant, error) {
	var g grant
	read := func(i items) (err error) {
		g, err = i.read(user)
		return err
	}
	err := s.do(ctx, free, read)
	if errors.Is(err, tokenstore.ErrDamaged) {
		// Perhaps somebody replaced it while it was read. Nobody does under the lock.
		err = s.do(ctx, locked, read)
	}
	if err != nil {
		return grant{}, err // a call that was left behind may still set g
	}
	return g, nil
}

// Swap implements tokenstore.Store.
func (s *Store) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	value = append([]byte(nil), value...) // the call may outlive its caller
	var version tokenstore.Version
	err := s.do(ctx, locked, func(i items) error {
		now, err := i.read(userOf(key))
		switch {
		case err != nil:
			return err
		case now.version() != old:
			return tokenstore.ErrConflict
		case len(value) == 0:
			return i.forget(key, now.head)
		}
		if now.version() == "" {
			if err := i.enlist(key); err != nil {
				return err
			}
		}
		version, err = i.write(userOf(key), now.head, value)
		return err
	})
	if err != nil {
		return "", err
	}
	return version, nil
}

// forget deletes the grant of key, and then its name from the list. A name that stays is no harm:
// Keys looks whether there is a grant, so what goes wrong there is no failure.
func (i items) forget(key string, now head) error {
	if err := i.remove(userOf(key), now); err != nil {
		return err
	}
	if now.Version != "" {
		_ = i.strike(key)
	}
	return nil
}

// Hold implements tokenstore.Liveness. It needs no keychain.
func (s *Store) Hold(ctx context.Context, name string) (release func(), err error) {
	if err := s.makeFolder(); err != nil {
		return nil, err
	}
	return s.living.Hold(ctx, name)
}

// Held implements tokenstore.Liveness. It needs no keychain.
func (s *Store) Held(ctx context.Context, name string) (bool, error) {
	return s.living.Held(ctx, name)
}

// Notify implements tokenstore.Notifier: it tells of a call that waits for a person.
func (s *Store) Notify(tell func(key, text string)) (stop func()) { return s.board.Notify(tell) }

func (s *Store) makeFolder() error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("keychain: the folder of the lock files cannot be made, set Options.Dir to another one: %w", err)
	}
	return nil
}

// userOf returns the user under which the grant of key lies. It holds no #, which the names of its
// parts do.
func userOf(key string) string { return "grant-" + keyname.Escape(key) }

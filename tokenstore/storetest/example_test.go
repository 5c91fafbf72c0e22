package storetest_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

// shelf is a tokenstore.Store in a folder: a file for each key, in the clear, and one lock for all writers.
type shelf struct{ dir string }

func (s shelf) path(key string) string {
	return filepath.Join(s.dir, fmt.Sprintf("%x", sha256.Sum256([]byte(key))))
}

func (s shelf) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	if ctx.Err() != nil {
		return nil, "", ctx.Err()
	}
	value, err := os.ReadFile(s.path(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", tokenstore.ErrNotFound
	}
	return value, tokenstore.Version(value), err // the value itself is a version that never comes back for another
}

func (s shelf) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	lock := flock.New(filepath.Join(s.dir, "lock")) // the operating system takes it away from a dead process
	if _, err := lock.TryLockContext(ctx, time.Millisecond); err != nil {
		return "", err
	}
	defer func() { _ = lock.Unlock() }()
	if _, now, err := s.Load(ctx, key); err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
		return "", err
	} else if now != old {
		return "", tokenstore.ErrConflict
	}
	if len(value) == 0 {
		if err := os.Remove(s.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		return "", flush(s.dir)
	}
	draft := s.path(key) + ".draft" // so that no reader, and no crash, meets half a value
	if err := os.WriteFile(draft, value, 0o600); err != nil {
		return "", err
	}
	if err := flush(draft); err != nil {
		return "", err
	}
	if err := os.Rename(draft, s.path(key)); err != nil {
		return "", err
	}
	return tokenstore.Version(value), flush(s.dir)
}

// flush has the system write to the disk what it keeps of a file or a folder.
func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// A store of one's own is proved by one line: in its package this function is TestShelf.
func Example() {
	testShelf := func(t *testing.T) {
		storetest.Run(t, func(t testing.TB) tokenstore.Store { return shelf{storetest.Place(t)} })
	}
	fmt.Printf("%T\n", testShelf)
	// Output: func(*testing.T)
}

package file

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strings"

	"github.com/evergrant/evergrant/internal/lockfile"
)

// Keys implements tokenstore.Lister. It reads the heads of the files without opening their seals, so
// it needs no key. A damaged file hides no other one: the errors come last, together.
func (s *Store) Keys(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := ctx.Err(); err != nil {
			yield("", err)
			return
		}
		names, err := s.names()
		errs := []error{err}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				errs = append(errs, err)
				break
			}
			key, found, err := s.keyOf(ctx, filepath.Join(s.dir, name))
			errs = append(errs, err)
			if found && strings.HasPrefix(key, prefix) && !yield(key, nil) {
				return
			}
		}
		if err := errors.Join(errs...); err != nil {
			yield("", err)
		}
	}
}

// keyOf returns the key of the file at path; found is false if it is gone or damaged.
func (s *Store) keyOf(ctx context.Context, path string) (key string, found bool, err error) {
	e, found, err := s.readFile(ctx, path)
	if err != nil || !found {
		return "", false, err
	}
	if s.path(e.key) != path {
		return "", false, about(path, damaged("its name is not that of its key"))
	}
	return e.key, true, nil
}

// names returns the names of the grants' files.
func (s *Store) names() ([]string, error) {
	if _, err := s.folder(); err != nil {
		if lockfile.IsAbsent(err) {
			return nil, nil
		}
		return nil, err
	}
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("file: the folder cannot be listed: %w", err)
	}
	var names []string
	for _, entry := range entries {
		if name := entry.Name(); strings.HasPrefix(name, filePrefix) && strings.HasSuffix(name, fileSuffix) {
			names = append(names, name)
		}
	}
	return names, nil
}

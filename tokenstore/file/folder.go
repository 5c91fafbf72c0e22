package file

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/evergrant/evergrant/internal/lockfile"
	"github.com/evergrant/evergrant/tokenstore/internal/durable"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// Probe implements tokenstore.Prober: it makes the folder, takes a lock there, writes 16 KiB and deletes
// them. A key that is had from a tokenstore.Prober, as the keychain is, is probed and not fetched.
func (s *Store) Probe(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if _, err := s.makeFolder(); err != nil {
		return err
	}
	if err := s.probeKey(ctx); err != nil {
		return err
	}
	release, err := s.locks[0].Acquire(ctx)
	if err != nil {
		return fmt.Errorf("file: %w", err)
	}
	release()
	data := make([]byte, 16<<10)
	if _, err := rand.Read(data); err != nil {
		return err
	}
	if err := durable.Try(ctx, filepath.Join(s.dir, "probe-"+rand.Text()+durable.Suffix), data); err != nil {
		return fmt.Errorf("file: the folder %s cannot be written to: %w", s.dir, err)
	}
	return nil
}

func (s *Store) probeKey(ctx context.Context) error {
	if s.box == nil {
		return nil
	}
	err := s.box.Probe(ctx)
	if errors.Is(err, seal.ErrNoKey) {
		return s.losesNothing(ctx)
	}
	if err != nil {
		return fmt.Errorf("file: %w", err)
	}
	return nil
}

// makeFolder makes the folder if it is missing, and checks that grants may lie there.
func (s *Store) makeFolder() (fs.FileInfo, error) {
	info, err := s.folder()
	if lockfile.IsAbsent(err) {
		if err := durable.MakeFolder(s.dir); err != nil {
			return nil, fmt.Errorf("file: the folder cannot be made: %w", err)
		}
		info, err = s.folder()
	}
	if err != nil {
		return nil, err
	}
	return info, s.checkLocks(info)
}

// folder looks at the folder. Where there is none, lockfile.IsAbsent says so of the error; where its volume is away the
// error wraps ErrFolderGone.
func (s *Store) folder() (fs.FileInfo, error) {
	info, err := guardFolder(s.dir)
	home := s.home.Load()
	if home == nil || err != nil && !lockfile.IsAbsent(err) || err == nil && os.SameFile(info, *home) {
		return info, err
	}
	if err == nil {
		// A volume that is mounted anew may be another device by name. What was written to it tells.
		if device(info) == device(*home) || s.isInUse() {
			return info, nil
		}
	} else if above, found := existing(filepath.Dir(s.dir)); found && device(above) == device(*home) {
		return nil, err // a person has deleted it
	}
	return nil, fmt.Errorf("file: %s: %w", s.dir, ErrFolderGone)
}

// existing looks at path or, if that is not there, at what is nearest above it.
func existing(path string) (info fs.FileInfo, found bool) {
	info, err := os.Stat(path)
	if above := filepath.Dir(path); lockfile.IsAbsent(err) && above != path {
		return existing(above)
	}
	return info, err == nil
}

// isInUse reports whether a Store has written to the folder: its lock files stay there.
func (s *Store) isInUse() bool {
	entries, err := os.ReadDir(s.dir)
	return err == nil && slices.ContainsFunc(entries, func(entry fs.DirEntry) bool {
		return strings.HasPrefix(entry.Name(), lockPrefix) || strings.HasPrefix(entry.Name(), filePrefix)
	})
}

// mustBeHere returns an error if it cannot be said that something is not in the folder.
func (s *Store) mustBeHere() error {
	if s.home.Load() == nil {
		return nil
	}
	if _, err := s.folder(); !lockfile.IsAbsent(err) {
		return err
	}
	return nil
}

// settle remembers the folder in which a grant was found or put.
func (s *Store) settle(folder fs.FileInfo) {
	if home := s.home.Load(); home == nil || !os.SameFile(folder, *home) {
		kept := folder // which alone goes to the heap
		s.home.Store(&kept)
	}
}

// checkLocks refuses a file system whose locks are not worth anything. That is looked up again only when
// another folder has come to lie there, for instance by a mount.
func (s *Store) checkLocks(info fs.FileInfo) error {
	if checked := s.checked.Load(); checked != nil && os.SameFile(info, *checked) {
		return nil
	}
	if err := lockfile.CheckFolder(s.dir); err != nil {
		return fmt.Errorf("file: %w", err)
	}
	s.checked.Store(&info)
	return nil
}

// readFile takes apart the file at path; found is false if there is none. A file that is open to others
// is closed, and the listeners are told.
func (s *Store) readFile(ctx context.Context, path string) (e envelope, found bool, err error) {
	data, was, err := readFile(ctx, path)
	if lockfile.IsAbsent(err) {
		return e, false, nil
	}
	if err != nil {
		return e, false, fmt.Errorf("file: a grant cannot be read: %w", err)
	}
	e, err = parse(data)
	if was&0o077 != 0 {
		s.board.Post(e.key, fmt.Sprintf("file: %s was open to others (%v) and is closed now (0600): if somebody may have read it, log out and in again", path, was))
	}
	return e, err == nil, about(path, err)
}

// readFile returns what is in the file at path, and the mode that it had.
func readFile(ctx context.Context, path string) (data []byte, was fs.FileMode, err error) {
	var f *os.File
	err = durable.Patiently(ctx, func() (err error) {
		f, err = os.OpenFile(path, readFlags, 0)
		return err
	})
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	if was, err = guardFile(f); err != nil {
		return nil, 0, err
	}
	var all bytes.Buffer
	if info, err := f.Stat(); err == nil {
		all.Grow(int(info.Size()) + bytes.MinRead) // one read, and one that finds the end
	}
	_, err = all.ReadFrom(f)
	return all.Bytes(), was, err
}

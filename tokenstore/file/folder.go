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
	if err := s.makeFolder(); err != nil {
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
func (s *Store) makeFolder() error {
	info, err := guardFolder(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err := durable.MakeFolder(s.dir); err != nil {
			return fmt.Errorf("file: the folder cannot be made: %w", err)
		}
		info, err = guardFolder(s.dir)
	}
	if err != nil {
		return err
	}
	return s.checkLocks(info)
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
	if errors.Is(err, fs.ErrNotExist) {
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

// Package durable writes files that a crash leaves whole: the old content or the new one.
package durable

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/evergrant/evergrant/internal/lockfile"
)

// Suffix ends the names of temporary files: one is never a file that somebody should read.
const Suffix = ".tmp"

// MakeFolder makes dir and what is missing above it, with mode 0700.
func MakeFolder(dir string) error {
	_, err := os.Stat(dir)
	parent := filepath.Dir(dir)
	if !lockfile.IsAbsent(err) || parent == dir {
		return err
	}
	if err := MakeFolder(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(parent)
}

// Write puts data into the file at path, with mode 0600. The caller is the only one who writes there, so
// the temporary file has a fixed name, and one that is found is that of a dead writer. With isNew the
// error wraps fs.ErrExist if the file is there: making the temporary file has had a network file system
// look at the folder anew, so that a file which was made on another machine is seen.
func Write(ctx context.Context, path string, data []byte, isNew bool) (err error) {
	temporary := path + Suffix
	defer func() {
		if err != nil {
			_ = os.Remove(temporary)
		}
	}()
	if err := fill(ctx, temporary, data); err != nil {
		return err
	}
	if isNew {
		if err := mustBeAbsent(path); err != nil {
			return err
		}
	}
	if err := Patiently(ctx, func() error { return os.Rename(temporary, path) }); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// mustBeAbsent returns fs.ErrExist if there is a file at path, and what is in the way where that cannot be seen.
func mustBeAbsent(path string) error {
	_, err := os.Lstat(path)
	switch {
	case err == nil:
		return fs.ErrExist
	case lockfile.IsAbsent(err):
		return nil
	}
	return err
}

// Try finds out whether Write could write data beside path, and leaves nothing there.
func Try(ctx context.Context, path string, data []byte) error {
	err := fill(ctx, path, data)
	if removed := os.Remove(path); err == nil {
		err = removed
	}
	return err
}

// Remove deletes the file at path, with what a dead writer left beside it.
func Remove(ctx context.Context, path string) error {
	for _, name := range []string{path + Suffix, path} {
		err := Patiently(ctx, func() error { return os.Remove(name) })
		if err != nil && !lockfile.IsAbsent(err) {
			return err
		}
	}
	return syncFolder(filepath.Dir(path))
}

// fill makes the file at path anew, with data that lies on the disk.
func fill(ctx context.Context, path string, data []byte) error {
	f, err := create(ctx, path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}

func create(ctx context.Context, path string) (f *os.File, err error) {
	err = Patiently(ctx, func() (err error) {
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			if err = os.Remove(path); err == nil {
				f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
			}
		}
		return err
	})
	return f, err
}

// Patiently repeats act while another process is in its way, until ctx or the patience ends.
func Patiently(ctx context.Context, act func() error) error {
	began := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := act()
		if err == nil || !lockfile.IsMomentary(err) || time.Since(began) > lockfile.Patience {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		}
	}
}

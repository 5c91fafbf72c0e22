package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// patience is how long an operation is repeated that another process is in the way of for a moment.
const patience = 2 * time.Second

// makeFolder makes dir and what is missing above it, durably, and closes it to other people's writing.
func makeFolder(dir string) error {
	if err := makeMissing(dir); err != nil {
		return fmt.Errorf("file: the folder cannot be made: %w", err)
	}
	return guardFolder(dir)
}

func makeMissing(dir string) error {
	_, err := os.Stat(dir)
	parent := filepath.Dir(dir)
	if !errors.Is(err, fs.ErrNotExist) || parent == dir {
		return err
	}
	if err := makeMissing(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncFolder(parent)
}

// readFile returns what is in the file at path, nil if there is none.
func readFile(ctx context.Context, path string) ([]byte, error) {
	var f *os.File
	err := patiently(ctx, func() (err error) {
		f, err = os.Open(path)
		return err
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("file: a grant cannot be read: %w", err)
	}
	defer f.Close()
	if err := guardFolder(filepath.Dir(path)); err != nil {
		return nil, err
	}
	if err := guardFile(f); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("file: a grant cannot be read: %w", err)
	}
	return data, nil // never nil: io.ReadAll starts with an empty slice
}

// writeFile puts data durably into the file at path. The caller is the only one who writes there, so
// the temporary file has a fixed name, and one that is found is that of a dead writer.
func writeFile(ctx context.Context, path string, data []byte) (err error) {
	temporary := path + ".tmp"
	defer func() {
		if err != nil {
			_ = os.Remove(temporary)
			err = fmt.Errorf("file: a grant cannot be written: %w", err)
		}
	}()
	f, err := create(ctx, temporary)
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
	if err != nil {
		return err
	}
	if err := patiently(ctx, func() error { return os.Rename(temporary, path) }); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(path))
}

// create makes the temporary file, new and empty.
func create(ctx context.Context, path string) (f *os.File, err error) {
	err = patiently(ctx, func() (err error) {
		if err = os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		f, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	return f, err
}

// remove deletes the file at path durably, with what a dead writer left beside it.
func remove(ctx context.Context, path string) error {
	for _, name := range []string{path + ".tmp", path} {
		err := patiently(ctx, func() error { return os.Remove(name) })
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("file: a grant cannot be deleted: %w", err)
		}
	}
	if err := syncFolder(filepath.Dir(path)); err != nil {
		return fmt.Errorf("file: a grant cannot be deleted: %w", err)
	}
	return nil
}

// patiently repeats act while another process is in its way, until ctx or the patience ends.
func patiently(ctx context.Context, act func() error) error {
	began := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := act()
		if err == nil || !isMomentary(err) || time.Since(began) > patience {
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

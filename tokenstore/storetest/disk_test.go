package storetest_test

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evergrant/evergrant/internal/lockfile"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/internal/notice"
)

// disk is a store with every ability whose stores share one file, with one lock for all that is done. It
// keeps every clause unless one of its parts is replaced.
type disk struct {
	notice.Board
	lockfile.Living
	lock  func(ctx context.Context) (release func(), err error)
	write func(value, data []byte) error // data is the whole, value what is new in it

	// behind has a Swap succeed before it is written: flush does the rest.
	behind func(value []byte, flush func())
	// forgets has the versions after that of a value that has ended begin with its own.
	forgets bool

	path string
}

// state is what the file holds.
type state struct {
	Last   int // number of the last version
	Values map[string]entry
}

type entry struct {
	Value   []byte
	Version tokenstore.Version
	Until   time.Time
}

func newDisk(dir string) *disk {
	d := &disk{
		Living: lockfile.NewLiving(dir), lock: lockfile.New(filepath.Join(dir, "lock")).Acquire,
		path: filepath.Join(dir, "state"),
	}
	d.write = d.replace
	return d
}

// replace writes the file by renaming a new one.
func (d *disk) replace(_, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(d.path), "new-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), d.path)
}

// read returns the state; the caller has the lock.
func (d *disk) read() (state, error) {
	s := state{Values: make(map[string]entry)}
	data, err := os.ReadFile(d.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil && gob.NewDecoder(bytes.NewReader(data)).Decode(&s) != nil {
		err = tokenstore.ErrDamaged
	}
	for key, e := range s.Values {
		if e.Until.IsZero() || time.Now().Before(e.Until) {
			continue
		}
		delete(s.Values, key)
		if d.forgets {
			s.Last, _ = strconv.Atoi(string(e.Version))
			s.Last--
		}
	}
	return s, err
}

func (d *disk) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	release, err := d.lock(ctx)
	if err != nil {
		return nil, "", err
	}
	defer release()
	s, err := d.read()
	if err != nil {
		return nil, "", err
	}
	e, ok := s.Values[key]
	if !ok {
		return nil, "", tokenstore.ErrNotFound
	}
	return e.Value, e.Version, nil
}

func (d *disk) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	return d.SwapUntil(ctx, key, old, value, time.Time{})
}

func (d *disk) SwapUntil(
	ctx context.Context, key string, old tokenstore.Version, value []byte, until time.Time,
) (tokenstore.Version, error) {
	release, err := d.lock(ctx)
	if err != nil {
		return "", err
	}
	s, err := d.read()
	if err == nil && s.Values[key].Version != old {
		err = tokenstore.ErrConflict
	}
	if err != nil {
		release()
		return "", err
	}
	s.Last++
	written := entry{value, tokenstore.Version(strconv.Itoa(s.Last)), until}
	s.Values[key] = written
	if len(value) == 0 {
		written.Version = ""
		delete(s.Values, key)
	}
	var data bytes.Buffer
	if err := gob.NewEncoder(&data).Encode(s); err != nil {
		release()
		return "", err
	}
	if d.behind != nil {
		d.behind(value, func() {
			defer release()
			_ = d.write(value, data.Bytes())
		})
		return written.Version, nil
	}
	defer release()
	return written.Version, d.write(value, data.Bytes())
}

func (d *disk) Keys(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		release, err := d.lock(ctx)
		if err != nil {
			yield("", err)
			return
		}
		s, err := d.read()
		release()
		for _, key := range slices.Collect(maps.Keys(s.Values)) {
			if strings.HasPrefix(key, prefix) && !yield(key, nil) {
				return
			}
		}
		if err != nil {
			yield("", err)
		}
	}
}

func (d *disk) Wait(ctx context.Context, key string, not tokenstore.Version) error {
	for {
		_, version, err := d.Load(ctx, key)
		if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
			return err
		}
		if version != not {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (d *disk) Probe(ctx context.Context) error {
	release, err := d.lock(ctx)
	if err != nil {
		return err
	}
	release()
	return nil
}

package storetest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/evergrant/evergrant/tokenstore"
)

// tally adds a stroke to the value under key by compare-and-swap. Every value differs from every other in
// all that a version may be derived from, so that what fails here is the compare-and-swap alone.
func tally(ctx context.Context, store tokenstore.Store, key string) error {
	for {
		value, version, err := store.Load(ctx, key)
		if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
			return err
		}
		if _, err = store.Swap(ctx, key, version, slices.Concat(value, []byte{'|'})); err == nil {
			return nil
		}
		if !errors.Is(err, tokenstore.ErrConflict) {
			return err
		}
	}
}

// tallyFor adds strokes for that long, and at least ten. It returns how many.
func tallyFor(ctx context.Context, store tokenstore.Store, key string, long time.Duration) (n int, err error) {
	for end := time.Now().Add(long); err == nil && (n < 10 || time.Now().Before(end)); n++ {
		err = tally(ctx, store, key)
	}
	return n, err
}

// mixed is the n-th of a row of values, 1 to 8 KiB of text that compresses badly. No part of one and no
// mixture of two is another.
func mixed(n int) string {
	filling := make([]byte, 750+n%7*900)
	_, _ = mathrand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(filling) // never fails
	return fmt.Sprintf("%d-%s-%d", n, base64.StdEncoding.EncodeToString(filling), n)
}

// number undoes mixed.
func number(value []byte) (int, error) {
	digits, _, _ := bytes.Cut(value, []byte("-"))
	n, err := strconv.Atoi(string(digits))
	if err != nil || mixed(n) != string(value) {
		return 0, fmt.Errorf("what Load shows was never written: %.40q (%d bytes)", value, len(value))
	}
	return n, nil
}

// churn writes the row of values, from where it stands, until ctx ends, and reports each that is written.
func churn(ctx context.Context, store tokenstore.Store, key string, report func(n int)) error {
	for {
		value, version, err := store.Load(ctx, key)
		if ctx.Err() != nil {
			return nil
		}
		n := 0
		if err == nil {
			n, err = number(value)
		}
		if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
			return err
		}
		_, err = store.Swap(ctx, key, version, []byte(mixed(n+1)))
		switch {
		case err == nil:
			report(n + 1)
		case ctx.Err() != nil:
			return nil
		case !errors.Is(err, tokenstore.ErrConflict):
			return err
		}
	}
}

// asOne checks that what one of two stores does the other sees.
func (t *trial) asOne(other tokenstore.Store) error {
	var first, second, third tokenstore.Version
	key, one, two := t.key("seen"), t, t.over(other)
	return inTurn(
		step{"one creates", func() (err error) { first, err = one.swap(key, "", []byte("1")); return err }},
		step{"the other loads it", func() error { return two.has(key, []byte("1"), first) }},
		step{"one loads it too", func() error { return one.has(key, []byte("1"), first) }},
		step{"the other replaces it", func() (err error) { second, err = two.swap(key, first, []byte("2")); return err }},
		step{"the other loads its own", func() error { return two.has(key, []byte("2"), second) }},
		step{"one swaps at its old version", func() error { return one.conflict(key, first, []byte("3")) }},
		step{"one loads what was replaced", func() error { return one.has(key, []byte("2"), second) }},
		step{"one deletes", func() error { _, err := one.swap(key, second, nil); return err }},
		step{"the other loads what was deleted", func() error { return two.hasNot(key) }},
		step{"the other swaps what was deleted", func() error { return two.conflict(key, second, []byte("4")) }},
		step{"the other creates", func() (err error) { third, err = two.swap(key, "", []byte("5")); return err }},
		step{"one creates too", func() error { return one.conflict(key, "", []byte("6")) }},
		step{"one swaps at a version before the deletion", func() error { return one.conflict(key, second, []byte("7")) }},
		step{"all is done", func() error { return one.has(key, []byte("5"), third) }},
	)
}

// contention is how long two stores write one key at the same time.
const contention = 150 * time.Millisecond

func twoStores(t *trial) error {
	other, err := t.again()
	if err != nil {
		return err
	}
	if err := t.asOne(other); err != nil {
		return err
	}
	type result struct {
		n   int
		err error
	}
	theirs := make(chan result, 1)
	go func() {
		n, err := tallyFor(t.ctx, other, t.key("k"), contention)
		theirs <- result{n, err}
	}()
	mine, err := tallyFor(t.ctx, t.store, t.key("k"), contention)
	their := <-theirs
	if err := errors.Join(err, their.err); err != nil {
		return err
	}
	return t.strokes(mine, their.n)
}

func twoProcesses(t *trial) (err error) {
	other, err := t.start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, other.end()) }()
	if err := t.asOne(other); err != nil {
		return err
	}
	if err := other.order(order{Do: "tally", Key: []byte(t.key("k")), For: contention}); err != nil {
		return err
	}
	mine, err := tallyFor(t.ctx, t.store, t.key("k"), contention)
	theirs, failed := other.answer(t.ctx)
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	return t.strokes(mine, theirs.Count)
}

// strokes looks for the strokes of two stores.
func (t *trial) strokes(mine, theirs int) error {
	value, _, err := t.load(t.key("k"))
	if err != nil {
		return fmt.Errorf("Load failed: %w", err)
	}
	if !bytes.Equal(value, bytes.Repeat([]byte{'|'}, mine+theirs)) {
		return fmt.Errorf("two stores made %d and %d updates, of which %d are left", mine, theirs, len(value))
	}
	return nil
}

// deaths is how many processes die for the check of durability.
const deaths = 4

func durable(t *trial) error {
	if !t.opening.shares {
		return errNotShared
	}
	for death := range deaths {
		if err := t.survives(); err != nil {
			return fmt.Errorf("process %d of %d: %w", death+1, deaths, err)
		}
	}
	return nil
}

// survives kills a process that writes, and looks what is left of its work.
func (t *trial) survives() error {
	p, err := t.start()
	if err != nil {
		return err
	}
	defer p.kill()
	if err := p.order(order{Do: "churn", Key: []byte(t.key("k"))}); err != nil {
		return err
	}
	last := 0
	var began time.Time
	for n := range 4 {
		written, err := p.answer(t.ctx)
		if err != nil {
			return err
		}
		if last = written.Count; n == 0 {
			began = time.Now()
		}
	}
	// Any moment of the next three writes will do.
	moment := mathrand.N(max(time.Since(began), time.Millisecond))
	time.AfterFunc(moment, func() { _ = p.cmd.Process.Kill() })
	for written := range p.answers {
		if written.Failed != "" {
			return errors.New("in the other process: " + written.Failed)
		}
		last = written.Count
	}
	store, err := t.again()
	if err != nil {
		return err
	}
	_, err = t.over(store).settle(t.key("k"), []byte(mixed(last+2)), func(value []byte) error {
		n, err := number(value)
		if err == nil && n != last && n != last+1 {
			err = fmt.Errorf("Load shows write %d after write %d had succeeded", n, last)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("after a process was killed at its work: %w", err)
	}
	return nil
}

func waitsForOthers(t *trial) (err error) {
	if _, ok := t.store.(tokenstore.Waiter); !ok {
		return errNotOffered
	}
	other, err := t.start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, other.end()) }()
	return t.wakes(other)
}

func deathFrees(t *trial) error {
	l, ok := t.store.(tokenstore.Liveness)
	if !ok {
		return errNotOffered
	}
	p, err := t.start()
	if err != nil {
		return err
	}
	defer p.kill()
	name := rand.Text()
	if err := p.order(order{Do: "hold", Key: []byte(name)}); err != nil {
		return err
	}
	if _, err := p.answer(t.ctx); err != nil {
		return fmt.Errorf("Hold failed: %w", err)
	}
	if err := held(t.ctx, l, name, true); err != nil {
		return fmt.Errorf("while another process holds the lock: %w", err)
	}
	p.kill()
	for end := time.Now().Add(t.patience); ; time.Sleep(10 * time.Millisecond) {
		alive, err := l.Held(t.ctx, name)
		if err != nil {
			return fmt.Errorf("Held failed after its holder was killed: %w", err)
		}
		if !alive {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("Held says that somebody alive holds the lock, %v after its holder was killed", t.patience)
		}
	}
}

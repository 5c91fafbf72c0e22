package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/evergrant/evergrant/tokenstore"
)

// noise returns n random bytes, which nothing can compress, between two letters, which nothing trims.
func noise(n int) ([]byte, error) {
	value := make([]byte, n)
	_, err := rand.Read(value)
	value[0], value[n-1] = 'n', 'n'
	return value, err
}

func endedContext(t *trial) error {
	version, err := t.put("k", "v")
	if err != nil {
		return err
	}
	cancelled, cancel := context.WithCancel(t.ctx)
	cancel()
	late, cancel := context.WithDeadline(t.ctx, time.Now().Add(-time.Second))
	defer cancel()
	for _, ctx := range []context.Context{cancelled, late} {
		err := t.ends("Load", time.Now(), func() error {
			_, _, err := t.store.Load(ctx, t.key("k"))
			return wraps("Load", err, ctx.Err())
		})
		if err != nil {
			return err
		}
		err = t.ends("Swap", time.Now(), func() error {
			_, err := t.store.Swap(ctx, t.key("k"), version, []byte("w"))
			return wraps("Swap", err, ctx.Err())
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func wraps(what string, err, want error) error {
	if !errors.Is(err, want) {
		return fmt.Errorf("%s under a context that has ended returned %v instead of %w", what, err, want)
	}
	return nil
}

// list gathers the keys that start with prefix.
func list(ctx context.Context, l tokenstore.Lister, prefix string) ([]string, error) {
	keys := make(map[string]bool)
	for key, err := range l.Keys(ctx, prefix) {
		if err != nil {
			return nil, fmt.Errorf("Keys yielded an error: %w", err)
		}
		if keys[key] {
			return nil, fmt.Errorf("Keys yielded %.60q twice", key)
		}
		keys[key] = true
	}
	return slices.Sorted(maps.Keys(keys)), nil
}

func lists(t *trial) error {
	l, ok := t.store.(tokenstore.Lister)
	if !ok {
		return errNotOffered
	}
	var last tokenstore.Version
	for _, name := range append(awkward, "other") {
		var err error
		if last, err = t.swap(t.prefix+"in/"+name, "", []byte("v")); err != nil {
			return err
		}
		if _, err = t.swap(t.prefix+"IN/"+name, "", []byte("v")); err != nil {
			return err
		}
	}
	if _, err := t.swap(t.prefix+"in/other", last, nil); err != nil {
		return err
	}
	var want []string
	for _, name := range awkward {
		want = append(want, t.prefix+"in/"+name)
	}
	slices.Sort(want)
	got, err := list(t.ctx, l, t.prefix+"in/")
	if err != nil {
		return err
	}
	if !slices.Equal(got, want) {
		return fmt.Errorf("Keys yielded %.400q instead of %.400q", got, want)
	}
	return t.leavesEarly(l)
}

// leavesEarly breaks off, which a careless iterator answers with a panic.
func (t *trial) leavesEarly(l tokenstore.Lister) error {
	n := 0
	for range l.Keys(t.ctx, t.prefix) {
		if n++; n == 2 {
			break
		}
	}
	if n != 2 {
		return fmt.Errorf("Keys yielded %d keys to a loop that leaves after 2", n)
	}
	return nil
}

func listsEnded(t *trial) error {
	l, ok := t.store.(tokenstore.Lister)
	if !ok {
		return errNotOffered
	}
	if _, err := t.put("k", "v"); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(t.ctx)
	cancel()
	var last error
	err := t.ends("Keys", time.Now(), func() error {
		for key, err := range l.Keys(ctx, t.prefix) {
			if last != nil {
				return errors.New("Keys went on after its error")
			}
			if last = err; err != nil && key != "" {
				return errors.New("Keys yielded a key together with an error")
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return wraps("Keys", last, context.Canceled)
}

func waits(t *trial) error { return t.wakes(t.store) }

// wakes checks that what writer does ends the store's Wait.
func (t *trial) wakes(writer tokenstore.Store) error {
	w, ok := t.store.(tokenstore.Waiter)
	if !ok {
		return errNotOffered
	}
	var version tokenstore.Version
	for _, step := range []struct{ what, value string }{{"creation", "v"}, {"replacement", "w"}, {"deletion", ""}} {
		was := version
		returned := make(chan error, 1)
		go func() { returned <- t.waitFor(w, was) }()
		var err error
		if version, err = t.over(writer).swap(t.key("k"), was, []byte(step.value)); err != nil {
			return err
		}
		if err := t.soon("Wait", func() error { return <-returned }); err != nil {
			return fmt.Errorf("at a %s: %w", step.what, err)
		}
		if err := t.soon("Wait", func() error { return w.Wait(t.ctx, t.key("k"), was) }); err != nil {
			return fmt.Errorf("after a %s: %w", step.what, err)
		}
	}
	return nil
}

// waitFor waits as the renewal engine does, which looks after each return, for a version other than was.
func (t *trial) waitFor(w tokenstore.Waiter, was tokenstore.Version) error {
	for {
		if err := w.Wait(t.ctx, t.key("k"), was); err != nil {
			return err
		}
		_, version, err := t.store.Load(t.ctx, t.key("k"))
		if err != nil && !errors.Is(err, tokenstore.ErrNotFound) {
			return err
		}
		if version != was {
			return nil
		}
	}
}

func waitsEnded(t *trial) error {
	w, ok := t.store.(tokenstore.Waiter)
	if !ok {
		return errNotOffered
	}
	version, err := t.put("k", "v")
	if err != nil {
		return err
	}
	end := time.Now().Add(10 * time.Millisecond)
	ctx, cancel := context.WithDeadline(t.ctx, end)
	defer cancel()
	return t.ends("Wait", end, func() error {
		for {
			if err := w.Wait(ctx, t.key("k"), version); err != nil {
				return wraps("Wait", err, context.DeadlineExceeded)
			}
			if ctx.Err() != nil {
				return nil // it returned early, which it may
			}
		}
	})
}

func living(t *trial) error {
	l, ok := t.store.(tokenstore.Liveness)
	if !ok {
		return errNotOffered
	}
	name := rand.Text()
	if err := held(t.ctx, l, name, false); err != nil {
		return fmt.Errorf("before Hold: %w", err)
	}
	release, err := l.Hold(t.ctx, name)
	if err != nil {
		return fmt.Errorf("Hold failed: %w", err)
	}
	defer release()
	if err := held(t.ctx, l, name, true); err != nil {
		return fmt.Errorf("after Hold: %w", err)
	}
	if err := held(t.ctx, l, rand.Text(), false); err != nil {
		return fmt.Errorf("another name: %w", err)
	}
	release()
	if err := held(t.ctx, l, name, false); err != nil {
		return fmt.Errorf("after the release: %w", err)
	}
	// A lease in a record could name anything.
	for _, strange := range []string{"", "../" + name, "a/b", "a\x00", "."} {
		if alive, err := l.Held(t.ctx, strange); err == nil && alive {
			return fmt.Errorf("Held says that somebody holds %q", strange)
		}
	}
	return nil
}

func held(ctx context.Context, l tokenstore.Liveness, name string, want bool) error {
	got, err := l.Held(ctx, name)
	if err != nil {
		return fmt.Errorf("Held failed: %w", err)
	}
	if got != want {
		return fmt.Errorf("Held returned %v instead of %v", got, want)
	}
	return nil
}

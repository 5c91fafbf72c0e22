package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/evergrant/evergrant/tokenstore"
)

func probes(t *trial) error {
	p, ok := t.store.(tokenstore.Prober)
	if !ok {
		return errNotOffered
	}
	before, err := t.foreign()
	if err != nil {
		return err
	}
	for range 3 {
		if err := p.Probe(t.ctx); err != nil {
			return fmt.Errorf("Probe failed: %w", err)
		}
	}
	after, err := t.foreign()
	if err != nil {
		return err
	}
	for key := range after {
		if !before[key] {
			return fmt.Errorf("Probe left the key %.60q behind", key)
		}
	}
	_, err = t.put("k", "v")
	return err
}

// foreign returns the keys that no clause has made, if the store lists its keys.
func (t *trial) foreign() (map[string]bool, error) {
	l, ok := t.store.(tokenstore.Lister)
	if !ok {
		return nil, nil
	}
	keys := make(map[string]bool)
	for key, err := range l.Keys(t.ctx, "") {
		if err != nil {
			return nil, fmt.Errorf("Keys yielded an error: %w", err)
		}
		if !strings.HasPrefix(key, prefix) {
			keys[key] = true
		}
	}
	return keys, nil
}

func probesEnded(t *trial) error {
	p, ok := t.store.(tokenstore.Prober)
	if !ok {
		return errNotOffered
	}
	ctx, cancel := context.WithCancel(t.ctx)
	cancel()
	return t.ends("Probe", time.Now(), func() error { return wraps("Probe", p.Probe(ctx), ctx.Err()) })
}

// notifies can make no store notice something. What the store tells of ordinary work must reach those who
// listen, and nobody else.
func notifies(t *trial) error {
	n, ok := t.store.(tokenstore.Notifier)
	if !ok {
		return errNotOffered
	}
	var stopped atomic.Bool
	var late atomic.Int64
	stop := n.Notify(func(string, string) {
		if stopped.Load() {
			late.Add(1)
		}
	})
	stopOther := n.Notify(func(string, string) {})
	if stop == nil || stopOther == nil {
		return errors.New("Notify returned no stop")
	}
	defer stopOther()
	version, err := t.put("k", "v")
	if err != nil {
		return err
	}
	stop()
	stop() // as a deferred one may
	stopped.Store(true)
	if err := t.has(t.key("k"), []byte("v"), version); err != nil {
		return err
	}
	if _, err := t.swap(t.key("k"), version, nil); err != nil {
		return err
	}
	if late.Load() > 0 {
		return errors.New("tell was called after stop had returned")
	}
	return nil
}

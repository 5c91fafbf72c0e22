package tokenstore

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"
)

// Memory is a Store in memory: for tests, and for programs whose grants may end with the process. It
// is a Lister and a Waiter. The zero Memory is empty and ready. It is safe for concurrent use.
type Memory struct {
	mu     sync.Mutex
	values map[string]*memoryValue // nil until the first Swap; guarded by mu, as is what they hold
	waits  map[string]*memoryWait  // for a change of a key, nil until the first one; guarded by mu
	last   uint64                  // number of the last version; guarded by mu
}

// memoryValue lies behind a pointer, so that even fmt's reflection on an unexported field of somebody's struct prints
// an address. Its bytes are written over by the next value.
type memoryValue struct {
	value   []byte
	version Version
}

type memoryWait struct {
	waiters int           // guarded by the Memory's mu
	changed chan struct{} // closed at the next Swap
}

// NewMemory makes an empty Memory.
func NewMemory() *Memory { return new(Memory) }

// Load implements Store.
func (m *Memory) Load(ctx context.Context, key string) ([]byte, Version, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.values[key]
	if v == nil {
		return nil, "", ErrNotFound
	}
	return bytes.Clone(v.value), v.version, nil
}

// Swap implements Store. It is durable as long as the process lives.
func (m *Memory) Swap(ctx context.Context, key string, old Version, value []byte) (Version, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v := m.values[key]
	if v.at() != old {
		return "", ErrConflict
	}
	if w := m.waits[key]; w != nil {
		close(w.changed)
		delete(m.waits, key)
	}
	if len(value) == 0 {
		delete(m.values, key)
		return "", nil
	}
	if v == nil {
		if m.values == nil {
			m.values = make(map[string]*memoryValue)
		}
		v = &memoryValue{}
		m.values[key] = v
	}
	m.last++
	v.value, v.version = append(v.value[:0], value...), Version(strconv.FormatUint(m.last, 10))
	return v.version, nil
}

// at is the version of v, zero where there is none.
func (v *memoryValue) at() Version {
	if v == nil {
		return ""
	}
	return v.version
}

// Keys implements Lister.
func (m *Memory) Keys(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := ctx.Err(); err != nil {
			yield("", err)
			return
		}
		m.mu.Lock()
		var keys []string
		for key := range m.values {
			if strings.HasPrefix(key, prefix) {
				keys = append(keys, key)
			}
		}
		m.mu.Unlock()
		for _, key := range keys {
			if !yield(key, nil) {
				return
			}
		}
	}
}

// Wait implements Waiter.
func (m *Memory) Wait(ctx context.Context, key string, not Version) error {
	m.mu.Lock()
	if m.values[key].at() != not {
		m.mu.Unlock()
		return ctx.Err()
	}
	w := m.waits[key]
	if w == nil {
		if m.waits == nil {
			m.waits = make(map[string]*memoryWait)
		}
		w = &memoryWait{changed: make(chan struct{})}
		m.waits[key] = w
	}
	w.waiters++
	m.mu.Unlock()
	select {
	case <-w.changed:
		return nil
	case <-ctx.Done():
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if w.waiters--; w.waiters == 0 && m.waits[key] == w {
		delete(m.waits, key)
	}
	return ctx.Err()
}

// Format implements fmt.Formatter: a Memory shows no value under any verb.
func (m *Memory) Format(f fmt.State, _ rune) { fmt.Fprint(f, "tokenstore.Memory") }

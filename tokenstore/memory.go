package tokenstore

import (
	"context"
	"fmt"
	"iter"
	"strconv"
	"strings"
	"sync"

	"github.com/evergrant/evergrant/internal/secret"
)

// Memory is a Store in memory: for tests, and for programs whose grants may end with the process. It
// is a Lister and a Waiter.
type Memory struct {
	mu     sync.Mutex
	values map[string]memoryValue // guarded by mu
	waits  map[string]*memoryWait // for a change of a key; guarded by mu
	last   uint64                 // number of the last version; guarded by mu
}

type memoryValue struct {
	value   secret.String
	version Version
}

type memoryWait struct {
	waiters int           // guarded by the Memory's mu
	changed chan struct{} // closed at the next Swap
}

// NewMemory makes an empty Memory.
func NewMemory() *Memory {
	return &Memory{values: make(map[string]memoryValue), waits: make(map[string]*memoryWait)}
}

// Load implements Store.
func (m *Memory) Load(ctx context.Context, key string) ([]byte, Version, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.values[key]
	if !ok {
		return nil, "", ErrNotFound
	}
	return []byte(v.value.Reveal()), v.version, nil
}

// Swap implements Store. It is durable as long as the process lives.
func (m *Memory) Swap(ctx context.Context, key string, old Version, value []byte) (Version, error) {
	if err := ctx.Err(); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.values[key].version != old {
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
	m.last++
	version := Version(strconv.FormatUint(m.last, 10))
	m.values[key] = memoryValue{secret.New(string(value)), version}
	return version, nil
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
	if m.values[key].version != not {
		m.mu.Unlock()
		return ctx.Err()
	}
	w := m.waits[key]
	if w == nil {
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

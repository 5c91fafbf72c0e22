// Package notice is what the stores share that are a tokenstore.Notifier.
package notice

import "sync"

// Board passes notices on to whoever listens. The zero Board is ready, and safe for concurrent use.
type Board struct {
	mu        sync.Mutex
	listeners map[*func(key, text string)]struct{} // guarded by mu
}

// Notify implements tokenstore.Notifier.
func (b *Board) Notify(tell func(key, text string)) (stop func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.listeners == nil {
		b.listeners = make(map[*func(key, text string)]struct{})
	}
	b.listeners[&tell] = struct{}{}
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.listeners, &tell)
	}
}

// Post tells all who listen.
func (b *Board) Post(key, text string) {
	b.mu.Lock()
	tells := make([]func(key, text string), 0, len(b.listeners))
	for tell := range b.listeners {
		tells = append(tells, *tell)
	}
	b.mu.Unlock()
	for _, tell := range tells {
		tell(key, text)
	}
}

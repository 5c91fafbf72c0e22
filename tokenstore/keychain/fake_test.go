package keychain_test

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"

	"github.com/evergrant/evergrant/tokenstore/keychain"
)

// fake is a keychain in memory with a limit on the length of items. Its trouble is asked before
// every operation and may fail it or hold it up.
type fake struct {
	limit   int
	trouble func(operation, user string) error

	mu    sync.Mutex
	items map[string]string // by service and user; guarded by mu
}

const (
	opGet    = "get"
	opSet    = "set"
	opDelete = "delete"
)

func newFake(limit int) *fake { return &fake{limit: limit, items: make(map[string]string)} }

func (f *fake) ask(operation, user string) error {
	if f.trouble == nil {
		return nil
	}
	return f.trouble(operation, user)
}

func (f *fake) Get(service, user string) (string, error) {
	if err := f.ask(opGet, user); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	text, ok := f.items[service+":"+user]
	if !ok {
		return "", keyring.ErrNotFound
	}
	return text, nil
}

func (f *fake) Set(service, user, text string) error {
	if err := f.ask(opSet, user); err != nil {
		return err
	}
	if len(text) > f.limit {
		return keyring.ErrSetDataTooBig
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.items[service+":"+user] = text
	return nil
}

func (f *fake) Delete(service, user string) error {
	if err := f.ask(opDelete, user); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, ok := f.items[service+":"+user]; !ok {
		return keyring.ErrNotFound
	}
	delete(f.items, service+":"+user)
	return nil
}

// users returns how many items there are.
func (f *fake) users() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.items)
}

// over makes a Store over f with the limit of Windows and macOS.
func over(t testing.TB, f *fake, dir string) *keychain.Store {
	t.Helper()
	s, err := keychain.NewOver(f, keychain.ShortLimit, "test", dir)
	require.NoError(t, err)
	return s
}

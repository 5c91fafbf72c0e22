package keychain_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/zalando/go-keyring"

	"github.com/evergrant/evergrant/tokenstore/keychain"
)

// fake is a keychain in memory that takes what go-keyring takes on one operating system; what it does
// not take changes nothing. Its trouble is asked before every operation and may fail it or hold it up,
// its aftermath when the operation has had its effect.
type fake struct {
	takes     func(service, user, text string) bool
	trouble   func(operation, user string) error
	aftermath func(operation, user string) error

	mu    sync.Mutex
	items map[string]string // by service and user; guarded by mu
}

const (
	opGet    = "get"
	opSet    = "set"
	opDelete = "delete"
)

// onWindows: CredWrite takes a blob of 5 * 512 bytes, and replaces the one there is.
func onWindows(service, _, text string) bool { return len(text) <= 2560 && len(service) < 512 }

// onMacOS: one command of 4096 bytes to security, with the text in base64, so about 3000 bytes of it.
// It changes an item in its place.
func onMacOS(service, user, text string) bool {
	quoted := func(s string) int { return len("'"+strings.ReplaceAll(s, "'", `'"'"'`)) + len("'") }
	return len("add-generic-password -U -s  -a  -w \n")+quoted(service)+quoted(user)+
		quoted("go-keyring-base64:"+base64.StdEncoding.EncodeToString([]byte(text))) <= 4096
}

// onLinux: anything.
func onLinux(string, string, string) bool { return true }

// systems are the operating systems whose keychains there are.
var systems = map[string]struct {
	takes    func(service, user, text string) bool
	platform keychain.Platform
}{
	"Windows": {onWindows, keychain.Platform{Limit: keychain.ShortLimit}},
	"macOS":   {onMacOS, keychain.Platform{Limit: keychain.ShortLimit, Rereads: true}},
	"Linux":   {onLinux, keychain.Platform{Limit: 64 << 10}},
}

func newFake() *fake { return &fake{takes: onWindows, items: make(map[string]string)} }

func (f *fake) act(operation, user string, effect func() error) error {
	if f.trouble != nil {
		if err := f.trouble(operation, user); err != nil {
			return err
		}
	}
	f.mu.Lock()
	err := effect()
	f.mu.Unlock()
	if f.aftermath != nil && err == nil {
		err = f.aftermath(operation, user)
	}
	return err
}

func (f *fake) Get(service, user string) (text string, err error) {
	err = f.act(opGet, user, func() error {
		var ok bool
		if text, ok = f.items[service+":"+user]; !ok {
			return keyring.ErrNotFound
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return text, nil
}

func (f *fake) Set(service, user, text string) error {
	return f.act(opSet, user, func() error {
		if !f.takes(service, user, text) {
			return keyring.ErrSetDataTooBig
		}
		f.items[service+":"+user] = text
		return nil
	})
}

func (f *fake) Delete(service, user string) error {
	return f.act(opDelete, user, func() error {
		if _, ok := f.items[service+":"+user]; !ok {
			return keyring.ErrNotFound
		}
		delete(f.items, service+":"+user)
		return nil
	})
}

// all returns how many items there are.
func (f *fake) all() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.items)
}

// users returns how many items there are beside the list of keys.
func (f *fake) users() (n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name := range f.items {
		if !strings.Contains(name, ":key-list") {
			n++
		}
	}
	return n
}

// over makes a Store over f, with the limit of Windows and macOS.
func over(t testing.TB, f *fake, dir string) *keychain.Store {
	t.Helper()
	return on(t, f, keychain.Platform{Limit: keychain.ShortLimit}, dir)
}

// on makes a Store over f on a platform.
func on(t testing.TB, f keychain.Ring, p keychain.Platform, dir string) *keychain.Store {
	t.Helper()
	s, err := keychain.NewOn(f, p, "test", dir)
	require.NoError(t, err)
	return s
}

// finds is a look that finds err.
func finds(err error) func(context.Context) error {
	return func(context.Context) error { return err }
}

var errCut = errors.New("power cut")

package keychain

import (
	"context"
	"errors"
	"sync/atomic"

	"github.com/zalando/go-keyring"
)

// ring is the part of go-keyring that a Store uses. An absent item is keyring.ErrNotFound.
type ring interface {
	Get(service, user string) (string, error)
	Set(service, user, text string) error
	Delete(service, user string) error
}

// system is the ring of the operating system.
type system struct{}

func (system) Get(service, user string) (string, error) { return keyring.Get(service, user) }
func (system) Set(service, user, text string) error     { return keyring.Set(service, user, text) }
func (system) Delete(service, user string) error        { return keyring.Delete(service, user) }

// platform is what differs between the keychains of the operating systems.
type platform struct {
	limit   int  // longest item that Store writes, in bytes
	rereads bool // what was written is read again, as failures may go unreported

	// look tells, without asking a person, whether an access would ask one: nil if not, ErrLocked if
	// so, errOpaque if nobody can tell, and another error if there is no keychain to ask.
	look func(ctx context.Context) error
}

// errOpaque says that only an access would show whether a person is asked.
var errOpaque = errors.New("keychain: whether the keychain is locked cannot be seen")

// items are the items of one service, for the time of one call. Once the context has ended no other
// item is touched, so that a call which was left behind does not write when somebody unlocks the
// keychain an hour later.
type items struct {
	ctx      context.Context
	ring     ring
	service  string
	platform platform
	steps    *atomic.Int64
}

// step counts an access, which the context must still allow.
func (i items) step() error {
	if i.ctx.Err() != nil {
		return late(i.ctx)
	}
	i.steps.Add(1)
	return nil
}

// get returns the item of user; found is false if there is none.
func (i items) get(user string) (text string, found bool, err error) {
	if err := i.step(); err != nil {
		return "", false, err
	}
	text, err = i.ring.Get(i.service, user)
	if errors.Is(err, keyring.ErrNotFound) {
		return "", false, nil
	}
	return text, err == nil, classify(err)
}

// put writes the item of user.
func (i items) put(user, text string) error {
	if err := i.step(); err != nil {
		return err
	}
	if err := classify(i.ring.Set(i.service, user, text)); err != nil {
		return err
	}
	if i.platform.rereads {
		return i.verify(user, text)
	}
	return nil
}

// verify reads the item of user again.
func (i items) verify(user, text string) error {
	kept, _, err := i.get(user)
	if err == nil && kept != text {
		err = errors.New("keychain: the keychain did not keep what was written: look at it with its own tool")
	}
	return err
}

// drop deletes the item of user if there is one.
func (i items) drop(user string) error {
	if err := i.step(); err != nil {
		return err
	}
	err := i.ring.Delete(i.service, user)
	if errors.Is(err, keyring.ErrNotFound) {
		return nil
	}
	return classify(err)
}

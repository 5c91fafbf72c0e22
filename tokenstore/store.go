package tokenstore

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Version identifies one stored state of a key; the zero Version means "absent". A Version never
// comes back for a different value of the key, not even after deletion. It may be derived from the
// value or be the value itself (a two-column table needs no counter), so it must never be logged.
type Version string

// Store keeps opaque values under keys and changes them by compare-and-swap. That is all the
// renewal engine asks of a place where grants live: leases, retries and conflicts are its own work.
//
// Every implementation MUST keep these rules; package storetest checks them.
//
//   - A Store is safe for concurrent use by goroutines. Two Stores opened over one place, in one
//     process or in several, behave as one.
//   - Keys are arbitrary strings: slashes, NUL, a thousand bytes. Two different keys never meet.
//   - The caller owns the slices it passes and the slices it gets: a Store keeps no reference to
//     either.
//   - A call returns soon after its context ends, with the context's error. A Swap that ended
//     this way, or with any error other than ErrConflict, may have taken effect or may still.
//   - A damaged value is an error that wraps ErrDamaged. It is never taken for an absent one, nor
//     overwritten.
//   - An error never contains a value or a version.
//
// Optional abilities are found by assertion: Lister, Waiter, Liveness, Prober, Expirer, Notifier.
type Store interface {
	// Load returns the value under key and its version, or an error that wraps ErrNotFound.
	Load(ctx context.Context, key string) ([]byte, Version, error)

	// Swap replaces the value under key if the key is still at version old (the zero Version: if
	// it is absent) and returns the new version. Otherwise it returns an error that wraps
	// ErrConflict, and nothing has changed. An empty value deletes; the version returned is then
	// the zero one. When Swap returns nil the change is durable: it outlives a crash of the
	// process and, where the medium can promise that, of the machine.
	Swap(ctx context.Context, key string, old Version, value []byte) (Version, error)
}

// Lister is the optional ability of a Store to say which keys it holds.
type Lister interface {
	// Keys yields the keys that start with prefix, in no particular order. A key that comes or
	// goes meanwhile may be yielded or not. An error is yielded last, with an empty key.
	Keys(ctx context.Context, prefix string) iter.Seq2[string, error]
}

// Waiter is the optional ability of a Store to tell of a change. Without it the renewal engine polls.
type Waiter interface {
	// Wait returns nil once the key is at another version than not. It may return early, for no
	// reason; the caller loads and looks. When ctx ends first it returns the context's error.
	Wait(ctx context.Context, key string, not Version) error
}

// Liveness is the optional ability of a Store whose users all run on one machine to tell a
// living holder of a lease from a dead one, by a lock that the operating system takes away from a
// dead process. It is a hint that shortens a wait, never what keeps a grant safe.
type Liveness interface {
	// Hold takes the lock called name, which nobody else holds, and keeps it until release is
	// called or the process dies. The name is a file-name-safe word made by the caller.
	Hold(ctx context.Context, name string) (release func(), err error)

	// Held reports whether somebody alive holds the lock called name.
	Held(ctx context.Context, name string) (bool, error)
}

// Prober is the optional ability of a Store to say whether it can keep anything, before a person is sent
// through a login for it.
type Prober interface {
	// Probe returns nil if a Swap of a key that is absent would succeed as things stand, else the error
	// of that Swap. It asks no person anything, and leaves nothing behind that Load or Keys would show.
	Probe(ctx context.Context) error
}

// Expirer is the optional ability of a Store to let go of a value by itself.
type Expirer interface {
	// SwapUntil is Swap of a value that is of no use after until: from then on the Store may treat the
	// key as absent. The zero time means never. What an earlier Swap or SwapUntil said is over.
	SwapUntil(ctx context.Context, key string, old Version, value []byte, until time.Time) (Version, error)
}

// Notifier is the optional ability of a Store to tell what its operator should know and no error says:
// a file that was open to others, a fallback that is in use.
type Notifier interface {
	// Notify has tell called with everything that is noticed until stop is called. key is the key that it
	// is about, "" when it is about all of them; text says what it is and, if there is something to do,
	// what to do. tell returns at once and calls no method of the Store.
	Notify(tell func(key, text string)) (stop func())
}

var (
	// ErrNotFound says that a key is absent.
	ErrNotFound = errors.New("tokenstore: not found")

	// ErrConflict says that a key was not at the version that a Swap expected; nothing changed.
	ErrConflict = errors.New("tokenstore: the value has changed since it was loaded")

	// ErrDamaged says that what is stored under a key cannot be what was written there. A Store
	// leaves it alone; the text around it says how a person removes it, which means a new login.
	ErrDamaged = errors.New("tokenstore: the stored value is damaged")
)

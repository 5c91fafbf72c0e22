// Package keychain keeps grants in the keychain of the operating system: the Secret Service on Linux
// and the BSDs, the login keychain on macOS, the Credential Manager on Windows, all through go-keyring.
//
// # Use
//
//	store, err := keychain.New("my-program", keychain.Options{})
//
// A Store is also a key source for package file: file.Options{Key: store} seals files with a random
// key that the keychain holds. That suits large grants and slow keychains, since the keychain is then
// asked once in a process.
//
// # Errors
//
// A keychain can be missing, locked or refused, and go-keyring does not say which: ErrUnavailable,
// ErrLocked and ErrDenied do, with words about what a person can do. There is no fallback, least of
// all to plain text: a program that wants one opens another Store.
//
// # Time
//
// A locked keychain asks a person, and some wait for the answer for ever. A call here ends with its
// context, whose deadline then wraps ErrLocked too. What it left in the keychain's hands goes on: if
// it was a write it may still land, and until it has ended no other process writes. Meanwhile further
// calls of the Store fail at once with ErrLocked, so that no more than one of them is ever left behind.
// A context for a call that may ask a person should leave that person a minute.
//
// # Concurrency
//
// Keychains have no compare-and-swap, so a Swap takes a lock file in a folder that all programs of
// the person share (Options.Dir). Programs that use different folders, or write the items by other
// means, lose each other's updates.
//
// # Items
//
// A grant is one item: service is the service, user is made from the key. A grant that is too long for
// an item (2560 bytes on Windows, about 3000 on macOS) lies in several, numbered in two rows that are
// used in turn; the first item names the row and is written last, so that a crash leaves the former
// grant or the new one, whole. Left-over parts go with the next Swap of the same key. go-keyring cannot
// list items, so a Store here is no tokenstore.Lister.
//
// # Security
//
// A keychain keeps a grant from other people and from those who get hold of the disk. It does not
// keep it from other programs of the same person: on Linux and Windows every one of them can read it,
// on macOS every one that can run the security tool, by which the items are read and written.
package keychain

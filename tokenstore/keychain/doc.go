// Package keychain keeps grants in the keychain of the operating system: the Secret Service on Linux
// and the BSDs, the login keychain on macOS, the Credential Manager on Windows, all through go-keyring.
//
// # Use
//
//	store, err := keychain.New("my-program", keychain.Options{})
//
// A Store is also a key source for package file: file.Options{Key: store} seals files with a random
// key that the keychain holds. The keychain then has one item of the program's, which is read once in a
// process: one prompt at most where macOS asks for each item, no size that any keychain minds, and an
// item that is worth nothing without the files. That suits large grants, slow keychains and programs
// whose grants are many. Whoever deletes that item makes the files worthless; a program that runs goes on with
// the key it has read, until it starts again.
//
// # Before a login
//
// Probe says, without asking a person anything, whether a grant could be saved; package client calls it
// before it opens a browser. It writes, reads and deletes an item of its own. On Linux it first looks
// whether the keyring is locked. The Credential Manager asks nobody. On macOS no tool tells whether the
// keychain is locked without asking for its password, so for a person at the screen Probe says only
// that there is a keychain; over SSH and under launchd no prompt can come up, and Probe writes. KeePassXC
// prompts all the same if it is set to confirm each access of a program.
//
// # With and without a keychain
//
// A program that runs on desktops and on servers, in a terminal and in cron, names what is to keep its
// grants where there is no keychain:
//
//	store := ring.OrElse(files) // a *file.Store sealed by a key of its own
//
// See OrElse for the rules. While the keychain is away, Keys yields what the fallback holds. Nothing here
// falls back to anything by itself, least of all to plain text. A
// container or a server has no keychain as a rule; a flatpak reaches the Secret Service only if its
// manifest says --talk-name=org.freedesktop.secrets.
//
// # Errors
//
// go-keyring's errors do not say what a person can do; these do, for the operating system at hand:
//
//	ErrUnavailable  no D-Bus, no service, no keyring yet, a service that does not answer; macOS without a
//	                default keychain; a Windows logon session without credentials
//	ErrLocked       locked, and nobody unlocked it in time or could be asked; over SSH on macOS (-25308,
//	                -25293); on Linux also a prompt that was closed, which looks the same
//	ErrDenied       refused by the system or by a person
//	ErrCancelled    the prompt was closed, on macOS and Windows
//	ErrTooBig       the keychain takes no item that long; see Items
//
// # Time
//
// A locked keychain asks a person, and go-keyring waits for the answer for ever. A call here ends with
// its context, whose deadline then wraps ErrLocked too. A person has all the time until then, or two
// minutes if the context has no deadline, and a notice (tokenstore.Notifier) tells the program that
// somebody is waited for. A keychain that asks nobody has five seconds for an item; one that is silent
// for longer is ErrUnavailable. Options.Unattended is for programs with nobody there: what would ask is
// ErrLocked.
//
// What a call left in the keychain's hands goes on, since go-keyring cannot be stopped: if it was a write
// it may still land, and until it has ended no other process writes. Meanwhile further calls of the
// Store fail at once, so that no more than one of them is ever left behind.
//
// # Concurrency
//
// Keychains have no compare-and-swap, so a Swap takes a lock file in a folder that all programs of
// the person share (Options.Dir). Programs that use different folders, or write the items by other
// means, lose each other's updates.
//
// # Items
//
// A grant is one item: service is the service, user is made from the key. One that is too long for an
// item (2560 bytes on Windows, about 3000 on macOS) is compressed, and one that still is lies in several,
// numbered in two rows that are used in turn. The first item names the row and is written last, so that a crash at any moment
// leaves the former grant or the new one, whole; it also says when there may be left-over parts, which
// the next Swap of the key deletes. A Swap that replaces a short grant is one read and one write.
//
// go-keyring cannot list items, so one more item is the list of the keys, which a key enters before its
// grant comes and leaves after it has gone. Keys yields those that have a grant.
//
// # Security
//
// A keychain keeps a grant from other people and from those who get hold of the disk. It does not
// keep it from other programs of the same person: on Linux and Windows every one of them can read it,
// on macOS every one that can run the security tool, by which the items are read and written. To that
// tool a grant goes through its standard input and comes back through its standard output; its
// arguments, which other programs can see, are the service and the user, which are public. No item is
// bound to the program's code signature, so that an update of the program causes no prompt.
package keychain

// Package file keeps grants in a folder, one file a key, sealed or, if the program says so, in the
// clear. Every process of the machine may use the folder at the same time.
//
// # Use
//
//	ring, err := keychain.New("my-program", keychain.Options{}) // holds the key
//	…
//	store, err := file.New(dir, file.Options{Key: ring})
//
// A service gives a key of its own: file.Options{Key: file.RawKey(key)}.
//
// # Security
//
// Sealed means AES-256-GCM. What is bound together is the value, the key it lies under, its version
// and the format, so that no file passes for another one. Those who can write to the folder can still
// delete a file or bring back an older one. The names of the keys, which the file names show too, are
// not secret. A file that was sealed with another key is ErrWrongKey; a damaged one is
// tokenstore.ErrDamaged. Neither is taken for absent nor overwritten: a person deletes it, which means
// a new login. With the key lost every file is lost; a store makes no new key where sealed files lie.
//
// On Unix files have mode 0600. A file that is open to others is closed to them when it is read. A
// folder that the store makes has mode 0700; one that others can write to is closed to their writing,
// or refused if it is shared like /tmp. Windows has no such modes: there the folder must lie where its
// access list keeps others out, as everything below the user's profile does.
//
// # Durability
//
// A value is written to a file beside the old one, synced, renamed over it, and the folder is synced
// (Windows cannot do the last). Whatever kills a process or the machine, a reader finds the old value
// or the new one, whole. What a killed writer left behind goes with the next Swap of the same key.
//
// # Concurrency
//
// Load takes no lock. Swap takes one of sixteen lock files, which stay in the folder: who deletes
// them under running programs takes the compare-and-swap away. The folder needs a file system on
// which locks work, a local one above all. A call waits for a lock until its context ends, but an
// operation of the file system itself cannot be cut short.
package file

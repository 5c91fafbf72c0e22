// Package seal keeps values secret in places that others may read: package file and the stores over
// databases seal with it what they are given.
//
// # Use
//
// Most programs only choose where the key comes from, and hand that to a store:
//
//	a key from a secret manager     seal.RawKey(key)
//	a passphrase                    seal.Passphrase(path, os.Getenv("MY_PASSPHRASE"))
//	the keychain of the person      a *keychain.Store, which is a KeySource
//
// A store of one's own seals with a Box.
//
// # Security
//
// Every value has a random data key of its own, AES-256-GCM, which lies beside it, wrapped by the key
// of the KeySource: AES-256-GCM too, under a key that HKDF-SHA256 derives anew each time, so that there
// is no number of values after which the key must be changed. What a value is bound to (the key it
// lies under, its version) is authenticated with both, so no value passes for another one. Those who
// can write to the place can still delete a value or bring back an older one. The length of a value
// shows.
//
// A sealed value names the key that it needs by 8 bytes which tell nothing else about it. So a key that
// does not fit is ErrWrongKey, and a value that was changed is tokenstore.ErrDamaged. Neither is ever
// taken for absent.
//
// # Rotation
//
// A Box seals with one key and opens with that and with its former ones. To change the key under running
// programs: give all of them the new key as a former one; then make it the key and the old one a former
// one; reseal what the store holds (file.Store has Reseal); then drop the old one. Resealing wraps the
// data keys anew and leaves the values and their versions as they are.
package seal

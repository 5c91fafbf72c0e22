// Package file keeps grants in a folder, one file a key, sealed or, if the program says so, in the
// clear. Every process of the machine may use the folder at the same time.
//
// # Use
//
//	ring, err := keychain.New("my-program", keychain.Options{}) // holds the key
//	…
//	store, err := file.New(dir, file.Options{Key: ring})
//
// Where there is no keychain, the key comes from a secret manager, seal.RawKey(key), or is made of a
// passphrase: seal.Passphrase(filepath.Join(dir, "salt"), passphrase).
//
// # Security
//
// Package seal says how values are sealed. Bound together are the value, the key it lies under, its
// version and the format, so that no file passes for another one. Those who can write to the folder can
// still delete a file or bring back an older one. The names of the keys, which the file names show too,
// are not secret. A file that was sealed with another key is seal.ErrWrongKey; a damaged one is
// tokenstore.ErrDamaged. Neither is taken for absent nor overwritten: a person deletes it, which means
// a new login. With the key lost every file is lost; no new key is made where a file needs the old one.
//
// On Unix files have mode 0600. A file that is open to others is closed to them when it is read, and the
// listeners of Notify are told its name: somebody may have read it. A folder that the store makes has
// mode 0700. One that others can write to, group included, is refused: who can put files there may have
// done so. (Kubernetes opens a volume with fsGroup to the group at every start of a pod: set fsGroupChangePolicy:
// OnRootMismatch in the pod's securityContext, and name a folder below the volume's own.) Folder and files belong to the user that the program runs as, also when that is root. The
// folder may be named by a symbolic link; a link in the place of a file is refused. Windows has no such
// modes: there the folder must lie where its access list keeps others out, as everything below the user's
// profile does.
//
// # Changing the key
//
// Options.Former names the keys that only open. A file gets the new key with its next Swap; Reseal gives
// it to all at once, while programs are at work. Package seal says in which order a fleet of programs
// changes over. A key that the keychain holds is changed by naming another service:
//
//	file.Options{Key: ring2, Former: []seal.KeySource{ring1}} // keychain.New("my-program 2", …) and the old one
//
// # Durability
//
// A value is written to a file beside the old one, synced, renamed over it, and the folder is synced
// (Windows cannot do the last). Whatever kills a process or the machine, a reader finds the old value
// or the new one, whole, as far as the file system renames in one step. Local ones do; some drivers of
// FUSE show for an instant that nothing is there. What a killed writer left behind goes with the next Swap of the same key.
//
// A folder that is missing holds no grants. But where a Store has found or put some, and the folder's place then lies on
// another volume, as when a share or a disk goes away, every call is ErrFolderGone until the volume is back: nobody is
// taken to have logged out. A process that starts meanwhile cannot know, and begins with an empty folder; on Unix,
// make the bare mount point unwritable for the program (chattr +i, say) to have an error there too.
//
// # Concurrency
//
// Load takes no lock. Swap takes one of sixteen lock files, which stay in the folder: who deletes
// them under running programs takes the compare-and-swap away. A call waits for a lock until its context
// ends, but an operation of the file system itself cannot be cut short.
//
// # Network file systems
//
// Machines may share a folder where the file system passes locks on to its server: NFS as it is mounted
// by default, Lustre with flock, Ceph, and shares that Windows has mounted itself. (That is what their
// documents say; the tests of this package run on local disks.) Another machine may see a first login up
// to a minute late, since NFS remembers what was absent. After a machine dies its locks last until the
// server forgets them. For replicas a database is the better place.
//
// Where locks stay within one machine the folder is refused with ErrLocalLocks, even if no other machine
// uses it today: NFS with nolock or local_lock, Lustre with localflock, SMB mounted by Linux (which also
// makes up modes), sshfs and other drivers of FUSE for remote places, 9p, virtiofs and folders that a
// virtual machine shares with its host, those of Docker Desktop and WSL among them. macOS does not tell how a network file system is mounted, so all
// are refused there.
//
// Copying a folder to a second machine gives two programs one refresh token, and a server that rotates
// takes it from both: move a grant with tokenstore.Copy instead, or log in there.
package file

// Package storetest checks that a tokenstore.Store keeps its contract:
//
//	func TestMyStore(t *testing.T) {
//		storetest.Run(t, func(t testing.TB) tokenstore.Store { return mystore.New(storetest.Place(t)) })
//	}
//
// Every clause of the contract is a subtest, and one that fails quotes its clause.
//
// # What is checked
//
// Compare-and-swap, deletion, versions that never come back, keys and values that some medium cannot
// keep, up to 1 KiB and 1 MiB, who owns which slice, that errors show no secret; many goroutines on one
// key; calls whose context ends before them or during them, which must be back within 50 ms, and what a
// Swap may leave behind that was cut off so; and the optional abilities, where the store has them. A
// delay is not held against the store while the machine itself stood still, and only a delay that
// several attempts all show is.
//
// # Several stores, several processes
//
// If open calls Place, its stores share one place, and more is checked: that two stores behave as one,
// in this process and in another, that Wait hears of another process, and that a process which is
// killed at its work loses nothing that it was told to be written, leaves nothing locked, and is no
// longer alive to Held. Without Place these clauses are skipped, and say so.
//
// The other processes are the test binary, run again for the clause alone (-test.run) with the same
// environment, folder and flags of the program's own. TestMain and the test's own preparations before
// Run so happen there too; what must happen once, such as the start of a server, is done by the process
// that does not find the server's address in its environment, and put there (os.Setenv, t.Setenv).
// There, Run ends the test without returning. A child that fails, or that the race detector or a
// detector of leaks complains of, fails its clause in the parent with what it said. It ends when its
// parent does.
//
// # What is not checked
//
// ErrDamaged, since only the store knows how to damage a value; a crash of the machine; a medium that
// is full, gone or slow; what Probe says of a place that cannot be written; what a Notifier tells. A
// store tests that itself. A call that hangs without looking at its context at all is reported where a
// clause expects it, and by the time limit of go test elsewhere.
package storetest

import (
	"context"
	"crypto/rand"
	"errors"
	"testing"
	"time"

	"github.com/evergrant/evergrant/tokenstore"
)

// patience is how long a call may take that should be back at once. It is generous, because only a
// call that hangs is wrong.
const patience = 20 * time.Second

// prefix begins every key of this package.
const prefix = "storetest-"

// Run checks the store that open returns, clause by clause. open is called at least once for each
// clause; it may return a new place each time or the same one, which need not be empty: the keys are
// random. Its t is the clause's. An open that calls Place says that all its stores share one place, and
// is then called by other processes too. The optional abilities are checked where the store has them.
func Run(t *testing.T, open func(t testing.TB) tokenstore.Store) {
	served, place := false, placeOf(t)
	for _, c := range clauses {
		t.Run(c.name, func(t *testing.T) {
			if served = isChild(t); served {
				serve(t, open, place)
				return
			}
			err := c.try(t, open, place, patience)
			if errors.Is(err, errNotOffered) || errors.Is(err, errNotShared) {
				t.Skip(err)
			}
			if err != nil {
				t.Errorf("the contract says: %s\nthe store breaks it: %v", c.rule, err)
			}
		})
	}
	if served {
		t.SkipNow() // what the test does after Run is not for this process
	}
}

// Place returns a folder that is the same for every store that open opens within one Run, in this
// process and in the others. t is what Run passes to open. The folder exists, is empty at first, and is
// removed after the test.
//
// To call it is to declare that these stores share one place: in the folder, or named after it, or
// named by the environment, which the other processes inherit.
func Place(t testing.TB) string {
	t.Helper()
	o, ok := t.(*opening)
	if !ok {
		t.Fatal("storetest.Place needs the t that storetest.Run passes to open")
	}
	o.shares = true
	return o.place
}

// An opening is the testing.TB of an open.
type opening struct {
	testing.TB
	place  string
	shares bool // open has called Place
}

// A clause is one rule of the contract and the check of it.
type clause struct {
	name  string
	rule  string
	check func(*trial) error
}

var (
	// errNotOffered is the verdict on an optional ability that the store does not have.
	errNotOffered = errors.New("the store does not offer this ability")

	// errNotShared is the verdict on a store that cannot be opened twice.
	errNotShared = errors.New("open does not call storetest.Place, so its stores share no place: nothing is checked between several of them")
)

// try checks the clause on the store that open returns.
func (c clause) try(t *testing.T, open func(testing.TB) tokenstore.Store, place string, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(t.Context(), 15*patience)
	defer cancel()
	o := &opening{TB: t, place: place}
	return c.check(&trial{
		ctx: ctx, store: open(o), prefix: prefix + rand.Text() + "/", patience: patience,
		opening: o, open: open,
	})
}

var clauses = []clause{
	{"absent", "Load returns an error that wraps ErrNotFound for a key that is absent.", absent},
	{"create", "Swap with the zero Version creates the value; the new version is not zero, and Load returns both.", create},
	{"create twice", "The zero Version stands for an absent key only: ErrConflict when there is a value.", createTwice},
	{"replace", "Swap replaces the value if the key is still at version old, and returns the new version.", replace},
	{"stale version", "Swap at a version that is no longer current returns ErrConflict, and nothing has changed.", stale},
	{"version of an absent key", "Swap at a version of an absent key returns ErrConflict, and creates nothing.", gone},
	{"delete", "An empty value deletes, and the version returned is the zero one.", remove},
	{"delete at a stale version", "A deletion is a Swap like any other: ErrConflict at a stale version, and nothing has changed.", removeStale},
	{"delete what is absent", "Deleting an absent key at the zero Version changes nothing and succeeds.", removeAbsent},
	{"version after deletion", "A Version never comes back for a different value of the key, not even after deletion.", recreated},
	{"versions", "Different values of one key have different versions.", versions},
	{"keys", "Keys are arbitrary strings, and two different keys never meet.", keysApart},
	{"binary values", "A value is opaque: every byte comes back.", binary},
	{"sizes", "A value is 1 byte to 1 MiB long.", sizes},
	{"passed slices", "The caller owns the slices it passes: the Store keeps no reference to them.", passedSlices},
	{"returned slices", "The caller owns the slices it gets: the Store keeps no reference to them.", returnedSlices},
	{"concurrency", "A Store is safe for concurrent use, and no update is lost.", concurrency},
	{"one winner", "Of several Swaps at one version one succeeds, and the others get ErrConflict.", oneWinner},
	{"two stores", "Two Stores opened over one place behave as one.", twoStores},
	{"two processes", "Two Stores opened over one place in several processes behave as one.", twoProcesses},
	{"ended context", "A call returns soon (within 50 ms) after its context ends, with the context's error.", inTime(endedContext)},
	{"deadlines", "A call returns soon (within 50 ms) after its context ends, with the context's error, also while others write.", inTime(deadlines)},
	{"in doubt", "A Swap that ended with its context may have taken effect or may still, whole, and at its version only.", inDoubt},
	{"durable", "When Swap returns nil the change outlives a crash of the process, which leaves nothing locked.", durable},
	{"errors", "An error never contains a value or a version.", errorsShowNothing},
	{"Keys", "Lister: Keys yields the keys that start with prefix.", lists},
	{"Keys, ended context", "Lister: an error is yielded last, with an empty key.", inTime(listsEnded)},
	{"Wait", "Waiter: Wait returns nil once the key is at another version than not.", waits},
	{"Wait for another process", "Waiter: Wait returns nil once the key is at another version than not, whoever put it there.", waitsForOthers},
	{"Wait, ended context", "Waiter: when ctx ends first, Wait returns the context's error.", inTime(waitsEnded)},
	{"Hold", "Liveness: Held reports whether somebody alive holds the lock called name.", living},
	{"Hold and death", "Liveness: Hold keeps the lock until release is called or the process dies.", deathFrees},
	{"Probe", "Prober: Probe returns nil if a Swap of an absent key would succeed, and leaves nothing behind.", probes},
	{"Probe, ended context", "A call returns soon (within 50 ms) after its context ends, with the context's error.", inTime(probesEnded)},
	{"SwapUntil", "Expirer: SwapUntil is Swap of a value that is of no use after until; the zero time means never.", expires},
	{"SwapUntil, then Swap", "Expirer: what an earlier Swap or SwapUntil said is over.", outlives},
	{"Notify", "Notifier: tell is called until stop is called.", notifies},
}

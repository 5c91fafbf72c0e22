// Package storetest checks that a tokenstore.Store keeps its contract:
//
//	func TestMyStore(t *testing.T) {
//		storetest.Run(t, func(t testing.TB) tokenstore.Store { return mystore.New(…) })
//	}
//
// Every clause of the contract is a subtest, and one that fails quotes its clause. What needs a
// second process, a crash or a broken medium is not checked here; a store tests that itself.
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

// Run checks the store that open returns, clause by clause. open is called once for each clause; it
// may return a new place each time or the same one, which need not be empty: the keys are random.
// The optional abilities are checked where the store has them.
func Run(t *testing.T, open func(t testing.TB) tokenstore.Store) {
	for _, c := range clauses {
		t.Run(c.name, func(t *testing.T) {
			err := c.run(t.Context(), open(t), patience)
			if errors.Is(err, errNotOffered) {
				t.Skip(err)
			}
			if err != nil {
				t.Errorf("the contract says: %s\nthe store breaks it: %v", c.rule, err)
			}
		})
	}
}

// A clause is one rule of the contract and the check of it.
type clause struct {
	name  string
	rule  string
	check func(*trial) error
}

// errNotOffered is the verdict on an optional ability that the store does not have.
var errNotOffered = errors.New("the store does not offer this ability")

func (c clause) run(ctx context.Context, store tokenstore.Store, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience*3)
	defer cancel()
	return c.check(&trial{ctx, store, "storetest-" + rand.Text() + "/", patience})
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
	{"ended context", "A call returns soon after its context ends, with the context's error.", endedContext},
	{"errors", "An error never contains a value or a version.", errorsShowNothing},
	{"Keys", "Lister: Keys yields the keys that start with prefix.", lists},
	{"Keys, ended context", "Lister: an error is yielded last, with an empty key.", listsEnded},
	{"Wait", "Waiter: Wait returns nil once the key is at another version than not.", waits},
	{"Wait, ended context", "Waiter: when ctx ends first, Wait returns the context's error.", waitsEnded},
	{"Hold", "Liveness: Held reports whether somebody alive holds the lock called name.", living},
}

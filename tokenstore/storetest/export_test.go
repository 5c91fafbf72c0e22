package storetest

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/evergrant/evergrant/tokenstore"
)

// Clauses returns the name of every clause, in order.
func Clauses() []string {
	var names []string
	for _, c := range clauses {
		names = append(names, c.name)
	}
	return names
}

// Broken is Run, but for what it does with its verdicts: it returns the names of the clauses that the
// store breaks, and of those that were not checked.
func Broken(t *testing.T, open func(testing.TB) tokenstore.Store, patience time.Duration) (broken, skipped []string) {
	place := placeOf(t)
	if isChild(t) {
		serve(t, open, place)
		t.SkipNow()
	}
	for i, c := range clauses {
		place := filepath.Join(place, strconv.Itoa(i)) // what one clause has damaged is not the next one's matter
		if err := os.Mkdir(place, 0o700); err != nil {
			t.Fatal(err)
		}
		err := c.try(t, open, place, patience)
		switch {
		case errors.Is(err, errNotOffered) || errors.Is(err, errNotShared):
			skipped = append(skipped, c.name)
		case err != nil:
			t.Logf("%s: %v", c.name, err)
			broken = append(broken, c.name)
		}
	}
	return broken, skipped
}

package storetest

import (
	"context"
	"errors"
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

// Broken returns the names of the clauses that store breaks, and Offered whether it was checked for
// all of them.
func Broken(ctx context.Context, store tokenstore.Store, patience time.Duration) (broken []string, offered bool) {
	offered = true
	for _, c := range clauses {
		err := c.run(ctx, store, patience)
		if errors.Is(err, errNotOffered) {
			offered = false
		} else if err != nil {
			broken = append(broken, c.name)
		}
	}
	return broken, offered
}

package storetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/evergrant/evergrant/tokenstore"
)

// What makes the test binary a child is in its environment.
const (
	childEnv = "STORETEST_CHILD" // the name of the test whose store it opens
	placeEnv = "STORETEST_PLACE" // that store's place
)

// mark begins the lines of a child's standard output that are answers.
const mark = "storetest answers: "

// isChild reports whether this process is a child that was started by t in its parent.
func isChild(t *testing.T) bool { return os.Getenv(childEnv) == t.Name() }

// placeOf returns the place of the stores of t, which in a child is its parent's.
func placeOf(t *testing.T) string {
	if place := os.Getenv(placeEnv); place != "" {
		return place
	}
	return t.TempDir()
}

// serve opens the store and does what the parent orders, until the parent hangs up.
func serve(t *testing.T, open func(testing.TB) tokenstore.Store, place string) {
	store := open(&opening{TB: t, place: place})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	orders := make(chan order)
	go func() {
		defer close(orders)
		in := json.NewDecoder(os.Stdin)
		var o order
		for in.Decode(&o) == nil {
			orders <- o
			o = order{}
		}
		cancel() // the work under way
		time.AfterFunc(10*time.Second, func() { os.Exit(1) })
	}()
	say(answer{}, nil)
	for o := range orders {
		say(o.obey(ctx, store))
	}
}

// say tells the parent. The line begins anew, whatever else the test has printed.
func say(a answer, err error) {
	if err != nil {
		a.Failed = err.Error()
		a.Sentinel = 1 + slices.IndexFunc(sentinels, func(sentinel error) bool { return errors.Is(err, sentinel) })
	}
	line, err := json.Marshal(a)
	if err != nil {
		panic(err) // an answer is made of bytes and numbers
	}
	fmt.Printf("\n%s%s\n", mark, line)
}

// obey does what the parent orders.
func (o order) obey(ctx context.Context, store tokenstore.Store) (answer, error) {
	key := string(o.Key)
	switch o.Do {
	case "load":
		value, version, err := store.Load(ctx, key)
		return answer{Value: value, Version: []byte(version)}, err
	case "swap":
		version, err := store.Swap(ctx, key, tokenstore.Version(o.Old), o.Value)
		return answer{Version: []byte(version)}, err
	case "tally":
		count, err := tallyFor(ctx, store, key, o.For)
		return answer{Count: count}, err
	case "churn":
		return answer{}, churn(ctx, store, key, func(n int) { say(answer{Count: n}, nil) })
	case "hold":
		l, ok := store.(tokenstore.Liveness)
		if !ok {
			return answer{}, errNotOffered
		}
		_, err := l.Hold(ctx, key) // for as long as the process lives
		return answer{}, err
	}
	return answer{}, fmt.Errorf("%q is no order", o.Do)
}

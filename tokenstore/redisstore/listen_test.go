package redisstore_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/redisd"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/redisstore"
)

// soon is how long something may take that takes milliseconds, on a machine that is busy.
const soon = 5 * time.Second

// listeners returns how many connections of the server listen.
func listeners(t *testing.T, client *redis.Client) int {
	t.Helper()
	list, err := client.Do(t.Context(), "CLIENT", "LIST", "TYPE", "pubsub").Text()
	require.NoError(t, err)
	return strings.Count(list, "id=")
}

func TestWaitersShareOneConnection(t *testing.T) {
	admin := connect(t, redisd.Start(t).Addr)
	s := open(t, admin, redisstore.Options{})
	other := open(t, admin, redisstore.Options{})
	const keys, each = 10, 5
	versions := make([]tokenstore.Version, keys)
	name := func(n int) string { return fmt.Sprintf("key %d", n) }
	for n := range keys {
		var err error
		versions[n], err = other.Swap(t.Context(), name(n), "", []byte("v"))
		require.NoError(t, err)
	}
	for round := range 3 { // the line comes and goes
		var waiting sync.WaitGroup
		early := make(chan string, keys*each)
		for n := range keys {
			for range each {
				waiting.Go(func() {
					if err := s.Wait(t.Context(), name(n), versions[n]); err != nil {
						early <- err.Error()
					}
				})
			}
		}
		heard := func() bool {
			counts, err := admin.PubSubNumSub(t.Context(), prefixed(t, name, keys)...).Result()
			require.NoError(t, err)
			for _, n := range counts {
				if n != 1 {
					return false
				}
			}
			return len(counts) == keys
		}
		require.Eventually(t, heard, soon, time.Millisecond)
		require.Equal(t, 1, listeners(t, admin), "round %d", round)
		began := time.Now()
		changed := make([]tokenstore.Version, keys)
		for n := range keys {
			var err error
			changed[n], err = other.Swap(t.Context(), name(n), versions[n], []byte("w"))
			require.NoError(t, err)
		}
		waiting.Wait()
		require.Less(t, time.Since(began), soon, "well before Wait returns by itself")
		require.Empty(t, early)
		versions = changed
		require.Eventually(t, func() bool { return listeners(t, admin) == 0 }, soon, time.Millisecond, "nobody waits")
	}
}

func prefixed(t *testing.T, name func(int) string, n int) (names []string) {
	for i := range n {
		names = append(names, t.Name()+":"+name(i))
	}
	return names
}

// One key is waited for again and again while another one keeps the connection up: the wishes to hear it and not to hear
// it any more overtake one another, and no change may be missed.
func TestWaitersComeAndGo(t *testing.T) {
	client := connect(t, shared(t))
	s := open(t, client, redisstore.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	var steady sync.WaitGroup
	steady.Go(func() {
		for ctx.Err() == nil {
			if err := s.Wait(ctx, "steady", ""); err != nil && !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
	defer steady.Wait()
	defer cancel()
	var version tokenstore.Version
	for n := range 300 {
		short, leave := context.WithTimeout(t.Context(), time.Duration(n%7)*100*time.Microsecond)
		_ = s.Wait(short, "k", version) // leaves at any moment of it
		leave()
		woken := make(chan error, 1)
		at := version
		go func() { woken <- s.Wait(t.Context(), "k", at) }()
		if n%3 == 0 {
			time.Sleep(time.Duration(n%5) * 200 * time.Microsecond) // not for an order: for any
		}
		var err error
		version, err = s.Swap(t.Context(), "k", version, []byte("v"))
		require.NoError(t, err)
		select {
		case err := <-woken:
			require.NoError(t, err)
		case <-time.After(soon):
			require.Fail(t, "a change was not heard", "round %d", n)
		}
	}
}

func TestWaitWhenTheConnectionBreaks(t *testing.T) {
	w := between(t, shared(t))
	client := redis.NewClient(&redis.Options{Addr: w.addr, DialerRetries: 1})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	s := open(t, client, redisstore.Options{})
	version, err := s.Swap(t.Context(), "k", "", []byte("v"))
	require.NoError(t, err)
	admin := connect(t, shared(t))
	wait := func() chan error {
		woken, known := make(chan error, 1), version
		go func() { woken <- s.Wait(t.Context(), "k", known) }()
		return woken
	}
	heard := func() bool {
		counts, err := admin.PubSubNumSub(t.Context(), t.Name()+":k").Result()
		return err == nil && counts[t.Name()+":k"] == 1
	}
	// A waiter looks once it hears: from then on a broken connection is no error.
	looked := func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return slices.Contains(w.commands, "GETRANGE")
	}
	woken := wait()
	require.Eventually(t, looked, soon, time.Millisecond)
	require.Equal(t, int64(1), admin.ClientKillByFilter(t.Context(), "TYPE", "pubsub").Val())
	require.NoError(t, <-woken, "what was said meanwhile was not heard: look")

	woken = wait()
	require.Eventually(t, heard, soon, time.Millisecond)
	other := open(t, admin, redisstore.Options{})
	version, err = other.Swap(t.Context(), "k", version, []byte("w"))
	require.NoError(t, err)
	require.NoError(t, <-woken)

	w.cutForGood()
	var failed *redisstore.Error
	require.ErrorAs(t, s.Wait(t.Context(), "k", version), &failed, "the engine polls then")
	require.Equal(t, "wait", failed.Op)
}

// A message that is lost, or never sent, costs ten seconds at most; the engine looks every second anyway.
func TestWaitReturnsByItself(t *testing.T) {
	t.Parallel()
	client := connect(t, shared(t))
	s := open(t, client, redisstore.Options{})
	woken := make(chan error, 1)
	go func() { woken <- s.Wait(t.Context(), "k", "") }()
	require.Eventually(t, func() bool { return client.PubSubNumSub(t.Context(), t.Name()+":k").Val()[t.Name()+":k"] == 1 },
		soon, time.Millisecond)
	select {
	case err := <-woken:
		require.NoError(t, err)
	case <-time.After(20 * time.Second):
		require.Fail(t, "Wait waits for ever")
	}
}

//go:build !race

package client_test

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

const (
	crowd    = 100_000 // sessions that stand for a million
	users    = 4_000   // of them, where everybody's token would take the test too long
	mostEach = 512     // bytes that a live one may cost, the texts of its key and its tokens apart
)

// registry is a store in which everybody has a grant, and which costs no memory itself.
type registry struct {
	tokenstore.Store // has no Swap: nothing is renewed here
	openID           bool
}

func (r registry) Load(_ context.Context, key string) ([]byte, tokenstore.Version, error) {
	now := time.Now()
	rec := &record.Record{
		Grant: "g", Generation: 1, Leases: 1, RefreshToken: "RT of " + key, Scopes: []string{"read", "write"},
		Access: map[string]*record.Access{"": {Token: "AT of " + key, Type: "Bearer", Issued: now, Expiry: now.Add(time.Hour)}},
	}
	if r.openID {
		rec.Scopes, rec.IDToken = []string{"openid", "read"}, "ID of "+key
	}
	data, err := rec.Encode()
	return data, "1", err
}

// texts is how long what a session holds of the record under key is.
func (r registry) texts(key string) int {
	if r.openID {
		return len("AT of ID of openid read" + key + key)
	}
	return len("AT of " + key)
}

// people makes a crowd's keys, and a Client that knows them.
func people(t *testing.T, store tokenstore.Store) (*client.Client, []string) {
	config := good()
	config.Store = store
	keys := make([]string, crowd)
	for i := range keys {
		keys[i] = fmt.Sprintf("person %d", i)
	}
	return open(t, config), keys
}

func TestSessionsAreSmall(t *testing.T) {
	for name, row := range map[string]struct {
		store registry
		most  int
	}{
		"OAuth": {registry{}, mostEach},
		// oauth2.Token.Extra answers from a map: 312 bytes when nearly empty, and what its values are boxed in.
		"OpenID Connect": {registry{openID: true}, mostEach + 384},
	} {
		t.Run(name, func(t *testing.T) {
			c, keys := people(t, row.store)
			held := make([]*client.Session, len(keys))
			before := heap()
			for i, key := range keys {
				held[i] = c.Session(key)
			}
			unused := (heap() - before) / crowd
			before = heap()
			for _, s := range held[:users] {
				token(t, s)
			}
			used := (heap()-before)/users + unused - row.store.texts(tokenstore.Key(good().Issuer, "app", keys[users]))
			t.Logf("%d bytes a session that was not used yet, %d with a token", unused, used)
			require.LessOrEqual(t, unused, mostEach)
			require.LessOrEqual(t, used, row.most)
			runtime.KeepAlive(held)
		})
	}
}

// TestSessionsThatNobodyHoldsAreCollected, used or not; those that somebody holds stay the only ones of their keys.
func TestSessionsThatNobodyHoldsAreCollected(t *testing.T) {
	c, keys := people(t, registry{})
	before := heap()
	held, dropped := map[string]*client.Session{}, make([]weak.Pointer[client.Session], 0, crowd)
	for i, key := range keys {
		s := c.Session(key)
		if i < users {
			token(t, s)
		}
		if i%100 == 0 {
			held[key] = s
		} else {
			dropped = append(dropped, weak.Make(s))
		}
	}
	left := (heap() - before) / crowd
	t.Logf("%d bytes a session, of which one in a hundred is held", left)
	require.LessOrEqual(t, left, mostEach/4)
	for _, s := range dropped {
		require.Nil(t, s.Value())
	}
	for key, s := range held {
		require.Same(t, s, c.Session(key))
	}
	runtime.KeepAlive(held)
}

// TestOneSessionForAKeyThatComesAndGoes asks for few keys from two goroutines at a time while the collector runs:
// those who have a session of a key at the same time have the same one.
func TestOneSessionForAKeyThatComesAndGoes(t *testing.T) {
	c, keys := people(t, registry{})
	collected := make(chan struct{})
	go func() {
		defer close(collected)
		for range 100 {
			runtime.GC()
		}
	}()
	for more := true; more; {
		select {
		case <-collected:
			more = false
		default:
		}
		for _, key := range keys[:8] {
			pair := make(chan *client.Session, 2)
			for range 2 {
				go func() { pair <- c.Session(key) }()
			}
			require.Same(t, <-pair, <-pair)
		}
	}
}

// heap is how much memory is in use once the collector finds no more to free: what a cleanup lets go of is found
// by the collection after it.
func heap() int {
	for last, same := math.MaxInt, 0; ; {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		now := int(m.HeapAlloc)
		if same++; now < last-1<<14 {
			same = 0
		}
		if last = now; same == 3 {
			return now
		}
	}
}

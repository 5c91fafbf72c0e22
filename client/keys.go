package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/jws"
)

const (
	// keysLife is how long the keys of an issuer are believed. A key that the issuer withdraws ends after it.
	keysLife = time.Hour
	// keysPause is how often they are asked for again before that, whatever id tokens name as their keys; keysNew is for how
	// long nothing can have changed.
	keysPause, keysNew = 10 * time.Second, time.Second
	// keysAhead bounds the fetch of keys before a refresh, and how often one that has failed is tried again there.
	keysAhead, keysAheadPause = 2 * time.Second, time.Minute
)

// keysError says that the keys of the issuer cannot be had: nothing is known of a signature.
type keysError struct{ err error }

func (e *keysError) Error() string {
	return fmt.Sprintf("the keys at the issuer's jwks_uri, which the id token is to be checked with, cannot be had: %v", e.err)
}

func (e *keysError) Unwrap() error { return e.err }

// keyCache holds the keys that an issuer signs with.
type keyCache struct {
	flight chan struct{} // capacity 1: held by whoever asks the issuer

	mu    sync.Mutex
	uri   string        // where keys are from; empty: nothing was fetched yet; guarded by mu
	keys  jws.KeySet    // immutable; guarded by mu
	asked time.Duration // when they were received, on the monotonic clock; guarded by mu
	again time.Duration // when they were asked for again for an unknown key; 0: never; guarded by mu
	tried time.Duration // when a refresh has last looked for them; 0: never; guarded by mu
	stale bool          // an id token of a refresh has named another key; guarded by mu
}

// get returns keys that are young enough, or asks the issuer. again: they were not enough; unless they have just come, it is
// asked once more.
func (k *keyCache) get(ctx context.Context, c *Client, uri string, again bool) (jws.KeySet, error) {
	select {
	case k.flight <- struct{}{}:
		defer func() { <-k.flight }()
	case <-ctx.Done():
		return nil, &keysError{ended(ctx)}
	}
	if keys, good := k.look(c, uri, again); good {
		return keys, nil
	}
	keys, err := authserver.Keys(ctx, c.http, uri)
	if err != nil {
		return nil, &keysError{err}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	now := c.machine.Now().Mono
	if again || k.stale {
		k.again = now
	}
	k.uri, k.keys, k.asked, k.stale = uri, keys, now, false
	return keys, nil
}

func (k *keyCache) look(c *Client, uri string, again bool) (keys jws.KeySet, good bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := c.machine.Now().Mono
	age := now - k.asked
	refetch := (again || k.stale) && age >= keysNew && (k.again == 0 || now-k.again >= keysPause)
	return k.keys, k.uri == uri && age < keysLife && !refetch
}

// atHand returns the keys in memory, for an id token of a refresh. again: they were not enough; the next refresh fetches them
// before it begins.
func (k *keyCache) atHand(c *Client, uri string, again bool) (jws.KeySet, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.uri != uri || c.machine.Now().Mono-k.asked >= keysLife {
		return nil, &keysError{errors.New("they were not fetched before the refresh")}
	}
	k.stale = k.stale || again
	return k.keys, nil
}

// prepare fetches the keys before a refresh, as long as nothing is at stake, so that its id token can be checked on the spot.
// A refresh is not for the id token: it goes on without them when ctx ends, which is to be soon.
func (k *keyCache) prepare(ctx context.Context, c *Client, uri string) {
	if _, good := k.look(c, uri, false); uri == "" || good {
		return
	}
	now := c.machine.Now().Mono
	k.mu.Lock()
	soon := k.tried != 0 && now-k.tried < keysAheadPause
	if !soon {
		k.tried = now
	}
	k.mu.Unlock()
	if soon {
		return
	}
	_, _ = k.get(ctx, c, uri, false)
}

package redisstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/internal/notice"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// Options say how a Store keeps values. Either Key or Plaintext is needed.
type Options struct {
	// Prefix stands before every key, and makes the names of the keys and the channels in Redis. End it with a
	// sign that no other prefix goes on after. Empty: "evergrant:".
	Prefix string

	// Key seals the values, so that neither Redis nor its files and backups show a token.
	Key seal.KeySource

	// Former are keys that only open: see package seal. A value is sealed with Key whenever it is written, so a grant in
	// use comes under a new key by itself; for the others, Load every one of Keys and Swap what it gave.
	Former []seal.KeySource

	// Plaintext keeps the values as they are: whoever can read the Redis can read every token.
	Plaintext bool

	// Replicas is how many replicas must have a change before Swap returns. It gives them a second; if they are
	// fewer by then, Swap returns an error although the change was made. Zero: Swap asks no replica.
	Replicas int
}

// Store keeps values in Redis or Valkey. It is a tokenstore.Lister, Waiter, Prober, Expirer and Notifier, and safe for
// concurrent use. Format shows no value.
type Store struct {
	client   redis.UniversalClient
	prefix   string
	box      *seal.Box // nil: in the clear
	replicas int
	ear      listener
	notices  notice.Board
	advised  atomic.Bool // whether the server's settings have been looked at
}

// New makes a Store over client, which stays the caller's: the Store never closes it, and is at rest whenever no call is
// under way. New asks the server nothing; see Store.Probe. It refuses a client that would read from replicas, and
// *redis.Ring, for which a server that is away makes grants absent.
func New(client redis.UniversalClient, options Options) (*Store, error) {
	switch c := client.(type) {
	case nil:
		return nil, errors.New("redisstore: New needs a client")
	case *redis.Ring:
		return nil, errors.New("redisstore: a redis.Ring loses sight of grants while a server is away: use redis.NewClusterClient")
	case *redis.ClusterClient:
		if c.Options().ReadOnly {
			return nil, errors.New("redisstore: replicas lag behind: leave ReadOnly, RouteByLatency and RouteRandomly of the client off")
		}
	}
	switch {
	case options.Key == nil && !options.Plaintext:
		return nil, errors.New("redisstore: set Options.Key, which seals the values, or Options.Plaintext")
	case options.Plaintext && (options.Key != nil || len(options.Former) > 0):
		return nil, errors.New("redisstore: Options.Plaintext and Options.Key exclude each other")
	case options.Replicas < 0:
		return nil, errors.New("redisstore: Options.Replicas is negative")
	}
	s := &Store{client: client, prefix: options.Prefix, replicas: options.Replicas}
	if s.prefix == "" {
		s.prefix = "evergrant:"
	}
	if options.Key != nil {
		box, err := seal.NewBox(options.Key, options.Former...)
		if err != nil {
			return nil, fmt.Errorf("redisstore: Options.Key: %w", err)
		}
		s.box = box
	}
	s.ear.client = client
	return s, nil
}

// Load implements tokenstore.Store, in one round trip.
func (s *Store) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	reply, err := s.ask(ctx, s.client, "GET", s.prefix+key)
	if errors.Is(err, redis.Nil) {
		return nil, "", fmt.Errorf("redisstore: load %.80q: %w", key, tokenstore.ErrNotFound)
	}
	if err != nil {
		return nil, "", s.fail(ctx, "load", key, err)
	}
	text, _ := reply.(string)
	value, version, err := s.open(ctx, key, text)
	if err != nil {
		return nil, "", s.fail(ctx, "load", key, err)
	}
	return value, version, nil
}

// Swap implements tokenstore.Store, in one round trip. How durable the change is then is a matter of the server's
// settings and of Options.Replicas.
func (s *Store) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	return s.SwapUntil(ctx, key, old, value, time.Time{})
}

// grace is how long a value stays after it is of no use. It is more than the clocks of the program and of the
// authorization server can be wrong by: what Redis has let go of does not come back.
const grace = 24 * time.Hour

// longest is the longest life that Redis is told of.
const longest = 100 * 365 * 24 * time.Hour

// SwapUntil implements tokenstore.Expirer. Redis removes the value a day after until, counted from now: its own clock
// may show another time.
func (s *Store) SwapUntil(
	ctx context.Context, key string, old tokenstore.Version, value []byte, until time.Time,
) (tokenstore.Version, error) {
	change := change{key: s.prefix + key, old: old}
	if len(value) > 0 {
		change.version = tokenstore.Version(rand.Text())
		stored, err := s.seal(ctx, key, change.version, value)
		if err != nil {
			return "", s.fail(ctx, "save", key, err)
		}
		change.stored = stored
		if !until.IsZero() {
			// Clamped: a clock that is far ahead must not delete what is written, nor a far end overflow.
			change.life = min(max(time.Until(until), 0), longest) + grace
		}
	}
	err := s.change(ctx, change)
	if errors.Is(err, tokenstore.ErrConflict) {
		return "", fmt.Errorf("redisstore: save %.80q: %w", key, tokenstore.ErrConflict)
	}
	if err != nil {
		return "", s.fail(ctx, "save", key, err)
	}
	if s.advised.CompareAndSwap(false, true) {
		s.advise(ctx)
	}
	return change.version, nil
}

// Format implements fmt.Formatter: a Store shows neither its client nor a key under any verb.
func (s *Store) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "redisstore.Store(%q)", s.prefix) }

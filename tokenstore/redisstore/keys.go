package redisstore

import (
	"context"
	"iter"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"
)

// atOnce is how many keys Redis looks at in one step of a scan.
const atOnce = 1000

// Keys implements tokenstore.Lister. It scans the whole database, step by step, and remembers what it has yielded: with
// a million keys, for a housekeeping program rather than for a page.
func (s *Store) Keys(ctx context.Context, prefix string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		nodes, err := s.nodes(ctx)
		if err != nil {
			yield("", s.fail(ctx, "list", "", err))
			return
		}
		seen := make(map[string]bool)
		for _, node := range nodes {
			for cursor, last := "0", false; !last; {
				var keys []any
				if cursor, keys, err = s.scan(ctx, node, cursor, prefix); err != nil {
					yield("", s.fail(ctx, "list", "", err))
					return
				}
				last = cursor == "0"
				for _, found := range keys {
					key := strings.TrimPrefix(found.(string), s.prefix)
					if !seen[key] && !yield(key, nil) {
						return
					}
					seen[key] = true
				}
			}
		}
	}
}

// nodes returns what has every key: one server, or each primary of a cluster.
func (s *Store) nodes(ctx context.Context) ([]redis.UniversalClient, error) {
	cluster, isCluster := s.client.(*redis.ClusterClient)
	if !isCluster {
		return []redis.UniversalClient{s.client}, nil
	}
	var mu sync.Mutex // guards nodes
	var nodes []redis.UniversalClient
	err := s.abandon(ctx, func() error {
		return cluster.ForEachMaster(ctx, func(_ context.Context, node *redis.Client) error {
			mu.Lock()
			defer mu.Unlock()
			nodes = append(nodes, node)
			return nil
		})
	})
	mu.Lock()
	defer mu.Unlock()
	return nodes, err
}

// scan makes one step.
func (s *Store) scan(ctx context.Context, node redis.UniversalClient, cursor, prefix string) (string, []any, error) {
	reply, err := s.ask(ctx, node, "SCAN", cursor, "MATCH", literally.Replace(s.prefix+prefix)+"*", "COUNT", atOnce)
	if err != nil {
		return "", nil, err
	}
	both := reply.([]any)
	return both[0].(string), both[1].([]any), nil
}

// literally escapes what has a meaning in a pattern of Redis.
var literally = strings.NewReplacer(`*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`, `^`, `\^`, `-`, `\-`, `\`, `\\`)

package redisstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
)

// replication is how long the replicas may take.
const replication = time.Second

// lagging says that a change was made and that too few replicas have it.
type lagging struct{ have, want int }

// Error implements error.
func (l lagging) Error() string { return fmt.Sprintf("WAIT counts %d of %d", l.have, l.want) }

// RedisError makes it one of the server's answers.
func (lagging) RedisError() {}

// replicate sends cmd and, in the same round trip and on the same connection, which is the one that WAIT is about, the
// wish that the replicas have its effect.
func (s *Store) replicate(ctx context.Context, key string, cmd once) (any, error) {
	node, isCluster, err := s.primary(ctx, key)
	if err != nil {
		return nil, err
	}
	wait := newCommand(ctx, []any{"WAIT", s.replicas, replication.Milliseconds()})
	pipe := node.Pipeline()
	_ = pipe.Process(ctx, cmd)  // only queues it
	_ = pipe.Process(ctx, wait) // and this
	_, err = pipe.Exec(ctx)
	if isCluster && codeOf(err) == "MOVED" {
		s.client.(*redis.ClusterClient).ReloadState(ctx)
	}
	reply, refusal := cmd.Result()
	if refusal != nil {
		return nil, refusal
	}
	if err != nil {
		return nil, err
	}
	have, isNumber := wait.Val().(int64)
	if !isNumber {
		return nil, errors.New("redisstore: WAIT did not answer a number")
	}
	if reply == int64(1) && int(have) < s.replicas {
		return nil, lagging{int(have), s.replicas}
	}
	return reply, nil
}

// primary returns what has one server to send key's commands to, all of them on one connection.
func (s *Store) primary(ctx context.Context, key string) (node redis.Cmdable, isCluster bool, err error) {
	cluster, isCluster := s.client.(*redis.ClusterClient)
	if !isCluster {
		return s.client, false, nil
	}
	node, err = cluster.MasterForKey(ctx, key)
	return node, true, err
}

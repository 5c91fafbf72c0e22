package redisstore_test

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/redisd"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/redisstore"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

// follow makes a replica of the primary that is reached at addr, and returns it once it has everything.
func follow(t *testing.T, primary *redis.Client, addr string) *redisd.Server {
	t.Helper()
	require.NoError(t, primary.ConfigSet(t.Context(), "repl-diskless-sync-delay", "0").Err())
	replica := redisd.Start(t, "replicaof "+strings.Replace(addr, ":", " ", 1))
	require.Eventually(t, func() bool {
		info, err := connectOnce(t, replica.Addr, "INFO")
		return err == nil && strings.Contains(info, "master_link_status:up")
	}, soon, 10*time.Millisecond)
	return replica
}

func connectOnce(t *testing.T, addr string, args ...any) (string, error) {
	client := redis.NewClient(&redis.Options{Addr: addr})
	defer client.Close()
	return client.Do(t.Context(), args...).Text()
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	primary := redisd.Start(t)
	client := connect(t, primary.Addr)
	link := between(t, primary.Addr)
	replica := follow(t, client, link.addr)
	copied := open(t, connect(t, replica.Addr), redisstore.Options{})

	w := between(t, primary.Addr)
	s := open(t, connect(t, w.addr), redisstore.Options{Replicas: 1})
	require.NoError(t, s.Probe(t.Context()))
	version, err := s.Swap(t.Context(), "k", "", []byte("v"))
	require.NoError(t, err)
	for range 50 {
		version, err = s.Swap(t.Context(), "k", version, []byte("v"))
		require.NoError(t, err)
		_, at, err := copied.Load(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, version, at, "the replica has it when Swap returns")
	}
	require.Equal(t, []string{"EVALSHA", "WAIT"}, w.sent(func() {
		_, err := s.Swap(t.Context(), "k", "another", []byte("w"))
		require.ErrorIs(t, err, tokenstore.ErrConflict)
	}))

	t.Run("the answer is lost", func(t *testing.T) {
		w.loseAnswer("EVALSHA")
		version, err = s.Swap(t.Context(), "k", version, []byte("w"))
		require.NoError(t, err)
		_, at, err := copied.Load(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, version, at)
	})
	t.Run("the replica is cut off", func(t *testing.T) {
		link.keepAnswers(true) // which are what the primary sends it
		_, err = s.Swap(t.Context(), "k", version, []byte("x"))
		var failed *redisstore.Error
		require.ErrorAs(t, err, &failed)
		require.Equal(t, "WAIT", failed.Code)
		value, _, err := s.Load(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "x", string(value), "the change is made")
	})
	t.Run("the answer is lost and the replica is cut off", func(t *testing.T) {
		_, version, err := s.Load(t.Context(), "k")
		require.NoError(t, err)
		w.loseAnswer("EVALSHA")
		_, err = s.Swap(t.Context(), "k", version, []byte("y"))
		var failed *redisstore.Error
		require.ErrorAs(t, err, &failed)
		require.Equal(t, "WAIT", failed.Code, "the second try asks about the first one's change")
	})
}

// An asynchronously replicated Redis loses what the replica has not yet got when the primary dies. Nothing but that
// is lost, nothing is wrong, and a Swap at a version that was lost is a conflict.
func TestFailOverLosesOnlyWhatWasNotReplicated(t *testing.T) {
	t.Parallel()
	primary := redisd.Start(t)
	toPrimary := connect(t, primary.Addr)
	link := between(t, primary.Addr)
	replica := follow(t, toPrimary, link.addr)

	current := primary.Addr
	client := redis.NewClient(&redis.Options{
		DialerRetries: 1,
		Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, current)
		},
	})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	s := open(t, client, redisstore.Options{})
	first, err := s.Swap(t.Context(), "k", "", []byte("generation 1"))
	require.NoError(t, err)
	require.EqualValues(t, 1, toPrimary.Wait(t.Context(), 1, time.Second).Val())
	require.Eventually(t, func() bool {
		_, at, err := open(t, connect(t, replica.Addr), redisstore.Options{}).Load(t.Context(), "k")
		return err == nil && at == first
	}, soon, time.Millisecond)

	link.cutForGood()
	second, err := s.Swap(t.Context(), "k", first, []byte("generation 2"))
	require.NoError(t, err, "Redis promises no more than this")
	require.NoError(t, primary.Kill())
	_, _, err = s.Load(t.Context(), "k")
	var failed *redisstore.Error
	require.ErrorAs(t, err, &failed)

	current = replica.Addr
	_, err = s.Swap(t.Context(), "k", second, []byte("generation 3"))
	require.Error(t, err)
	_, err = s.Swap(t.Context(), "k", first, []byte("generation 3"))
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "READONLY", failed.Code)

	_, err = connectOnce(t, replica.Addr, "REPLICAOF", "NO", "ONE")
	require.NoError(t, err)
	value, at, err := s.Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "generation 1", string(value))
	require.Equal(t, first, at)
	_, err = s.Swap(t.Context(), "k", second, []byte("generation 3"))
	require.ErrorIs(t, err, tokenstore.ErrConflict)
	_, err = s.Swap(t.Context(), "k", first, []byte("generation 3"))
	require.NoError(t, err)
}

// Sentinel finds the primary dead and promotes the replica; one Store lives through it.
func TestSentinel(t *testing.T) {
	t.Parallel()
	primary := redisd.Start(t)
	toPrimary := connect(t, primary.Addr)
	replica := follow(t, toPrimary, primary.Addr)
	sentinel := redisd.Start(t, "sentinel monitor grants "+strings.Replace(primary.Addr, ":", " ", 1)+" 1",
		"sentinel down-after-milliseconds grants 300", "sentinel failover-timeout grants 3000")
	require.Eventually(t, func() bool {
		info, err := connectOnce(t, sentinel.Addr, "INFO")
		return err == nil && strings.Contains(info, "slaves=1")
	}, 15*time.Second, 20*time.Millisecond, "Sentinel learns of the replica")

	client := redis.NewFailoverClient(&redis.FailoverOptions{
		MasterName: "grants", SentinelAddrs: []string{sentinel.Addr}, DialerRetries: 1,
	})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	s := open(t, client, redisstore.Options{Replicas: 1})
	version, err := s.Swap(t.Context(), "k", "", []byte("v"))
	require.NoError(t, err)
	require.NoError(t, primary.Kill())

	after := open(t, client, redisstore.Options{})
	var last error
	require.Eventually(t, func() bool {
		_, last = after.Swap(t.Context(), "k", version, []byte("w"))
		var failed *redisstore.Error
		return last == nil || !errors.As(last, &failed)
	}, 15*time.Second, 20*time.Millisecond)
	require.NoError(t, last, "what a replica had confirmed is there")
	value, _, err := open(t, connect(t, replica.Addr), redisstore.Options{}).Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "w", string(value))
}

// cluster starts three servers that share the slots, or finds those of the process that started this one.
func cluster(t *testing.T) []string {
	if addrs := os.Getenv(clusterEnv); addrs != "" {
		return strings.Split(addrs, ",")
	}
	slots := [][2]int{{0, 5460}, {5461, 10922}, {10923, 16383}}
	var addrs, ports []string
	for _, own := range slots {
		server := redisd.Start(t, "cluster-enabled yes", "cluster-node-timeout 2000")
		_, err := connectOnce(t, server.Addr, "CLUSTER", "ADDSLOTSRANGE", own[0], own[1])
		require.NoError(t, err)
		addrs = append(addrs, server.Addr)
		ports = append(ports, server.ClusterPort)
	}
	for i := range addrs[1:] {
		host, port, err := net.SplitHostPort(addrs[i+1])
		require.NoError(t, err)
		_, err = connectOnce(t, addrs[0], "CLUSTER", "MEET", host, port, ports[i+1])
		require.NoError(t, err)
	}
	for _, addr := range addrs {
		require.Eventually(t, func() bool {
			info, err := connectOnce(t, addr, "CLUSTER", "INFO")
			return err == nil && strings.Contains(info, "cluster_state:ok") && strings.Contains(info, "cluster_known_nodes:3")
		}, 30*time.Second, 20*time.Millisecond)
	}
	t.Setenv(clusterEnv, strings.Join(addrs, ","))
	return addrs
}

func TestContractOnACluster(t *testing.T) {
	addrs := cluster(t)
	storetest.Run(t, func(t testing.TB) tokenstore.Store {
		client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs[:1]})
		t.Cleanup(func() { require.NoError(t, client.Close()) })
		return open(t, client, redisstore.Options{Prefix: storetest.Place(t) + ":", Key: key})
	})
	t.Run("every server has keys", func(t *testing.T) {
		for _, addr := range addrs {
			size, err := connect(t, addr).DBSize(t.Context()).Result()
			require.NoError(t, err)
			require.Positive(t, size)
		}
	})
	t.Run("Replicas", func(t *testing.T) { // no server of the cluster has any
		client := redis.NewClusterClient(&redis.ClusterOptions{Addrs: addrs[:1]})
		t.Cleanup(func() { require.NoError(t, client.Close()) })
		_, err := open(t, client, redisstore.Options{Replicas: 1}).Swap(t.Context(), "k", "", []byte("v"))
		var failed *redisstore.Error
		require.ErrorAs(t, err, &failed)
		require.Equal(t, "WAIT", failed.Code)
	})
}

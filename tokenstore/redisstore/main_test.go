package redisstore_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/internal/daemon"
	"github.com/evergrant/evergrant/internal/redisd"
	"github.com/evergrant/evergrant/tokenstore/redisstore"
	"github.com/evergrant/evergrant/tokenstore/seal"
)

// Where the processes that the suite starts find the servers of the process that started them.
const (
	serverEnv  = "REDISSTORE_TEST_SERVER"
	clusterEnv = "REDISSTORE_TEST_CLUSTER"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(served{m}) }

// served runs the tests with a server that they share.
type served struct{ tests *testing.M }

func (s served) Run() int {
	if os.Getenv(serverEnv) == "" {
		if server, err := redisd.Open(); err == nil {
			defer server.Close()
			os.Setenv(serverEnv, server.Addr)
		} else {
			fmt.Fprintln(os.Stderr, err) // the tests that need one say so too
		}
	}
	return s.tests.Run()
}

// shared returns the address of the server that the tests share.
func shared(t testing.TB) string {
	t.Helper()
	addr := os.Getenv(serverEnv)
	if addr == "" {
		daemon.Need(t, redisd.ErrNotInstalled)
	}
	return addr
}

// connect returns a client of the server at addr, which ends with the test.
func connect(t testing.TB, addr string) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// open returns a store over client that the test has for itself.
func open(t testing.TB, client redis.UniversalClient, options redisstore.Options) *redisstore.Store {
	t.Helper()
	if options.Prefix == "" {
		options.Prefix = t.Name() + ":"
	}
	if options.Key == nil {
		options.Plaintext = true
	}
	store, err := redisstore.New(client, options)
	require.NoError(t, err)
	return store
}

// key is one that seals.
var key = seal.RawKey([]byte("an example of a key: 32 bytes.  "))

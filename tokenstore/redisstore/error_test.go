package redisstore_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/redisd"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/redisstore"
	"github.com/evergrant/evergrant/tokenstore/seal"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

func TestNewRefuses(t *testing.T) {
	client := redis.NewClient(&redis.Options{})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	cluster := redis.NewClusterClient(&redis.ClusterOptions{RouteByLatency: true})
	t.Cleanup(func() { require.NoError(t, cluster.Close()) })
	ring := redis.NewRing(&redis.RingOptions{Addrs: map[string]string{"one": "127.0.0.1:1"}})
	t.Cleanup(func() { require.NoError(t, ring.Close()) })
	clear := redisstore.Options{Plaintext: true}
	for name, tt := range map[string]struct {
		client  redis.UniversalClient
		options redisstore.Options
	}{
		"no client":                         {nil, clear},
		"a ring":                            {ring, clear},
		"a cluster that reads from replica": {cluster, clear},
		"neither sealed nor in the clear":   {client, redisstore.Options{}},
		"both":                              {client, redisstore.Options{Plaintext: true, Key: key}},
		"a former key in the clear":         {client, redisstore.Options{Plaintext: true, Former: []seal.KeySource{key}}},
		"a short key":                       {client, redisstore.Options{Key: seal.RawKey([]byte("short"))}},
		"fewer replicas than none":          {client, redisstore.Options{Plaintext: true, Replicas: -1}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := redisstore.New(tt.client, tt.options)
			require.Error(t, err)
		})
	}
}

// configure sets what the test needs in a running server.
func configure(t *testing.T, client *redis.Client, settings ...string) {
	t.Helper()
	for i := 0; i < len(settings); i += 2 {
		require.NoError(t, client.ConfigSet(t.Context(), settings[i], settings[i+1]).Err())
	}
}

// Each trouble is told by its name, and when it is over the same Store works.
func TestTroubleOfARealServer(t *testing.T) {
	server := redisd.Start(t, "appendonly yes", "appendfsync always")
	admin := connect(t, server.Addr)
	for _, tt := range []struct {
		name       string
		options    redis.Options
		begin, end func(t *testing.T)
		code       string
		loads      bool // whether Load works meanwhile
	}{
		{
			name:  "a replica",
			begin: func(t *testing.T) { require.NoError(t, admin.ReplicaOf(t.Context(), "127.0.0.1", "1").Err()) },
			end:   func(t *testing.T) { require.NoError(t, admin.ReplicaOf(t.Context(), "NO", "ONE").Err()) },
			code:  "READONLY", loads: true,
		}, {
			name:  "memory is full",
			begin: func(t *testing.T) { configure(t, admin, "maxmemory", "1mb") },
			end:   func(t *testing.T) { configure(t, admin, "maxmemory", "0") },
			code:  "OOM", loads: true,
		}, {
			name:  "too few replicas",
			begin: func(t *testing.T) { configure(t, admin, "min-replicas-to-write", "1") },
			end:   func(t *testing.T) { configure(t, admin, "min-replicas-to-write", "0") },
			code:  "NOREPLICAS", loads: true,
		}, {
			name: "no password",
			begin: func(t *testing.T) {
				require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "default", ">pw", "resetpass", ">pw").Err())
			},
			end: func(t *testing.T) {
				require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "default", "nopass").Err())
			},
			code: "NOAUTH",
		}, {
			name:    "a wrong password",
			options: redis.Options{Username: "somebody", Password: "wrong"},
			begin:   func(*testing.T) {},
			end: func(t *testing.T) {
				require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "somebody", "on", ">wrong", "+@all", "~*", "&*").Err())
			},
			code: "WRONGPASS",
		}, {
			name:    "no permission",
			options: redis.Options{Username: "reader", Password: "pw"},
			begin: func(t *testing.T) {
				require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "reader", "on", ">pw", "+get", "~*").Err())
			},
			end: func(t *testing.T) {
				require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "reader", "+@all", "&*").Err())
			},
			code: "NOPERM", loads: true,
		}, {
			name:  "the server is down",
			begin: func(t *testing.T) { require.NoError(t, server.Kill()) },
			end:   func(t *testing.T) { require.NoError(t, server.Resume()) },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.options.Addr = server.Addr
			tt.options.DialerRetries = 1
			client := redis.NewClient(&tt.options)
			t.Cleanup(func() { require.NoError(t, client.Close()) })
			s := open(t, client, redisstore.Options{})
			writer := open(t, admin, redisstore.Options{})
			version, err := writer.Swap(t.Context(), "k", "", []byte("v"))
			require.NoError(t, err)

			tt.begin(t)
			var failed *redisstore.Error
			_, err = s.Swap(t.Context(), "k", version, []byte("secret value"))
			require.ErrorAs(t, err, &failed)
			require.Equal(t, tt.code, failed.Code, err)
			require.Equal(t, "save", failed.Op)
			require.Equal(t, "k", failed.Key)
			requireHides(t, err, "secret value", string(version))
			require.ErrorAs(t, s.Probe(t.Context()), &failed)
			require.Equal(t, tt.code, failed.Code)
			if tt.loads {
				value, _, err := s.Load(t.Context(), "k")
				require.NoError(t, err)
				require.Equal(t, "v", string(value))
			} else {
				_, _, err = s.Load(t.Context(), "k")
				require.ErrorAs(t, err, &failed)
				require.Equal(t, tt.code, failed.Code)
				require.NotErrorIs(t, err, tokenstore.ErrNotFound)
			}

			tt.end(t)
			require.NoError(t, s.Probe(t.Context()))
			_, err = s.Swap(t.Context(), "k", version, []byte("w"))
			require.NoError(t, err)
			value, _, err := writer.Load(t.Context(), "k")
			require.NoError(t, err)
			require.Equal(t, "w", string(value))
		})
	}
}

// requireHides fails if anything that err wraps shows one of the texts.
func requireHides(t *testing.T, err error, texts ...string) {
	t.Helper()
	for ; err != nil; err = errors.Unwrap(err) {
		for _, text := range texts {
			require.NotContains(t, err.Error(), text)
		}
	}
}

// oldScript is what Redis up to 6.2 says before the error of a script's command.
const oldScript = "ERR Error running script (call to f_f36b6ab1fb1e5e64af2dd6a5b8e9e4c02ad4a8b2): @user_script:11: "

func TestDamagedAsRedis6SaysIt(t *testing.T) {
	s := open(t, connect(t, refusing(t, oldScript+"WRONGTYPE Operation against a key holding the wrong kind of value")), redisstore.Options{})
	_, err := s.Swap(t.Context(), "k", "", []byte("v"))
	require.ErrorIs(t, err, tokenstore.ErrDamaged)
}

func TestAnswersOfAServerInTrouble(t *testing.T) {
	for answer, code := range map[string]string{
		"LOADING Redis is loading the dataset in memory":                                          "LOADING",
		"MISCONF Redis is configured to save RDB snapshots, but it is unable to":                  "MISCONF",
		"MASTERDOWN Link with MASTER is down":                                                     "MASTERDOWN",
		"CLUSTERDOWN The cluster is down":                                                         "CLUSTERDOWN",
		"MOVED 1234 127.0.0.1:7001":                                                               "MOVED",
		oldScript + "@user_script: 11: -READONLY You can't write against a read only replica.":    "READONLY",
		oldScript + "@user_script: 11: -OOM command not allowed when used memory > 'maxmemory'.":  "OOM",
		oldScript + "The user executing the script can't run this command or subcommand":          "ERR",
		"ERR Error running script (call to d8f2fad9): @user_script:2: -READONLY You can't write":  "READONLY",
		"ERR max number of clients reached":                                                       "ERR",
		"ERR unknown command 'EVALSHA', with args beginning with: 'secret value' 'secret value' ": "ERR",
	} {
		t.Run(answer, func(t *testing.T) {
			s := open(t, connect(t, refusing(t, answer)), redisstore.Options{})
			var failed *redisstore.Error
			_, err := s.Swap(t.Context(), "k", "secret version", []byte("secret value"))
			require.ErrorAs(t, err, &failed)
			require.Equal(t, code, failed.Code)
			requireHides(t, err, "secret")
			_, _, err = s.Load(t.Context(), "k")
			require.ErrorAs(t, err, &failed)
			require.Equal(t, code, failed.Code)
			require.NotErrorIs(t, err, tokenstore.ErrNotFound)
			requireHides(t, err, "secret")
		})
	}
}

// A connection that the pool holds is dead when the server has restarted, and the server has forgotten the script.
func TestRestart(t *testing.T) {
	server := redisd.Start(t, "appendonly yes", "appendfsync always")
	client := connect(t, server.Addr)
	s := open(t, client, redisstore.Options{})
	version, err := s.Swap(t.Context(), "k", "", []byte("v"))
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, server.Restart())
		value, at, err := s.Load(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "v", string(value))
		require.Equal(t, version, at)
		version, err = s.Swap(t.Context(), "k", version, []byte("v"))
		require.NoError(t, err)
	}
}

// A balancer closes connections that the pool takes for open, just as the command goes out.
func TestBrokenConnection(t *testing.T) {
	w := between(t, shared(t))
	s := open(t, connect(t, w.addr), redisstore.Options{})
	version, err := s.Swap(t.Context(), "k", "", []byte("v"))
	require.NoError(t, err)
	w.loseAnswer("GET")
	_, at, err := s.Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, version, at)
}

func TestDamagedIsLeftAlone(t *testing.T) {
	client := connect(t, shared(t))
	s := open(t, client, redisstore.Options{Prefix: "damaged:"})
	for name, spoil := range map[string]func(ctx context.Context, key string) error{
		"a hash":  func(ctx context.Context, key string) error { return client.HSet(ctx, key, "a", "b").Err() },
		"nothing": func(ctx context.Context, key string) error { return client.Set(ctx, key, "", 0).Err() },
		"a word":  func(ctx context.Context, key string) error { return client.Set(ctx, key, "word", 0).Err() },
		"a version": func(ctx context.Context, key string) error {
			return client.Set(ctx, key, strings.Repeat("A", 26), 0).Err()
		},
		"a strange form": func(ctx context.Context, key string) error {
			return client.Set(ctx, key, strings.Repeat("A", 40), 0).Err()
		},
		"an empty record": func(ctx context.Context, key string) error {
			return client.Set(ctx, key, strings.Repeat("A", 26)+"p", 0).Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, spoil(t.Context(), "damaged:"+name))
			before, err := client.Dump(t.Context(), "damaged:"+name).Result()
			require.NoError(t, err)
			_, _, err = s.Load(t.Context(), name)
			require.ErrorIs(t, err, tokenstore.ErrDamaged)
			for _, value := range []string{"v", ""} {
				_, err = s.Swap(t.Context(), name, "", []byte(value))
				if value != "" {
					require.Error(t, err)
				}
				after, err := client.Dump(t.Context(), "damaged:"+name).Result()
				require.NoError(t, err)
				require.Equal(t, before, after)
			}
		})
	}
}

func TestSealed(t *testing.T) {
	client := connect(t, shared(t))
	s := open(t, client, redisstore.Options{Prefix: "sealed:", Key: key})
	version, err := s.Swap(t.Context(), "k", "", []byte("a refresh token"))
	require.NoError(t, err)
	first, err := client.Get(t.Context(), "sealed:k").Result()
	require.NoError(t, err)
	require.NotContains(t, first, "refresh")

	t.Run("another key's", func(t *testing.T) {
		require.NoError(t, client.Set(t.Context(), "sealed:other", first, 0).Err())
		_, _, err := s.Load(t.Context(), "other")
		require.ErrorIs(t, err, tokenstore.ErrDamaged)
	})
	t.Run("an older one under the newer version", func(t *testing.T) {
		version, err = s.Swap(t.Context(), "k", version, []byte("its successor"))
		require.NoError(t, err)
		require.NoError(t, client.Set(t.Context(), "sealed:k", string(version)+first[len(version):], 0).Err())
		_, _, err := s.Load(t.Context(), "k")
		require.ErrorIs(t, err, tokenstore.ErrDamaged)
	})
	t.Run("another prefix's", func(t *testing.T) {
		require.NoError(t, client.Set(t.Context(), "sealed too:k", first, 0).Err())
		_, _, err := open(t, client, redisstore.Options{Prefix: "sealed too:", Key: key}).Load(t.Context(), "k")
		require.ErrorIs(t, err, tokenstore.ErrDamaged)
	})
	require.NoError(t, client.Set(t.Context(), "sealed:k", first, 0).Err())
	other := seal.RawKey([]byte("another example: 32 bytes too.  "))
	t.Run("a wrong key", func(t *testing.T) {
		_, _, err := open(t, client, redisstore.Options{Prefix: "sealed:", Key: other}).Load(t.Context(), "k")
		require.ErrorIs(t, err, seal.ErrWrongKey)
	})
	t.Run("a former key", func(t *testing.T) {
		value, _, err := open(t, client, redisstore.Options{Prefix: "sealed:", Key: other, Former: []seal.KeySource{key}}).Load(t.Context(), "k")
		require.NoError(t, err)
		require.Equal(t, "a refresh token", string(value))
	})
	t.Run("opened in the clear", func(t *testing.T) {
		_, _, err := open(t, client, redisstore.Options{Prefix: "sealed:"}).Load(t.Context(), "k")
		require.ErrorIs(t, err, seal.ErrWrongKey)
	})
	t.Run("in the clear under a sealing store", func(t *testing.T) {
		_, err := open(t, client, redisstore.Options{Prefix: "sealed:"}).Swap(t.Context(), "clear", "", []byte("v"))
		require.NoError(t, err)
		_, _, err = s.Load(t.Context(), "clear")
		require.ErrorIs(t, err, seal.ErrWrongKey)
	})
}

// made is a KeySource that makes its key when it is told to.
type made struct{ key []byte }

func (m *made) Key(_ context.Context, create bool) ([]byte, error) {
	if create {
		m.key = []byte("made when it was needed, 32 long")
	}
	return m.key, nil
}

func TestKeyIsMadeWhereNothingLies(t *testing.T) {
	client := connect(t, shared(t))
	s := open(t, client, redisstore.Options{Key: &made{}})
	require.NoError(t, s.Probe(t.Context()))
	_, err := s.Swap(t.Context(), "k", "", []byte("v"))
	require.NoError(t, err)
	value, _, err := s.Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "v", string(value))

	forgetful := open(t, client, redisstore.Options{Key: &made{}})
	_, err = forgetful.Swap(t.Context(), "another", "", []byte("v"))
	require.ErrorIs(t, err, seal.ErrNoKey)
	_, _, err = forgetful.Load(t.Context(), "another")
	require.ErrorIs(t, err, tokenstore.ErrNotFound)
}

func TestNotices(t *testing.T) {
	server := redisd.Start(t)
	admin := connect(t, server.Addr)
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "uninformed", "on", ">pw", "+@all", "-info", "~*", "&*").Err())
	for _, tt := range []struct {
		name     string
		settings []string
		user     string
		want     int
	}{
		{name: "no file", settings: []string{"appendonly", "no", "maxmemory", "0"}, want: 1},
		{name: "nothing to say", settings: []string{"appendonly", "yes", "maxmemory", "100mb", "maxmemory-policy", "noeviction"}},
		{name: "no limit", settings: []string{"appendonly", "yes", "maxmemory", "0", "maxmemory-policy", "allkeys-lru"}},
		{name: "all keys", settings: []string{"appendonly", "yes", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru"}, want: 1},
		{name: "keys that end", settings: []string{"appendonly", "yes", "maxmemory", "100mb", "maxmemory-policy", "volatile-ttl"}, want: 1},
		{name: "both", settings: []string{"appendonly", "no", "maxmemory", "100mb", "maxmemory-policy", "allkeys-random"}, want: 2},
		{name: "not to be asked", settings: []string{"appendonly", "no", "maxmemory", "100mb"}, user: "uninformed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			configure(t, admin, tt.settings...)
			options := &redis.Options{Addr: server.Addr}
			if tt.user != "" {
				options.Username, options.Password = tt.user, "pw"
			}
			client := redis.NewClient(options)
			t.Cleanup(func() { require.NoError(t, client.Close()) })
			var noticed []string
			for _, first := range []func(s *redisstore.Store) error{
				func(s *redisstore.Store) error { return s.Probe(t.Context()) },
				func(s *redisstore.Store) error { _, err := s.Swap(t.Context(), tt.name, "", nil); return err },
			} {
				noticed = nil
				s := open(t, client, redisstore.Options{})
				stop := s.Notify(func(key, text string) { noticed = append(noticed, text) })
				defer stop()
				require.NoError(t, first(s))
				require.Len(t, noticed, tt.want)
				_, err := s.Swap(t.Context(), tt.name, "", nil)
				require.NoError(t, err)
				_, err = s.Swap(t.Context(), tt.name, "", nil)
				require.NoError(t, err)
				require.LessOrEqual(t, len(noticed), 2*tt.want, "not at every Swap")
			}
		})
	}
}

// The permissions that the package doc asks for are enough, and stay below the prefix.
func TestPermissions(t *testing.T) {
	server := shared(t)
	admin := connect(t, server)
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "limited", "reset", "on", ">pw", "~limited:*", "&limited:*",
		"+get", "+getrange", "+set", "+del", "+append", "+evalsha", "+eval", "+publish", "+subscribe", "+unsubscribe", "+scan",
		"+info", "+wait").Err())
	storetest.Run(t, func(t testing.TB) tokenstore.Store {
		client := redis.NewClient(&redis.Options{Addr: server, Username: "limited", Password: "pw"})
		t.Cleanup(func() { require.NoError(t, client.Close()) })
		return open(t, client, redisstore.Options{Prefix: "limited:" + t.Name() + ":"})
	})
	client := redis.NewClient(&redis.Options{Addr: server, Username: "limited", Password: "pw"})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	_, err := open(t, client, redisstore.Options{Prefix: "elsewhere:"}).Swap(t.Context(), "k", "", []byte("v"))
	var failed *redisstore.Error
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "NOPERM", failed.Code)
}

// Who may not publish still writes: those who wait look from time to time.
func TestSwapWithoutThePermissionToPublish(t *testing.T) {
	admin := connect(t, shared(t))
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "silent", "reset", "on", ">pw", "~*", "+@all", "resetchannels").Err())
	client := redis.NewClient(&redis.Options{Addr: shared(t), Username: "silent", Password: "pw"})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	s := open(t, client, redisstore.Options{})
	version, err := s.Swap(t.Context(), "k", "", []byte("v"))
	require.NoError(t, err)
	_, at, err := s.Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, version, at)
	var failed *redisstore.Error
	require.ErrorAs(t, s.Wait(t.Context(), "k", version), &failed)
	require.Equal(t, "NOPERM", failed.Code)
}

func TestUnknownAddress(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", DialerRetries: 1})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	_, _, err := open(t, client, redisstore.Options{}).Load(t.Context(), "k")
	var dialled *net.OpError
	require.ErrorAs(t, err, &dialled)
	require.ErrorContains(t, err, "127.0.0.1:1")
}

func TestEveryValueComesUnderANewKey(t *testing.T) {
	client := connect(t, shared(t))
	next := seal.RawKey([]byte("the key that comes after: 32 B. "))
	before := open(t, client, redisstore.Options{Key: key})
	for _, name := range []string{"a", "b"} {
		_, err := before.Swap(t.Context(), name, "", []byte(name+"'s"))
		require.NoError(t, err)
	}
	both := open(t, client, redisstore.Options{Key: next, Former: []seal.KeySource{key}})
	for name, err := range both.Keys(t.Context(), "") {
		require.NoError(t, err)
		value, version, err := both.Load(t.Context(), name)
		require.NoError(t, err)
		_, err = both.Swap(t.Context(), name, version, value)
		require.NoError(t, err)
	}
	after := open(t, client, redisstore.Options{Key: next})
	for _, name := range []string{"a", "b"} {
		value, _, err := after.Load(t.Context(), name)
		require.NoError(t, err)
		require.Equal(t, name+"'s", string(value))
	}
}

// keyless is a KeySource that has lost its key, or has none yet.
type keyless struct{}

func (keyless) Key(_ context.Context, create bool) ([]byte, error) {
	if !create {
		return nil, nil
	}
	return nil, errors.New("a key was made")
}

func TestProbeWhereTheKeyIsLost(t *testing.T) {
	client := connect(t, shared(t))
	s := open(t, client, redisstore.Options{Key: keyless{}})
	require.NoError(t, s.Probe(t.Context()), "a key is made at the first Swap")
	_, err := open(t, client, redisstore.Options{Key: key}).Swap(t.Context(), "k", "", []byte("v"))
	require.NoError(t, err)
	_, err = s.Swap(t.Context(), "l", "", []byte("v"))
	require.ErrorIs(t, err, seal.ErrNoKey)
	require.ErrorIs(t, s.Probe(t.Context()), seal.ErrNoKey)
}

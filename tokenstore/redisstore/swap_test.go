package redisstore_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/redisstore"
)

func TestOneRoundTrip(t *testing.T) {
	for name, options := range map[string]redisstore.Options{"in the clear": {}, "sealed": {Key: key}} {
		t.Run(name, func(t *testing.T) {
			w := between(t, shared(t))
			client := connect(t, w.addr)
			require.NoError(t, client.ScriptFlush(t.Context()).Err())
			s := open(t, client, options)
			var version tokenstore.Version
			swap := func(value string, until time.Time) func() {
				return func() {
					var err error
					version, err = s.SwapUntil(t.Context(), "k", version, []byte(value), until)
					require.NoError(t, err)
				}
			}
			// The first Swap brings the script and looks at the settings.
			require.Equal(t, []string{"EVALSHA", "EVAL", "INFO"}, w.sent(swap("v", time.Time{})))
			require.Equal(t, []string{"EVALSHA"}, w.sent(swap("w", time.Time{})))
			require.Equal(t, []string{"EVALSHA"}, w.sent(swap("x", time.Now().Add(time.Hour))))
			require.Equal(t, []string{"GET"}, w.sent(func() {
				value, _, err := s.Load(t.Context(), "k")
				require.NoError(t, err)
				require.Equal(t, "x", string(value))
			}))
			require.Equal(t, []string{"EVALSHA"}, w.sent(swap("", time.Time{})))
			require.Equal(t, []string{"EVALSHA"}, w.sent(func() {
				_, err := s.Swap(t.Context(), "k", "another", []byte("y"))
				require.ErrorIs(t, err, tokenstore.ErrConflict)
			}))
		})
	}
}

// The server makes the change and its answer is lost: go-redis by itself would send the command again and tell of a
// conflict with what it has written.
func TestLostAnswer(t *testing.T) {
	for _, tt := range []struct {
		name          string
		before, value string
		meanwhile     string // what another one writes before the second try
		certain       bool   // whether the second try can tell
	}{
		{name: "create", value: "v", certain: true},
		{name: "replace", before: "u", value: "v", certain: true},
		{name: "delete", before: "u"},
		{name: "replaced meanwhile", before: "u", value: "v", meanwhile: "w"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := between(t, shared(t))
			s := open(t, connect(t, w.addr), redisstore.Options{})
			direct := open(t, connect(t, shared(t)), redisstore.Options{})
			_, err := s.Swap(t.Context(), "warm", "", []byte("v")) // connected, and the script is there
			require.NoError(t, err)
			var old tokenstore.Version
			if tt.before != "" {
				old, err = s.Swap(t.Context(), "k", "", []byte(tt.before))
				require.NoError(t, err)
			}
			w.loseAnswer("EVALSHA")
			if tt.meanwhile != "" {
				w.loseAnswerThen("EVALSHA", func() {
					_, version, err := direct.Load(context.Background(), "k")
					if err == nil {
						_, err = direct.Swap(context.Background(), "k", version, []byte(tt.meanwhile))
					}
					if err != nil {
						t.Error(err)
					}
				})
			}
			version, err := s.Swap(t.Context(), "k", old, []byte(tt.value))
			value, at, loadErr := direct.Load(t.Context(), "k")
			if !tt.certain {
				require.Error(t, err)
				require.NotErrorIs(t, err, tokenstore.ErrConflict)
				require.Equal(t, tt.meanwhile, string(value))
				return
			}
			require.NoError(t, err)
			require.NoError(t, loadErr)
			require.Equal(t, tt.value, string(value))
			require.Equal(t, version, at)
		})
	}
}

func TestServerThatDoesNotAnswer(t *testing.T) {
	w := between(t, shared(t))
	client := redis.NewClient(&redis.Options{Addr: w.addr, ReadTimeout: 500 * time.Millisecond})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	s := open(t, client, redisstore.Options{})
	version, err := s.Swap(t.Context(), "k", "", []byte("v"))
	require.NoError(t, err)
	for name, call := range map[string]func(context.Context) error{
		"Load":  func(ctx context.Context) error { _, _, err := s.Load(ctx, "k"); return err },
		"Swap":  func(ctx context.Context) error { _, err := s.Swap(ctx, "k", "another", []byte("w")); return err },
		"Wait":  func(ctx context.Context) error { return s.Wait(ctx, "k", version) },
		"Probe": s.Probe,
		"Keys": func(ctx context.Context) (last error) {
			for _, last = range s.Keys(ctx, "") {
			}
			return last
		},
	} {
		t.Run(name, func(t *testing.T) {
			w.keepAnswers(true)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			began := time.Now()
			require.ErrorIs(t, call(ctx), context.DeadlineExceeded)
			require.Less(t, time.Since(began), 70*time.Millisecond)
			w.keepAnswers(false)
			value, _, err := s.Load(t.Context(), "k")
			require.NoError(t, err)
			require.Equal(t, "v", string(value))
		})
	}
}

// A pool with one connection, which somebody else has, is like a server that does not answer.
func TestExhaustedPool(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: shared(t), PoolSize: 1, PoolTimeout: 100 * time.Millisecond})
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	s := open(t, client, redisstore.Options{})
	conn := client.Conn()
	require.NoError(t, conn.Ping(t.Context()).Err())
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	began := time.Now()
	_, err := s.Swap(ctx, "k", "", []byte("v"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Less(t, time.Since(began), 70*time.Millisecond)

	_, err = s.Swap(t.Context(), "k", "", []byte("v"))
	var failed *redisstore.Error
	require.ErrorAs(t, err, &failed)
	require.ErrorIs(t, err, redis.ErrPoolTimeout)

	require.NoError(t, conn.Close())
	_, err = s.Swap(t.Context(), "k", "", []byte("v"))
	require.NoError(t, err)
}

func TestSwapUntil(t *testing.T) {
	client := connect(t, shared(t))
	s := open(t, client, redisstore.Options{Prefix: "until:"})
	life := func() time.Duration {
		left, err := client.PTTL(t.Context(), "until:k").Result()
		require.NoError(t, err)
		return left
	}
	version, err := s.SwapUntil(t.Context(), "k", "", []byte("v"), time.Now().Add(time.Hour))
	require.NoError(t, err)
	require.InDelta(t, 25*time.Hour, life(), float64(time.Minute), "a day later than the hour that was said")

	version, err = s.Swap(t.Context(), "k", version, []byte("w"))
	require.NoError(t, err)
	require.Equal(t, time.Duration(-1), life(), "a later Swap takes the end away")

	for _, past := range []time.Duration{time.Hour, 48 * time.Hour, 290 * 365 * 24 * time.Hour} {
		version, err = s.SwapUntil(t.Context(), "k", version, []byte("x"), time.Now().Add(-past))
		require.NoError(t, err)
		require.InDelta(t, 24*time.Hour, life(), float64(time.Minute), "what is written now is there for a day, however wrong the clock is")
	}
	version, err = s.SwapUntil(t.Context(), "k", version, []byte("y"), time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))
	require.NoError(t, err)
	require.Greater(t, life(), 99*365*24*time.Hour)

	require.NoError(t, client.PExpire(t.Context(), "until:k", time.Millisecond).Err())
	require.Eventually(t, func() bool {
		_, _, err := s.Load(t.Context(), "k")
		return err != nil
	}, time.Second, time.Millisecond)
	_, _, err = s.Load(t.Context(), "k")
	require.ErrorIs(t, err, tokenstore.ErrNotFound)
	_, err = s.Swap(t.Context(), "k", version, []byte("z"))
	require.ErrorIs(t, err, tokenstore.ErrConflict)
}

func TestKeysAmongOthers(t *testing.T) {
	client := connect(t, shared(t))
	s := open(t, client, redisstore.Options{Prefix: `a[b]*?\^-:`})
	other := open(t, client, redisstore.Options{Prefix: `ab*?\^-:`})
	for _, key := range []string{"x*/1", "x*/2", "xy/3"} {
		_, err := s.Swap(t.Context(), key, "", []byte("v"))
		require.NoError(t, err)
		_, err = other.Swap(t.Context(), key+" of the other", "", []byte("v"))
		require.NoError(t, err)
	}
	for prefix, want := range map[string][]string{
		"":      {"x*/1", "x*/2", "xy/3"},
		"x*":    {"x*/1", "x*/2"},
		"x*/1":  {"x*/1"},
		"nobod": nil,
	} {
		var got []string
		for key, err := range s.Keys(t.Context(), prefix) {
			require.NoError(t, err)
			got = append(got, key)
		}
		slices.Sort(got)
		require.Equal(t, want, got, prefix)
	}
}

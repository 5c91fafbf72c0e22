package redisstore_test

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore/redisstore"
)

// grant is as long as what the engine stores of a grant with three JWTs.
var grant = []byte(strings.Repeat("g", 2500))

// bareSource is the least script that is a compare-and-swap of a version and a value.
const bareSource = `
if redis.call('GETRANGE', KEYS[1], 0, 25) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1`

// pair is one Load and one Swap of a key, at the versions that they have come to.
type pair func(ctx context.Context) error

// throughStore goes through a Store.
func throughStore(b *testing.B, options redisstore.Options) pair {
	s := open(b, connect(b, shared(b)), options)
	k := rand.Text()
	_, err := s.Swap(b.Context(), k, "", grant)
	require.NoError(b, err)
	return func(ctx context.Context) error {
		value, version, err := s.Load(ctx, k)
		if err == nil {
			_, err = s.Swap(ctx, k, version, value)
		}
		return err
	}
}

// throughDriver has go-redis send the same two commands, with a new version each time.
func throughDriver(b *testing.B) pair {
	load, swap := throughDriverApart(b)
	return func(ctx context.Context) error {
		if err := load(ctx); err != nil {
			return err
		}
		return swap(ctx)
	}
}

func throughDriverApart(b *testing.B) (load, swap pair) {
	client := connect(b, shared(b))
	name := "bare:" + rand.Text()
	require.NoError(b, client.Set(b.Context(), name, rand.Text()+string(grant), 0).Err())
	hash, err := client.ScriptLoad(b.Context(), bareSource).Result()
	require.NoError(b, err)
	var stored string
	load = func(ctx context.Context) (err error) {
		stored, err = client.Get(ctx, name).Result()
		return err
	}
	swap = func(ctx context.Context) error {
		return client.EvalSha(ctx, hash, []string{name}, stored[:26], rand.Text()+stored[26:]).Err()
	}
	return load, swap
}

// leaving sends them so that a caller can leave when its context ends, which go-redis by itself does not do: in a goroutine
// of their own, as a Store must and every program that keeps such a promise.
func leaving(do pair) pair {
	return func(ctx context.Context) error {
		done := make(chan error, 1)
		go func() { done <- do(ctx) }()
		select {
		case err := <-done:
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func BenchmarkStoreLoadSwap(b *testing.B) { loop(b, throughStore(b, redisstore.Options{})) }
func BenchmarkStoreSealedLoadSwap(b *testing.B) {
	loop(b, throughStore(b, redisstore.Options{Key: key}))
}
func BenchmarkBareLoadSwap(b *testing.B) { loop(b, throughDriver(b)) }

func loop(b *testing.B, do pair) {
	for b.Loop() {
		if err := do(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStoreBesideBare takes turns, so that a busy machine is as busy for both, and reports medians and their ratios.
// With a context that can end, bare is a caller that can leave too; bare-that-stays is one that cannot.
func BenchmarkStoreBesideBare(b *testing.B) {
	b.Run("context without end", func(b *testing.B) { beside(b, context.Background(), throughDriver(b)) })
	b.Run("context with end", func(b *testing.B) {
		ctx, cancel := context.WithCancel(b.Context())
		defer cancel()
		load, swap := throughDriverApart(b)
		loadLeaving, swapLeaving := leaving(load), leaving(swap)
		beside(b, ctx, func(ctx context.Context) error { return errors.Join(loadLeaving(ctx), swapLeaving(ctx)) })
	})
}

func beside(b *testing.B, ctx context.Context, bare pair) {
	pairs := []pair{
		bare, throughStore(b, redisstore.Options{}), throughStore(b, redisstore.Options{Key: key, Prefix: "sealed "}), throughDriver(b),
	}
	took := make([][]time.Duration, len(pairs))
	for turn := 0; b.Loop(); turn++ {
		for i := range pairs {
			i = (i + turn) % len(pairs)
			began := time.Now()
			if err := pairs[i](ctx); err != nil {
				b.Fatal(err)
			}
			took[i] = append(took[i], time.Since(began))
		}
	}
	median := func(i int) float64 {
		slices.Sort(took[i])
		return float64(took[i][len(took[i])/2])
	}
	b.ReportMetric(median(0), "bare-ns")
	b.ReportMetric(median(1)/median(0), "store/bare")
	b.ReportMetric(median(2)/median(0), "sealed/bare")
	b.ReportMetric(median(1)/median(3), "store/bare-that-stays")
}

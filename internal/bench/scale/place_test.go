package scale_test

import (
	"context"
	"database/sql"
	"strconv"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/postgresd"
	"github.com/evergrant/evergrant/internal/redisd"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/redisstore"
	"github.com/evergrant/evergrant/tokenstore/seal"
	"github.com/evergrant/evergrant/tokenstore/sqlstore"
)

// Place is where the grants lie, in a form that a worker is told: one of the two is set.
type Place struct{ PostgreSQL, Redis string }

// place is a Place and what the test knows of it.
type place struct {
	Place
	Name  string
	bytes func(t *testing.T) int64 // that all grants take
}

// open opens the store, sealed, with what one process takes of the server; quick gives up durability, to fill it.
func (p Place) open(quick bool) (tokenstore.Store, func()) {
	key := seal.RawKey(make([]byte, 32))
	if p.Redis != "" {
		c := redis.NewClient(&redis.Options{Addr: p.Redis, PoolSize: perWorker})
		store, err := redisstore.New(c, redisstore.Options{Key: key})
		if err != nil {
			fail(err)
		}
		return store, func() { _ = c.Close() }
	}
	dsn, connections := p.PostgreSQL, 10
	if quick {
		dsn, connections = withOption(dsn, "synchronous_commit=off"), 32
	}
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		fail(err)
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	store, err := sqlstore.New(db, sqlstore.Options{Key: key})
	if err == nil && quick {
		err = store.Migrate(context.Background())
	}
	if err != nil {
		fail(err)
	}
	return store, func() { _ = db.Close() }
}

func withOption(dsn, option string) string {
	sign := "?"
	if strings.Contains(dsn, "?") {
		sign = "&"
	}
	return dsn + sign + option
}

func postgres(t *testing.T) *place {
	dsn := postgresd.Start(t, "fsync=on", "max_connections=200", "shared_buffers=1GB", "max_wal_size=8GB").DSN()
	return &place{Place{PostgreSQL: dsn}, "PostgreSQL", func(t *testing.T) int64 {
		db, err := sql.Open("pgx", dsn)
		require.NoError(t, err)
		defer db.Close()
		_, err = db.Exec(`VACUUM ANALYZE evergrant_grants`)
		require.NoError(t, err)
		var n int64
		require.NoError(t, db.QueryRow(`SELECT pg_total_relation_size('evergrant_grants')`).Scan(&n))
		return n
	}}
}

func redisServer(t *testing.T) *place {
	address := redisd.Start(t, "appendonly yes", "appendfsync everysec").Addr
	return &place{Place{Redis: address}, "Redis", func(t *testing.T) int64 {
		c := redis.NewClient(&redis.Options{Addr: address})
		defer c.Close()
		info, err := c.Info(t.Context(), "memory").Result()
		require.NoError(t, err)
		for line := range strings.Lines(info) {
			if number, ok := strings.CutPrefix(line, "used_memory:"); ok {
				n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
				require.NoError(t, err)
				return n
			}
		}
		t.Fatal("Redis does not say how much memory it uses")
		return 0
	}}
}

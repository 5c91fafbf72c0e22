package replicas_test

import (
	"database/sql"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib" // the driver "pgx"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/postgresd"
	"github.com/evergrant/evergrant/internal/redisd"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/redisstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore"
	"github.com/evergrant/evergrant/tokenstore/sqlstore/pgxlisten"
)

// connections is how many a process has to its database. PostgreSQL allows for a hundred in all.
const connections = 5

// place is where the store of all processes lies. One of the two is set.
type place struct {
	PostgreSQL string // the address of the database
	Redis      string // host:port
}

// store is what the stores of many machines can do.
type store interface {
	tokenstore.Store
	tokenstore.Waiter
	tokenstore.Expirer
}

// atPostgreSQL is a server that is told to restart, and does.
func atPostgreSQL(t *testing.T) (at place, restart func() error) {
	server := postgresd.Start(t)
	at = place{PostgreSQL: server.DSN()}
	s, closeStore, err := at.open()
	require.NoError(t, err)
	require.NoError(t, s.(*sqlstore.Store).Migrate(t.Context()))
	require.NoError(t, closeStore())
	return at, server.Restart
}

// atRedis is a server that keeps what it has said it has, and is killed and started again.
func atRedis(t *testing.T) (at place, restart func() error) {
	server := redisd.Start(t, "appendonly yes", "appendfsync always")
	return place{Redis: server.Addr}, server.Restart
}

func (p place) open() (store, func() error, error) {
	if p.Redis != "" {
		db := redis.NewClient(&redis.Options{Addr: p.Redis, PoolSize: connections, PoolTimeout: patience})
		s, err := redisstore.New(db, redisstore.Options{Plaintext: true})
		return s, db.Close, err
	}
	db, err := sql.Open("pgx", p.PostgreSQL)
	if err != nil {
		return nil, nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	s, err := sqlstore.New(db, sqlstore.Options{Plaintext: true, Listener: pgxlisten.On(db)})
	return s, db.Close, err
}

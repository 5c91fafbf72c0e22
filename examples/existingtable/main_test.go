package main

import (
	"bytes"
	"context"
	"database/sql"
	"net/http"
	"net/http/cookiejar"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/examples/internal/demo"
	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// existing is a database as the service has it.
func existing(t testing.TB, path string, accounts ...string) *sql.DB {
	db, err := open(path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	_, err = db.Exec(`CREATE TABLE IF NOT EXISTS accounts (name TEXT PRIMARY KEY, oauth_grant BLOB)`)
	require.NoError(t, err)
	for _, name := range accounts {
		_, err = db.Exec(`INSERT INTO accounts (name) VALUES (?)`, name)
		require.NoError(t, err)
	}
	return db
}

// accountOf makes an account of any key: the suite's keys are not those of a Client.
type accountOf struct{ *table }

func (s accountOf) Load(ctx context.Context, key string) ([]byte, tokenstore.Version, error) {
	return s.table.Load(ctx, tokenstore.Key("https://op.example", "app", key))
}

func (s accountOf) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	return s.table.Swap(ctx, tokenstore.Key("https://op.example", "app", key), old, value)
}

func TestTable_keepsTheContract(t *testing.T) {
	storetest.Run(t, func(t testing.TB) tokenstore.Store {
		db := existing(t, filepath.Join(storetest.Place(t), "accounts.db"))
		return accountOf{newTable(db, "https://op.example", "app")}
	})
}

func TestTable_refusesOtherPeoplesKeys(t *testing.T) {
	store := newTable(existing(t, filepath.Join(t.TempDir(), "accounts.db")), "https://op.example", "app")
	for _, key := range []string{"", "alice", tokenstore.Key("https://op.example", "another", "alice"), tokenstore.Key("https://evil.example", "app", "alice")} {
		_, _, err := store.Load(t.Context(), key)
		require.Error(t, err)
		require.NotErrorIs(t, err, tokenstore.ErrNotFound)
		_, err = store.Swap(t.Context(), key, "", []byte("v"))
		require.Error(t, err)
	}
}

func TestJob_callsForWhoeverHasAGrant(t *testing.T) {
	p, err := demo.StartProvider(300*time.Second, nil)
	require.NoError(t, err)
	defer p.Close()
	api := demo.StartAPI(p)
	defer api.Close()
	db := existing(t, filepath.Join(t.TempDir(), "accounts.db"), "alice", "bob")
	config := client.Config{Issuer: p.Issuer, ClientID: demo.ClientID, Scopes: []string{"openid", "offline_access"}}

	var out bytes.Buffer
	require.NoError(t, run(t.Context(), &out, db, config, api.URL))
	require.Empty(t, out.String(), "nobody has logged in")

	login(t, db, config, "alice")
	for range 3 {
		p.RevokeAccessTokens()
		out.Reset()
		require.NoError(t, run(t.Context(), &out, db, config, api.URL))
		require.Equal(t, "alice: {\"name\":\"alice\"}\n\n", out.String())
	}
	require.Equal(t, demo.Counts{Logins: 1, Renewals: 3}, p.Counts())
}

// login is what the service's website does when a person connects an account.
func login(t *testing.T, db *sql.DB, config client.Config, name string) {
	config.Store = newTable(db, config.Issuer, config.ClientID)
	c, err := client.New(config)
	require.NoError(t, err)
	defer func() { require.NoError(t, c.Close(t.Context())) }()
	require.NoError(t, c.Session(name).Login(t.Context(), client.Browser{Open: func(address string) error {
		jar, err := cookiejar.New(nil)
		require.NoError(t, err)
		return demo.SignIn(t.Context(), &http.Client{Jar: jar}, address)
	}}))
}

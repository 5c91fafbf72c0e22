package crew

import (
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/leeway"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/tokenstore"
)

// Account is the person's at the provider, and the key of her session.
const Account = "alice"

// Server is how a crew reaches its authorization server, as a public client.
type Server struct {
	Issuer      string          // empty: Endpoint says everything
	Endpoint    oauth2.Endpoint // over what is discovered
	ClientID    string
	Scopes      []string
	RedirectURL string
	API         string // an address that wants a token
}

// Config is the configuration of a client over store.
func (s Server) Config(store tokenstore.Store) client.Config {
	return client.Config{
		Issuer: s.Issuer, Endpoint: s.Endpoint, ClientID: s.ClientID, Scopes: s.Scopes, RedirectURL: s.RedirectURL,
		Store: store,
	}
}

// Session is a session of this process, of the account that the workers use too.
func (s Server) Session(t testing.TB, store Store) *client.Session {
	t.Helper()
	c, err := client.New(s.Config(store))
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		require.NoError(t, c.Close(ctx))
	})
	return c.Session(Account)
}

// StoreKey is the key of that session's record.
func (s Server) StoreKey() string {
	issuer := s.Issuer
	if issuer == "" {
		issuer = s.Endpoint.TokenURL
	}
	return tokenstore.Key(issuer, s.ClientID, Account)
}

// Site is a running authorization server with its API, and the person who has an account there.
type Site struct {
	Server
	Address   string // of the provider itself, host:port
	TokenPath string // of the token endpoint there; it ends in /token

	provider interface {
		SignIn(authorizationURL, account string) *url.URL
		Log() []ledger.TokenRequest
	}
}

// AtOIDCProvider is p, for its native client.
func AtOIDCProvider(p *oidcprovider.Provider) Site {
	return Site{
		Server: Server{
			Issuer: p.Issuer, ClientID: oidcprovider.Native, Scopes: []string{"openid", "offline_access"},
			RedirectURL: oidcprovider.Callback, API: p.API(),
		},
		Address: p.Address, TokenPath: "/token", provider: p,
	}
}

// AtLeeway is p, for its one client.
func AtLeeway(p *leeway.Provider) Site {
	return Site{
		Server: Server{
			Endpoint: p.Endpoint(), ClientID: leeway.ClientID, Scopes: []string{leeway.Scope},
			RedirectURL: leeway.Callback, API: p.API(),
		},
		Address: p.Address, TokenPath: p.TokenPath(), provider: p,
	}
}

// Behind is s with its token endpoint reached through the proxy at address, host:port; everything else stays.
func (s Site) Behind(address string) Site {
	s.Endpoint.TokenURL = "http://" + address + s.TokenPath
	return s
}

// SignIn logs the person in as a web backend does.
func (s Site) SignIn(t testing.TB, session *client.Session) {
	t.Helper()
	pending, err := session.Start(t.Context(), client.AuthCode{Params: url.Values{"prompt": {"consent"}}})
	require.NoError(t, err)
	callback := s.provider.SignIn(pending.URL, Account)
	require.NoError(t, session.Finish(t.Context(), pending, callback.Query()))
}

// Log is the ledger of all token requests.
func (s Site) Log() []ledger.TokenRequest { return s.provider.Log() }

// Refreshes are the ledger's lines about refresh tokens.
func (s Site) Refreshes() []ledger.TokenRequest { return ledger.Refreshes(s.Log()) }

package processes_test

import (
	"net/url"
	"testing"
	"time"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
)

// strict is a provider whose access tokens live for two seconds, and whose grants end when a refresh token comes twice.
func strict(t *testing.T) *oidcprovider.Provider {
	t.Helper()
	return oidcprovider.Start(t, oidcprovider.Config{Rotate: true, AccessTokenLife: 2 * time.Second})
}

// serverOf is how a crew reaches p.
func serverOf(p *oidcprovider.Provider) crew.Server {
	return crew.Server{
		Issuer: p.Issuer, ClientID: oidcprovider.Native, Scopes: []string{"openid", "offline_access"},
		RedirectURL: oidcprovider.Callback, API: p.API(),
	}
}

// newCrew has somebody logged in at p, and no workers yet.
func newCrew(t *testing.T, p *oidcprovider.Provider, at crew.Place) *crew.Crew {
	t.Helper()
	return crew.New(t, serverOf(p), at, person(p))
}

// person signs in at p.
func person(p *oidcprovider.Provider) func(address string) *url.URL {
	return func(address string) *url.URL { return p.SignIn(address, "alice") }
}

func signIn(t *testing.T, p *oidcprovider.Provider, s *client.Session) {
	t.Helper()
	crew.SignIn(t, s, person(p))
}

// refreshes are the ledger's lines about refresh tokens.
func refreshes(p *oidcprovider.Provider) []ledger.TokenRequest { return ledger.Refreshes(p.Log()) }

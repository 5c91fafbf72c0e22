package fleet_test

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/djangooauth"
	"github.com/evergrant/evergrant/internal/e2e/doorkeeper"
	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
)

const (
	tokenLife = 2 * time.Second
	grace     = 10 * time.Second
)

// server is a running authorization server.
type server struct {
	crew.Server
	provider
	address string // of the provider itself, host:port
}

// provider is what the starters of authorization servers give.
type provider interface {
	SignIn(authorizationURL, account string) *url.URL
	Log() []ledger.TokenRequest
}

// servers are the kinds of servers, from those that forgive nothing to those that forgive a lost answer for a while.
var servers = []struct {
	name   string
	window time.Duration // how long a spent token is taken while its successors are not used
	start  func(t *testing.T) server
}{
	{"strict", 0, func(t *testing.T) server {
		p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true, AccessTokenLife: tokenLife})
		return server{
			Server: crew.Server{
				Endpoint: oauth2.Endpoint{AuthURL: p.Issuer + "/auth", TokenURL: p.Issuer + "/token", AuthStyle: oauth2.AuthStyleInParams},
				ClientID: oidcprovider.Native, Scopes: []string{"openid", "offline_access"}, RedirectURL: oidcprovider.Callback, API: p.API(),
			},
			provider: p, address: p.Address,
		}
	}},
	{"until a grace period ends", grace, func(t *testing.T) server {
		p := djangooauth.Start(t, djangooauth.Config{AccessTokenLife: tokenLife, Grace: grace})
		return server{
			Server: crew.Server{
				Endpoint: p.Endpoint(), ClientID: djangooauth.ClientID, Scopes: []string{djangooauth.Scope},
				RedirectURL: djangooauth.Callback, API: p.API(),
			},
			provider: p, address: p.Address,
		}
	}},
	{"until a successor is used", forever, func(t *testing.T) server {
		p := doorkeeper.Start(t, doorkeeper.Config{AccessTokenLife: tokenLife})
		return server{
			Server: crew.Server{
				Endpoint: p.Endpoint(), ClientID: doorkeeper.ClientID, Scopes: []string{doorkeeper.Scope},
				RedirectURL: doorkeeper.Callback, API: p.API(),
			},
			provider: p, address: p.Address,
		}
	}},
}

// behind is s with its token endpoint reached through the proxy at address; everything else stays.
func (s server) behind(address string) server {
	s.Endpoint.TokenURL = strings.Replace(s.Endpoint.TokenURL, s.address, address, 1)
	return s
}

package fleet_test

import (
	"testing"
	"time"

	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/leeway"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
)

const (
	tokenLife = 2 * time.Second
	grace     = 10 * time.Second
)

// servers are the kinds of servers, from those that forgive nothing to those that forgive a lost answer for a while.
var servers = []struct {
	name   string
	window time.Duration // how long a spent token is taken while its successors are not used
	start  func(t *testing.T) crew.Site
}{
	{"strict", 0, func(t *testing.T) crew.Site {
		return crew.AtOIDCProvider(oidcprovider.Start(t, oidcprovider.Config{Rotate: true, AccessTokenLife: tokenLife}))
	}},
	{"until a grace period ends", grace, func(t *testing.T) crew.Site {
		return crew.AtLeeway(leeway.Django{AccessTokenLife: tokenLife, Grace: grace}.Start(t))
	}},
	{"until a successor is used", forever, func(t *testing.T) crew.Site {
		return crew.AtLeeway(leeway.Doorkeeper{AccessTokenLife: tokenLife}.Start(t))
	}},
}

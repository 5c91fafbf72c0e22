package faults_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/leeway"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/internal/e2e/tcpproxy"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

// scene is a crew of hands with somebody's grant, whose token requests go through a proxy.
type scene struct {
	*crew.Crew
	t     *testing.T
	proxy *tcpproxy.Proxy
}

func newScene(t *testing.T, site crew.Site, at crew.Place) *scene {
	t.Helper()
	proxy := tcpproxy.Start(t)
	proxy.To(site.Address)
	s := &scene{t: t, proxy: proxy, Crew: crew.New(t, site.Behind(proxy.Address), at)}
	s.Task.Act = obeys
	return s
}

// strictScene is one at a provider that ends a grant when a refresh token comes twice.
func strictScene(t *testing.T, at crew.Place, life time.Duration) (*scene, *oidcprovider.Provider) {
	t.Helper()
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true, AccessTokenLife: life})
	return newScene(t, crew.AtOIDCProvider(p), at), p
}

// lenientScene is one at a provider that gives the same tokens again to a refresh token that comes twice, for a while.
func lenientScene(t *testing.T, at crew.Place) *scene {
	t.Helper()
	return newScene(t, crew.AtLeeway(leeway.Django{Grace: 2 * time.Minute}.Start(t)), at)
}

// hire starts a hand that has a token already, whose token requests take up to slow to leave.
func (s *scene) hire(slow time.Duration) *hand {
	s.t.Helper()
	s.Task.Slow = slow
	h := s.newHand()
	s.requireServed(h)
	return h
}

// newHand starts a hand that has done nothing yet.
func (s *scene) newHand() *hand {
	s.t.Helper()
	return &hand{Worker: s.Hire(), t: s.t}
}

// requireServed wants the API to answer the hands.
func (s *scene) requireServed(hands ...*hand) {
	s.t.Helper()
	for _, h := range hands {
		h.tell(call + " " + s.Site.API)
		e := h.outcome()
		require.Equal(s.t, crew.Called, e.Name, e.Detail)
	}
}

// requireAlive wants the hands to be served, and to renew, each twice: the grant goes on with all of them.
func (s *scene) requireAlive(hands ...*hand) {
	s.t.Helper()
	s.requireServed(hands...)
	for range 2 {
		for _, h := range hands {
			h.tell(renew)
			h.requireRenewed()
		}
		s.requireServed(hands...)
	}
}

// hold holds the next token request, or its answer, at the gate that it returns.
func (s *scene) hold(do tcpproxy.Action) *tcpproxy.Gate {
	gate := tcpproxy.NewGate()
	s.proxy.Next(tcpproxy.Rule{Match: "POST " + s.Site.TokenPath + " ", Do: do, Gate: gate})
	return gate
}

// awaitMet waits until something is held at the gate.
func (s *scene) awaitMet(gate *tcpproxy.Gate) {
	s.t.Helper()
	select {
	case <-gate.Met():
	case <-time.After(patient):
		require.Fail(s.t, "no token request has come")
	}
}

// stored is the record in the store, nil if there is none.
func (s *scene) stored() *record.Record {
	s.t.Helper()
	data, _, err := s.Store.Load(s.t.Context(), s.Site.StoreKey())
	if errors.Is(err, tokenstore.ErrNotFound) {
		return nil
	}
	require.NoError(s.t, err)
	r, err := record.Decode(data)
	require.NoError(s.t, err)
	return r
}

// refreshes are the ledger's lines about refresh tokens.
func (s *scene) refreshes() []ledger.TokenRequest { return s.Site.Refreshes() }

// requireSpentOnce wants every refresh token to have been presented once, and served.
func (s *scene) requireSpentOnce() {
	s.t.Helper()
	ledger.RequireSpentOnce(s.t, s.refreshes())
}

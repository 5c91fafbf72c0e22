package faults_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/djangooauth"
	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/internal/e2e/tcpproxy"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

const account = "alice"

// scene is somebody's grant at a provider whose token endpoint lies behind a proxy.
type scene struct {
	*crew.Crew
	t     *testing.T
	proxy *tcpproxy.Proxy
	match string // how token requests begin
	log   func() []ledger.TokenRequest
}

// strictScene is one at a provider that ends a grant when a refresh token comes twice.
func strictScene(t *testing.T, at crew.Place, life time.Duration) (*scene, *oidcprovider.Provider) {
	t.Helper()
	proxy := tcpproxy.Start(t)
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true, Issuer: proxy.URL(), AccessTokenLife: life})
	proxy.To(p.Address)
	s := &scene{t: t, proxy: proxy, match: "POST /token ", log: p.Log}
	s.Crew = crew.New(t, crew.Server{
		Issuer: p.Issuer, ClientID: oidcprovider.Native, Scopes: []string{"openid", "offline_access"},
		RedirectURL: oidcprovider.Callback, API: p.API(),
	}, at, func(address string) *url.URL { return p.SignIn(address, account) })
	s.Task.Act = obeys
	return s, p
}

// lenientScene is one at a provider that gives the same tokens again to a refresh token that comes twice, for a while.
func lenientScene(t *testing.T, at crew.Place) *scene {
	t.Helper()
	proxy := tcpproxy.Start(t)
	p := djangooauth.Start(t, djangooauth.Config{Grace: 2 * time.Minute})
	proxy.To(p.Address)
	endpoint := p.Endpoint()
	endpoint.TokenURL = strings.Replace(endpoint.TokenURL, p.Address, proxy.Address, 1)
	s := &scene{t: t, proxy: proxy, match: "POST /o/token ", log: p.Log}
	s.Crew = crew.New(t, crew.Server{
		Endpoint: endpoint, ClientID: djangooauth.ClientID, Scopes: []string{djangooauth.Scope},
		RedirectURL: djangooauth.Callback, API: p.API(),
	}, at, func(address string) *url.URL { return p.SignIn(address, account) })
	s.Task.Act = obeys
	return s
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
	s.Crew.Hire()
	return &hand{Worker: s.All[len(s.All)-1], t: s.t}
}

// requireServed wants the API to answer the hands.
func (s *scene) requireServed(hands ...*hand) {
	s.t.Helper()
	for _, h := range hands {
		h.tell(call + " " + s.Task.Server.API)
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
	s.proxy.Next(tcpproxy.Rule{Match: s.match, Do: do, Gate: gate})
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
	return stored(s.t, s.Store, s.Task.Server.StoreKey())
}

// refreshes are the ledger's lines about refresh tokens.
func (s *scene) refreshes() []ledger.TokenRequest { return ledger.Refreshes(s.log()) }

// requireSpentOnce wants every refresh token to have been presented once, and served.
func (s *scene) requireSpentOnce() {
	s.t.Helper()
	presented := map[string]bool{}
	for _, line := range s.refreshes() {
		assert.Equal(s.t, 200, line.Status, line.Error)
		assert.False(s.t, line.Reuse)
		assert.False(s.t, presented[line.Presented], "a refresh token was presented twice")
		presented[line.Presented] = true
	}
	require.False(s.t, s.t.Failed())
}

func stored(t *testing.T, from tokenstore.Store, key string) *record.Record {
	t.Helper()
	data, _, err := from.Load(t.Context(), key)
	if errors.Is(err, tokenstore.ErrNotFound) {
		return nil
	}
	require.NoError(t, err)
	r, err := record.Decode(data)
	require.NoError(t, err)
	return r
}

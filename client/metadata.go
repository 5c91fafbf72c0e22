package client

import (
	"context"
	"sync"
	"time"

	"github.com/evergrant/evergrant/internal/authserver"
)

// metadataLife is how long discovered metadata is believed. Endpoints seldom move; the answer is
// asked for again after it, and when an endpoint turns out to be gone.
const metadataLife = time.Hour

// metadataCache holds what an issuer says of itself, with the configured endpoints laid over it.
type metadataCache struct {
	flight chan struct{} // capacity 1: held by whoever asks the issuer

	mu    sync.Mutex
	known *authserver.Metadata // guarded by mu
	until time.Duration        // guarded by mu; on the monotonic clock
}

// get returns metadata that is young enough, or asks the issuer. While the issuer cannot be asked,
// what it said before still holds.
func (m *metadataCache) get(ctx context.Context, c *Client) (*authserver.Metadata, error) {
	if c.config.Issuer == "" {
		return c.overlay(&authserver.Metadata{}), nil
	}
	select {
	case m.flight <- struct{}{}:
		defer func() { <-m.flight }()
	case <-ctx.Done():
		return nil, ended(ctx)
	}
	known, fresh := m.look(c)
	if fresh {
		return known, nil
	}
	found, err := authserver.Discover(ctx, c.http, c.config.Issuer)
	if err != nil {
		if known != nil {
			return known, nil
		}
		return nil, c.fail("discover", "", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.known, m.until = c.overlay(found), c.machine.Now().Mono+metadataLife
	return m.known, nil
}

func (m *metadataCache) look(c *Client) (known *authserver.Metadata, fresh bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known, m.known != nil && c.machine.Now().Mono < m.until
}

// expire has the issuer asked again before the next use.
func (m *metadataCache) expire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.until = 0
}

// overlay lays the configured endpoints over discovered ones.
func (c *Client) overlay(m *authserver.Metadata) *authserver.Metadata {
	if c.config.ClientCertificate != nil {
		m = m.WithAliases()
	}
	for _, o := range []struct {
		given string
		field *string
	}{
		{c.config.Endpoint.AuthURL, &m.AuthorizationEndpoint},
		{c.config.Endpoint.TokenURL, &m.TokenEndpoint},
		{c.config.Endpoint.DeviceAuthURL, &m.DeviceAuthorizationEndpoint},
		{c.config.RevocationURL, &m.RevocationEndpoint},
	} {
		if o.given != "" {
			*o.field = o.given
		}
	}
	return m
}

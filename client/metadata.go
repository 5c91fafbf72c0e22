package client

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/evergrant/evergrant/internal/authserver"
)

// metadataPause is for how long an issuer is not asked again: after it has failed to answer, while what it said before
// still holds, and after it has answered, whatever goes wrong at its endpoints.
const metadataPause = time.Minute

// metadataCache holds what an issuer says of itself, with the configured endpoints laid over it.
type metadataCache struct {
	flight chan struct{} // capacity 1: held by whoever asks the issuer

	mu     sync.Mutex
	known  *authserver.Metadata // guarded by mu
	asked  time.Duration        // guarded by mu; when known was received, on the monotonic clock
	until  time.Duration        // guarded by mu; how long known is believed, on the monotonic clock
	failed int                  // guarded by mu; how often the issuer was asked in vain
	err    error                // guarded by mu; the last failure
}

// get returns metadata that is young enough, or asks the issuer. While the issuer cannot be asked,
// what it said before still holds. A failure is shared by all who have waited for it.
func (m *metadataCache) get(ctx context.Context, c *Client) (*authserver.Metadata, error) {
	if c.config.Issuer == "" {
		return c.overlay(&authserver.Metadata{}), nil
	}
	failures, _ := m.failure()
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
	if now, err := m.failure(); now != failures {
		return nil, err
	}
	found, err := authserver.Discover(ctx, c.http, c.config.Issuer)
	if e, ok := errors.AsType[*authserver.DiscoveryError](err); ok && known == nil && e.IsAbsent() && c.config.Endpoint.TokenURL != "" {
		found, err = &authserver.Metadata{Issuer: c.config.Issuer, Life: metadataPause}, nil // the Config says it all
	}
	if err != nil {
		err = c.fail("discover", "", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := c.machine.Now().Mono
	switch {
	case err == nil:
		m.known, m.asked, m.until = c.overlay(found), now, now+found.Life
		return m.known, nil
	case known != nil:
		m.until = now + metadataPause
		return known, nil
	case ctx.Err() == nil: // else it is this caller's alone
		m.failed, m.err = m.failed+1, err
	}
	return nil, err
}

func (m *metadataCache) look(c *Client) (known *authserver.Metadata, fresh bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known, m.known != nil && c.machine.Now().Mono < m.until
}

func (m *metadataCache) failure() (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.failed, m.err
}

// expire has the issuer asked again before the next use: an endpoint may have moved. Not if it was asked a moment ago.
func (m *metadataCache) expire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.until = min(m.until, m.asked+metadataPause)
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

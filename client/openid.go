package client

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/evergrant/evergrant/internal/authserver"
)

// withOpenID is m with what the same issuer says of itself as an OpenID provider. Some say at RFC 8414's address what
// concerns OAuth and nothing else; the other document is fetched only when member, which is needed of m, is empty. What m says
// goes before it. A member that neither has stays empty.
func (c *Client) withOpenID(ctx context.Context, m *authserver.Metadata, member string) (*authserver.Metadata, error) {
	if member != "" || m.Issuer == "" || m.OfOpenID {
		return m, nil
	}
	other, err := c.metadata.getOpenID(ctx, c, m.Issuer)
	if err != nil {
		return nil, err
	}
	return m.WithOpenID(other), nil
}

// withKeys is m with the address of the keys that its id tokens are checked with. The error is a *keysError, unless the server names an
// address that cannot be used: a server without any is believed for its TLS, one that signs by keys out of reach is not.
func (c *Client) withKeys(ctx context.Context, m *authserver.Metadata) (*authserver.Metadata, error) {
	whole, err := c.withOpenID(ctx, m, m.KeysURI)
	if err != nil {
		return nil, &keysError{err}
	}
	if err := whole.Unusable("jwks_uri"); err != nil && whole.KeysURI == "" {
		return nil, fmt.Errorf("%w: %w", ErrIDToken, err)
	}
	return whole, nil
}

// getOpenID returns the OpenID document of issuer; an empty one if there is none.
func (m *metadataCache) getOpenID(ctx context.Context, c *Client, issuer string) (*authserver.Metadata, error) {
	m.openID.mu.Lock()
	if known := m.openID.known; known != nil && known.Issuer != issuer {
		m.openID.known = nil
	}
	m.openID.mu.Unlock()
	return m.openID.get(ctx, c, func(ctx context.Context) (*authserver.Metadata, time.Duration, error) {
		found, err := authserver.DiscoverOpenID(ctx, c.http, issuer)
		if e, ok := errors.AsType[*authserver.DiscoveryError](err); ok && e.IsAnswered() {
			return &authserver.Metadata{Issuer: issuer}, metadataPause, nil
		}
		if err != nil {
			return nil, 0, err
		}
		if c.config.ClientCertificate != nil {
			found = found.WithAliases()
		}
		return found, found.Life, nil
	})
}

// expire has everything asked again that the issuer says: an endpoint may have moved.
func (m *metadataCache) expire() {
	m.document.expire()
	m.openID.expire()
}

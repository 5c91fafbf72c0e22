package client

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/evergrant/evergrant/internal/authserver"
)

// metadataPause is for how long an issuer is not asked again: after it has failed to answer, while what it said before
// still holds, and after it has answered, whatever goes wrong at its endpoints.
const metadataPause = time.Minute

const (
	discoveryLimit = 30 * time.Second // for all addresses of a document, in a renewal as anywhere else
	refetchLimit   = 5 * time.Second  // where what it said before still holds
)

// document is what somebody says of himself, kept for as long as he says.
type document[T any] struct {
	flight chan struct{} // capacity 1: held by whoever asks

	mu     sync.Mutex
	known  *T            // guarded by mu
	asked  time.Duration // guarded by mu; when known was received, on the monotonic clock
	until  time.Duration // guarded by mu; how long known is believed, on the monotonic clock
	failed int           // guarded by mu; how often it was asked for in vain
	inVain int           // guarded by mu; how often since it was had
	pause  time.Duration // guarded by mu; when lately lets it be asked for again, on the monotonic clock
	err    error         // guarded by mu; the last failure
}

// get returns a document that is young enough, or fetches it. While it cannot be had, what was said before still
// holds. A failure is shared by all who have waited for it.
func (d *document[T]) get(ctx context.Context, c *Client, fetch func(context.Context) (*T, time.Duration, error)) (*T, error) {
	if known, fresh := d.look(c); fresh {
		return known, nil
	}
	failures, _ := d.failure()
	select {
	case d.flight <- struct{}{}:
		defer func() { <-d.flight }()
	case <-ctx.Done():
		return nil, ended(ctx)
	}
	known, fresh := d.look(c)
	if fresh {
		return known, nil
	}
	if now, err := d.failure(); now != failures {
		return nil, err
	}
	limit := discoveryLimit
	if known != nil {
		limit = refetchLimit
	}
	within, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	found, life, err := fetch(within)
	if err != nil {
		err = c.fail("discover", "", err)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	now := c.machine.Now().Mono
	switch {
	case err == nil:
		d.known, d.asked, d.until, d.inVain = found, now, now+life, 0
		return d.known, nil
	case known != nil:
		d.until = now + metadataPause
		return known, nil
	case ctx.Err() == nil: // else it is this caller's alone
		d.pause = now + c.jitter(min(backoffFirst<<min(d.inVain, 10), backoffMost))
		d.failed, d.inVain, d.err = d.failed+1, d.inVain+1, err
	}
	return nil, err
}

// lately is the last failure while its backoff lasts, for who would ask again at every request.
func (d *document[T]) lately(c *Client) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known != nil || c.machine.Now().Mono >= d.pause {
		return nil
	}
	return d.err
}

func (d *document[T]) look(c *Client) (known *T, fresh bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known, d.known != nil && c.machine.Now().Mono < d.until
}

func (d *document[T]) failure() (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.failed, d.err
}

// expire has it fetched again before the next use: it may have changed. Not if it was fetched a moment ago.
func (d *document[T]) expire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until = min(d.until, d.asked+metadataPause)
}

// forget drops known, if that is still what is known.
func (d *document[T]) forget(known *T) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.known == known {
		d.known = nil
	}
}

// metadataCache holds what an issuer says of itself, with the configured endpoints laid over it.
type metadataCache struct {
	document[authserver.Metadata]
	openID document[authserver.Metadata] // of the issuer as an OpenID provider, where that is another one
}

// get returns the metadata of the issuer.
func (m *metadataCache) get(ctx context.Context, c *Client) (*authserver.Metadata, error) {
	issuer := c.config.Issuer
	if g, err := c.guard(ctx); err != nil {
		return nil, err
	} else if g != nil {
		issuer = g.issuer
	}
	if issuer == "" {
		return c.overlay(&authserver.Metadata{}), nil
	}
	known, err := m.ask(ctx, c, issuer, authserver.Discover)
	if err == nil && known.Issuer != issuer {
		m.forget(known) // of the one that has guarded the resource before
		known, err = m.ask(ctx, c, issuer, authserver.Discover)
	}
	if err == nil && known.Issuer != issuer {
		return nil, errMoved
	}
	return known, err
}

// spelling is how the metadata of an issuer that a resource lists spells it. What has a path has one spelling.
func (m *metadataCache) spelling(ctx context.Context, c *Client, listed string) (string, error) {
	if !authserver.IsRoot(listed) {
		return listed, nil
	}
	known, err := m.ask(ctx, c, listed, authserver.DiscoverListed)
	if err == nil && !authserver.IsSpelling(known.Issuer, listed) {
		m.forget(known) // of the one that has guarded the resource before
		known, err = m.ask(ctx, c, listed, authserver.DiscoverListed)
	}
	if err != nil {
		return "", err
	}
	if !authserver.IsSpelling(known.Issuer, listed) {
		return "", errMoved
	}
	return known.Issuer, nil
}

// ask returns the metadata that is known, of whomever, or that of issuer.
func (m *metadataCache) ask(ctx context.Context, c *Client, issuer string, discover func(context.Context, *http.Client, string) (*authserver.Metadata, error)) (*authserver.Metadata, error) {
	return m.document.get(ctx, c, func(ctx context.Context) (*authserver.Metadata, time.Duration, error) {
		known, _ := m.look(c)
		found, err := discover(ctx, c.http, issuer)
		if e, ok := errors.AsType[*authserver.DiscoveryError](err); ok && known == nil && e.IsAbsent() && c.config.Endpoint.TokenURL != "" {
			found, err = &authserver.Metadata{Issuer: issuer, Life: metadataPause}, nil // the Config says it all
		}
		if err != nil {
			return nil, 0, err
		}
		if found = c.overlay(found); found.TokenEndpoint == "" {
			err = found.Lacks("token_endpoint") // for clients with a certificate
		}
		return found, found.Life, err
	})
}

// overlay lays the configured endpoints over discovered ones, and those of the profile under them.
func (c *Client) overlay(m *authserver.Metadata) *authserver.Metadata {
	if c.config.ClientCertificate != nil {
		m = m.WithAliases()
	}
	over, under := &c.config, c.profile
	m.AuthorizationEndpoint = cmp.Or(over.Endpoint.AuthURL, m.AuthorizationEndpoint, under.Endpoint.AuthURL)
	m.TokenEndpoint = cmp.Or(over.Endpoint.TokenURL, m.TokenEndpoint, under.Endpoint.TokenURL)
	m.DeviceAuthorizationEndpoint = cmp.Or(over.Endpoint.DeviceAuthURL, m.DeviceAuthorizationEndpoint, under.Endpoint.DeviceAuthURL)
	m.RevocationEndpoint = cmp.Or(over.RevocationURL, m.RevocationEndpoint, under.RevocationURL)
	return m
}

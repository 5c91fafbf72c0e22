package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/origin"
	"github.com/evergrant/evergrant/internal/secret"
	"github.com/evergrant/evergrant/internal/words"
	"github.com/evergrant/evergrant/transport"
)

// issuersMost is how many authorization servers of a resource are looked at.
const issuersMost = 4

// protected is the resource of a Config that leaves everything else to it (RFC 9728).
type protected struct {
	document[guarded]
	now atomic.Pointer[guarded] // as last heard; nil: not yet
}

// guarded is what a resource says of itself. It is immutable.
type guarded struct {
	issuer     string
	identifier string   // as the resource spells itself
	scopes     []string // to be asked for where the Config names none
	algorithms []string // that it takes DPoP proofs by; nil: it does not say
}

// prepareResource has the Client ask nobody but public places, unless the Config says otherwise, and send tokens to the
// resource alone.
func (c *Client) prepareResource(config Config) error {
	c.protected = &protected{document: document[guarded]{flight: make(chan struct{}, 1)}}
	var err error
	if c.http, err = authserver.NewGuardedHTTPClient(config.AuthServerClient, config.LocalNetwork); err != nil {
		return &ConfigError{"Config.AuthServerClient", "cannot be used with Resource: " + err.Error()}
	}
	if c.config.ClientCertificate != nil {
		c.http.Transport = present(c.http.Transport, c.config.ClientCertificate)
	}
	if config.Origins == nil {
		u, err := url.Parse(config.Resource)
		if err != nil {
			return err // has been parsed
		}
		c.config.Origins = []string{u.Scheme + "://" + u.Host}
	}
	if r := config.Registration; r != nil {
		c.initial, c.config.Registration = secret.New(r.AccessToken), &Registration{r.Name, r.URI, r.SoftwareID, ""}
	}
	return nil
}

// findIssuer finds out which authorization server the Client is of, if the Config leaves that to the resource.
func (c *Client) findIssuer(ctx context.Context) error {
	_, err := c.guard(ctx)
	return err
}

// refindIssuer is findIssuer for what happens at every request: a resource that does not say it is asked less and less often.
func (c *Client) refindIssuer(ctx context.Context) error {
	if c.protected != nil {
		if err := c.protected.lately(c); err != nil {
			return err
		}
	}
	return c.findIssuer(ctx)
}

// guard is what the resource says of who guards it; nil without a Config.Resource.
func (c *Client) guard(ctx context.Context) (*guarded, error) {
	if c.protected == nil {
		return nil, nil
	}
	return c.protected.get(ctx, c, c.askResource)
}

// askResource asks the resource what it wants of a request without a token, and for its metadata.
func (c *Client) askResource(ctx context.Context) (*guarded, time.Duration, error) {
	resource := c.config.Resource
	resp, err := authserver.Probe(ctx, c.http, resource)
	if err != nil {
		return nil, 0, err
	}
	hinted, challenged := wanted(resp)
	found, err := authserver.DiscoverResource(ctx, c.http, resource, hinted)
	if failed, ok := errors.AsType[*authserver.ResourceError](err); ok {
		failed.Open = resp.StatusCode >= 200 && resp.StatusCode < 300 && failed.IsAbsent()
	}
	if err == nil {
		err = found.Accepts(c.proofs.wanted, c.config.ClientCertificate != nil)
	}
	if err != nil {
		return nil, 0, err
	}
	g := &guarded{identifier: found.Identifier, scopes: found.Scopes, algorithms: found.DPoPSigningAlgs}
	if len(challenged) > 0 {
		g.scopes = challenged
	}
	if g.issuer, err = c.chooseIssuer(ctx, found.AuthorizationServers); err != nil {
		return nil, 0, err
	}
	if old := c.protected.now.Swap(g); old != nil && old.issuer != g.issuer {
		c.moved(old.issuer)
	}
	return g, found.Life, nil
}

// wanted reads what a resource wants of a request without a token: where its metadata is, which a challenge of any scheme may
// say (RFC 9728 §5.1), and which scopes (RFC 6750 §3, RFC 9449 §7.1).
func wanted(resp *http.Response) (hinted string, scopes []string) {
	for _, challenge := range transport.Challenges(resp) {
		if hinted == "" {
			hinted = challenge.ResourceMetadata()
		}
		if scopes == nil && (strings.EqualFold(challenge.Scheme, "Bearer") || strings.EqualFold(challenge.Scheme, "DPoP")) {
			scopes = challenge.Scopes()
		}
	}
	return hinted, scopes
}

// chooseIssuer chooses among the authorization servers of a resource: the one that the Config names, else the first that
// does not say of itself that it is none. One that cannot be reached is waited for: with another, every grant would be
// absent. That one is spelt as it spells itself: keys in the store and the iss of its answers are compared exactly. A Config
// that names it spells it so.
func (c *Client) chooseIssuer(ctx context.Context, listed []string) (string, error) {
	if issuer := c.config.Issuer; issuer != "" {
		if !slices.ContainsFunc(listed, func(one string) bool { return authserver.IsSpelling(one, issuer) }) {
			return "", &ConfigError{"Config.Issuer", fmt.Sprintf("is not among the authorization servers of the resource, which are %s: nothing that belongs to it is sent to them; correct it, or have the client registered there", named(listed))}
		}
		return issuer, nil
	}
	if len(listed) == 1 {
		return c.metadata.spelling(ctx, c, listed[0])
	}
	var errs []error
	for _, issuer := range listed[:min(len(listed), issuersMost)] {
		found, err := authserver.DiscoverListed(ctx, c.http, issuer)
		if err == nil {
			return found.Issuer, nil
		}
		errs = append(errs, err)
		if e, ok := errors.AsType[*authserver.DiscoveryError](err); !ok || !e.IsAbsent() {
			break
		}
	}
	return "", errors.Join(errs...)
}

// named are the first of some authorization servers, for people.
func named(issuers []string) string {
	var names []string
	for _, issuer := range issuers[:min(len(issuers), issuersMost)] {
		names = append(names, words.Printable(issuer))
	}
	text := fmt.Sprintf("%q", names)
	if more := len(issuers) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// moved drops what is known of the grants of an authorization server that guards the resource no more. They stay where
// they are in the store; nothing of them is sent to another server (RFC 9728 §5.2).
func (c *Client) moved(from string) {
	c.happened(Event{Kind: "issuer changed", Reason: "the resource is guarded by another authorization server than " + from})
	c.mu.Lock()
	var accounts []*account
	for _, pointer := range c.accounts {
		if a := pointer.Value(); a != nil {
			accounts = append(accounts, a)
		}
	}
	c.mu.Unlock()
	for _, a := range accounts {
		a.personActed("", "", nil) // what is unsaved stays so: it belongs under the key of the first
	}
}

// indicated is resource as it is named in requests (RFC 8707): as the resource of the Config spells itself.
func (c *Client) indicated(resource string) string {
	if c.protected == nil || resource != c.config.Resource {
		return resource
	}
	if g := c.protected.now.Load(); g != nil {
		return g.identifier
	}
	return resource
}

// ownScopes are those that a login at the server of m asks for, whatever the flow asks for besides.
func (c *Client) ownScopes(m *authserver.Metadata) []string {
	if c.protected == nil || len(c.config.Scopes) > 0 {
		return c.config.Scopes
	}
	var scopes []string
	if g := c.protected.now.Load(); g != nil {
		scopes = g.scopes
	}
	const offline = "offline_access"
	if slices.Contains(m.Scopes, offline) && !slices.Contains(scopes, offline) {
		scopes = append(slices.Clone(scopes), offline)
	}
	return scopes
}

// provable are those of the algorithms of DPoP proofs that the authorization server offers which the resource takes, too (RFC 9728
// §2). Where there are none, one of the two does not say how it is.
func (c *Client) provable(offered []string) []string {
	if c.protected == nil {
		return offered
	}
	g := c.protected.now.Load()
	switch {
	case g == nil || len(g.algorithms) == 0:
		return offered
	case len(offered) == 0:
		return g.algorithms
	}
	both := slices.DeleteFunc(slices.Clone(offered), func(name string) bool { return !slices.Contains(g.algorithms, name) })
	if len(both) == 0 {
		return offered
	}
	return both
}

// canonical is address as servers spell it (RFC 3986 §6.2.2.1, §6.2.3): scheme and host in lower case, and no path rather
// than a slash alone.
func canonical(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Opaque != "" {
		return address
	}
	start := len(u.Scheme) + len("://") + len(u.Host)
	if len(address) < start || !strings.EqualFold(address[:start], u.Scheme+"://"+u.Host) {
		return address
	}
	path := address[start:]
	if path == "/" {
		path = ""
	}
	return origin.Lower(address[:start]) + path
}

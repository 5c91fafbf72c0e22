package authserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Bounds of Metadata.Life: a server that forbids caching is not asked before every request, and one that allows a
// year of it is found again when its endpoints have moved.
const (
	defaultLife  = time.Hour
	shortestLife = 5 * time.Minute
	longestLife  = 24 * time.Hour
)

// DiscoveryError says that an issuer has no usable metadata, and what was tried.
type DiscoveryError struct {
	Issuer string // empty: it is not fit to be asked
	Tried  []Attempt
}

// Attempt is one address that was asked in vain.
type Attempt struct {
	Address string
	Err     error // a *Failure, unless the document itself is at fault
}

// Error implements error.
func (e *DiscoveryError) Error() string {
	text := "the issuer's metadata cannot be had; check Config.Issuer, or set Config.Endpoint in its place"
	for _, a := range e.Tried {
		text += fmt.Sprintf("; %s: %v", a.Address, a.Err)
	}
	return text
}

// Unwrap returns what went wrong at each address.
func (e *DiscoveryError) Unwrap() []error {
	var all []error
	for _, a := range e.Tried {
		all = append(all, a.Err)
	}
	return all
}

// IsAbsent reports whether the issuer itself says that it has no metadata: nothing is at any of the addresses. A
// server that cannot be reached, or is in trouble, does not say so.
func (e *DiscoveryError) IsAbsent() bool {
	for _, a := range e.Tried {
		f, _ := errors.AsType[*Failure](a.Err)
		if f == nil || f.Status != http.StatusNotFound && f.Status != http.StatusGone && f.Status != http.StatusMethodNotAllowed {
			return false
		}
	}
	return e.Issuer != ""
}

// Discover fetches the metadata of issuer: from the address of RFC 8414, then from those of OpenID
// Connect Discovery (RFC 8414 §5). A document counts only if its issuer is this one and its endpoints
// are https; where the issuer is http on this machine, they may be so too. The error is a
// *DiscoveryError.
func Discover(ctx context.Context, hc *http.Client, issuer string) (*Metadata, error) {
	return discover(ctx, hc, issuer, false, isExactly)
}

// DiscoverListed is Discover for an issuer as a resource spells it in its authorization_servers: the document may spell it
// with a slash after the host or without one, see IsSpelling. Metadata.Issuer is the spelling that counts from then on.
func DiscoverListed(ctx context.Context, hc *http.Client, issuer string) (*Metadata, error) {
	return discover(ctx, hc, issuer, false, IsSpelling)
}

// IsSpelling reports whether a and b are the same issuer, but perhaps for a slash after the host. Both have their metadata
// at the same addresses, and libraries that write URLs anew add that slash, or take it away.
func IsSpelling(a, b string) bool {
	return a == b || a == b+"/" && IsRoot(a) || b == a+"/" && IsRoot(b)
}

// IsRoot reports whether issuer has no path, or a slash alone.
func IsRoot(issuer string) bool {
	_, rest, ok := strings.Cut(issuer, "://")
	return ok && rest != "" && !strings.HasPrefix(rest, "/") && !strings.ContainsAny(strings.TrimSuffix(rest, "/"), "/?#")
}

func isExactly(a, b string) bool { return a == b }

func discover(ctx context.Context, hc *http.Client, issuer string, openID bool, same func(a, b string) bool) (*Metadata, error) {
	u, err := parseIssuer(issuer)
	if err != nil {
		return nil, err
	}
	failed := &DiscoveryError{Issuer: issuer}
	for i, address := range wellKnown(u) {
		if openID && i == 0 {
			continue // RFC 8414's
		}
		m, err := fetch(ctx, hc, address, u.Scheme == "http")
		if err == nil {
			err = m.check(issuer, same)
		}
		if err == nil {
			m.OfOpenID = i > 0
			return m, nil
		}
		failed.Tried = append(failed.Tried, Attempt{address, err})
		if ctx.Err() != nil {
			break
		}
	}
	return nil, failed
}

// parseIssuer holds an issuer against RFC 8414 §2. Its errors quote no credentials.
func parseIssuer(issuer string) (*url.URL, error) {
	err := checkEndpoint(issuer, true)
	if err == nil && strings.Contains(issuer, "?") {
		err = errors.New("it has a query")
	}
	if err != nil {
		return nil, &DiscoveryError{Tried: []Attempt{{"the issuer as given", err}}}
	}
	return url.Parse(issuer)
}

// wellKnown lists the addresses to ask: RFC 8414 §3 inserts its part before the path, which some do
// with OpenID's too; OpenID Connect Discovery §4 appends it.
func wellKnown(issuer *url.URL) []string {
	origin, path := issuer.Scheme+"://"+issuer.Host, strings.TrimSuffix(issuer.EscapedPath(), "/")
	addresses := []string{origin + "/.well-known/oauth-authorization-server" + path}
	if path != "" {
		addresses = append(addresses, origin+"/.well-known/openid-configuration"+path)
	}
	return append(addresses, origin+path+"/.well-known/openid-configuration")
}

// fetch gets one document. The issuer inside it decides whether it counts. Errors quote nothing of it.
func fetch(ctx context.Context, hc *http.Client, address string, loopback bool) (*Metadata, error) {
	body, header, err := get(ctx, hc, address, loopback)
	if err != nil {
		return nil, err
	}
	m, err := readMetadata(body, loopback)
	if err != nil {
		return nil, err
	}
	m.Life = life(header)
	return m, nil
}

// life reads Cache-Control (RFC 9111 §5.2.2).
func life(h http.Header) time.Duration {
	said := defaultLife
	for directive := range strings.SplitSeq(strings.Join(h.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		switch name {
		case "no-store", "no-cache":
			return shortestLife
		case "max-age":
			if seconds, err := strconv.Atoi(strings.Trim(value, `"`)); err == nil {
				said = time.Duration(min(max(seconds, 0), int(longestLife/time.Second))) * time.Second
			}
		}
	}
	return min(max(said, shortestLife), longestLife)
}

// check holds a document against the issuer it was asked for: by code points, without any normalization (RFC 8414
// §3.3, §4), unless same is IsSpelling. Another spelling is another issuer, also for the iss of id tokens and of authorization
// responses.
func (m *Metadata) check(issuer string, same func(a, b string) bool) error {
	if !same(m.Issuer, issuer) {
		return fmt.Errorf("the document is of another issuer, %q; Config.Issuer has to be spelt exactly as the server spells itself", scrubber{}.words(m.Issuer))
	}
	if err := m.Unusable("authorization_endpoint"); err != nil {
		return err
	}
	if m.TokenEndpoint == "" {
		return m.Lacks("token_endpoint")
	}
	return nil
}

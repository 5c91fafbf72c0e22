package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Resource is what a protected resource says of itself (RFC 9728 §2). What it does not say is empty.
type Resource struct {
	Identifier           string   // resource: the one that was asked for, or its origin, see DiscoverResource
	AuthorizationServers []string // issuers that can be asked, in the resource's order; at least one
	Scopes               []string // scopes_supported: all there are, not those to ask for (§7.2)
	BearerMethods        []string // bearer_methods_supported; nil: not said
	DPoPSigningAlgs      []string
	NeedsDPoP            bool // dpop_bound_access_tokens_required
	NeedsCertificate     bool // tls_client_certificate_bound_access_tokens

	Address string        // where the document was found
	Life    time.Duration // how long it holds, within the bounds of Metadata.Life
}

// ResourceError says that a protected resource cannot be used by its metadata, and why.
type ResourceError struct {
	Resource string // empty: it is not fit to be asked
	Tried    []Attempt
	Open     bool // the resource answers without a token, and has no metadata: the error wraps errors.ErrUnsupported
}

// Error implements error.
func (e *ResourceError) Error() string {
	const instead = "leave Config.Resource out, set Issuer and ClientID, and use Session.Resource"
	text := "the resource's metadata (RFC 9728) does not do; check Config.Resource; if it publishes none, " + instead
	if e.Open {
		text = "the resource asks for no token and publishes no metadata (RFC 9728): it needs no login; if some of it does, " + instead
	}
	for _, a := range e.Tried {
		text += fmt.Sprintf("; %s: %v", scrubber{}.words(a.Address), a.Err)
	}
	return text
}

// IsAbsent reports whether there is no metadata: every address was asked, and none of the answers was a document or trouble.
func (e *ResourceError) IsAbsent() bool {
	return e.Resource != "" && !slices.ContainsFunc(e.Tried, func(a Attempt) bool {
		f, _ := errors.AsType[*Failure](a.Err)
		return f == nil || !f.isNo()
	})
}

// Unwrap returns what went wrong at each address.
func (e *ResourceError) Unwrap() []error {
	var all []error
	if e.Open {
		all = append(all, errors.ErrUnsupported)
	}
	for _, a := range e.Tried {
		all = append(all, a.Err)
	}
	return all
}

// CheckResource holds a resource identifier against RFC 9728 §1.2: an https URL without a fragment. Plain http does on
// this machine. The error is a *ResourceError.
func CheckResource(resource string) error {
	if err := checkEndpoint(resource, true); err != nil {
		return &ResourceError{Tried: []Attempt{{"the resource as given", err}}}
	}
	return nil
}

// Probe asks for resource without a token, to hear what it wants: its status and WWW-Authenticate (RFC 9728 §5). Redirects
// are followed within its origin only; what another place wants is no word of this one. The body is closed unread: it may
// have no end. The error is a *ResourceError.
func Probe(ctx context.Context, hc *http.Client, resource string) (*http.Response, error) {
	if err := CheckResource(resource); err != nil {
		return nil, err
	}
	follower := *hc
	follower.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) > 3 || req.URL.Scheme != via[0].URL.Scheme || !strings.EqualFold(req.URL.Host, via[0].URL.Host) {
			return http.ErrUseLastResponse
		}
		return nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, resource, nil)
	if err != nil {
		return nil, &ResourceError{Tried: []Attempt{{"the resource as given", errors.New("not a URL")}}}
	}
	req.Header.Set("Accept", "application/json, text/event-stream, */*") // an MCP server says 406 to less
	req.Header.Set("User-Agent", userAgent)
	resp, err := follower.Do(req)
	if err != nil {
		return nil, &ResourceError{Resource: resource, Tried: []Attempt{{resource, &Failure{Outcome: NotProcessed, Err: scrubber{}.error(err)}}}}
	}
	resp.Body.Close()
	return resp, nil
}

// DiscoverResource fetches the metadata of resource: from hinted, the resource_metadata of its challenge, if that is not
// empty; then from the well-known address of resource; then from that of its origin, as MCP has it. hinted may be
// elsewhere, but a document counts only if its resource is this one, by code points (RFC 9728 §3.3, §6). The document at
// the origin's address may be of the origin instead, whose address it is: whoever speaks for a whole origin speaks for
// what is on it, and Resource.Identifier says which it was. A slash after the host alone makes no difference. Where resource
// is https, so is everything that its metadata leads to.
//
// The next address is asked only after a word that this one has no such document. A server that is in trouble does not say
// so, and a document found elsewhere might name another authorization server. The error is a *ResourceError.
func DiscoverResource(ctx context.Context, hc *http.Client, resource, hinted string) (*Resource, error) {
	if err := CheckResource(resource); err != nil {
		return nil, err
	}
	u, err := url.Parse(resource)
	if err != nil {
		return nil, err // has been parsed
	}
	failed := &ResourceError{Resource: resource}
	for _, place := range resourcePlaces(resource, u, hinted) {
		found, err := fetchResource(ctx, hc, place, u.Scheme == "http")
		if err == nil {
			return found, nil
		}
		failed.Tried = append(failed.Tried, Attempt{place.address, err})
		if f, ok := errors.AsType[*Failure](err); ok && !f.isNo() {
			break
		}
	}
	return nil, failed
}

// isNo reports whether a GET was answered in a way that it will be answered tomorrow.
func (f *Failure) isNo() bool {
	return f.Status >= 300 && f.Status < 500 && f.Status != http.StatusTooManyRequests && f.Status != http.StatusRequestTimeout
}

// place is where the metadata of a resource may be, and whose metadata may be there.
type place struct {
	address string
	of      []string
}

// resourcePlaces lists where to ask. RFC 9728 §3: the well-known part comes between host and path; a slash after the host
// goes first (§3.1), and the query stays.
func resourcePlaces(resource string, u *url.URL, hinted string) []place {
	origin := u.Scheme + "://" + u.Host
	root := origin + "/.well-known/oauth-protected-resource"
	own := root + strings.TrimSuffix(u.EscapedPath(), "/")
	if u.EscapedPath() != "/" {
		own = root + u.EscapedPath()
	}
	if u.RawQuery != "" {
		own += "?" + u.RawQuery
	}
	itself, whole := []string{resource}, []string{resource, origin, origin + "/"}
	if own == root {
		itself = whole // a slash after the host is no other resource, and MCP servers write it either way
	}
	var places []place
	if hinted != "" {
		places = append(places, place{hinted, itself})
	}
	if own != root {
		places = append(places, place{own, itself})
	}
	return append(places, place{root, whole})
}

// fetchResource gets one document. What decides, whose it is and who guards that, has to be there once and be what it should;
// of the rest, what is not as it should be is as if it were not given: see Metadata.fill. Errors quote little of it.
func fetchResource(ctx context.Context, hc *http.Client, p place, loopback bool) (*Resource, error) {
	if err := checkEndpoint(p.address, loopback); err != nil {
		return nil, err
	}
	body, header, err := get(ctx, hc, p.address, loopback)
	if err != nil {
		return nil, err
	}
	members, _, err := readObject(body)
	if err != nil {
		return nil, fmt.Errorf("the document cannot be used: %w", err)
	}
	r := &Resource{
		Scopes: list(members["scopes_supported"]), BearerMethods: list(members["bearer_methods_supported"]),
		DPoPSigningAlgs: list(members["dpop_signing_alg_values_supported"]), NeedsDPoP: yes(members["dpop_bound_access_tokens_required"]),
		NeedsCertificate: yes(members["tls_client_certificate_bound_access_tokens"]), Address: p.address, Life: life(header),
	}
	if err := decode(members, map[string]any{"resource": &r.Identifier, "authorization_servers": &r.AuthorizationServers}); err != nil {
		return nil, fmt.Errorf("the document cannot be used: %w", err)
	}
	if !slices.Contains(p.of, r.Identifier) {
		return nil, fmt.Errorf("the document is of another resource, %q; Config.Resource has to be spelt exactly as the resource spells itself", scrubber{}.words(r.Identifier))
	}
	r.AuthorizationServers = slices.DeleteFunc(r.AuthorizationServers, func(issuer string) bool {
		return checkEndpoint(issuer, loopback) != nil || strings.Contains(issuer, "?") || !canShow(issuer) // as errors and events do
	})
	if len(r.AuthorizationServers) == 0 {
		return nil, errors.New("the document names no authorization server that can be asked")
	}
	return r, nil
}

// decode reads the members that are given into what their names stand for. Names are compared exactly, which
// json.Unmarshal does not. null is as if it were not given.
func decode(members map[string]json.RawMessage, into map[string]any) error {
	for name, target := range into {
		raw, given := members[name]
		if given && string(raw) != "null" && json.Unmarshal(raw, target) != nil {
			return fmt.Errorf("its %s is given twice, or of another type", name)
		}
	}
	return nil
}

// Accepts says what stands between the resource and a client that sends its tokens in the Authorization header, bound to
// a DPoP key or to a client certificate if it has one. The error is a *ResourceError.
func (r *Resource) Accepts(hasDPoP, hasCertificate bool) error {
	var err error
	switch {
	case r.NeedsDPoP && !hasDPoP:
		err = errors.New("the resource takes only tokens that are bound to a key (RFC 9449): set Config.DPoP")
	case r.NeedsCertificate && !hasCertificate:
		err = errors.New("the resource takes only tokens that are bound to a client certificate (RFC 8705): set Config.ClientCertificate")
	case !hasDPoP && r.BearerMethods != nil && !slices.Contains(r.BearerMethods, "header"):
		err = errors.New("the resource takes no Bearer token in the Authorization header, which is the only place where one is put here")
	default:
		return nil
	}
	return &ResourceError{Resource: r.Identifier, Tried: []Attempt{{r.Address, err}}}
}

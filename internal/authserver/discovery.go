package authserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// Metadata is the part of an authorization server's metadata that is used (RFC 8414 §2).
type Metadata struct {
	Issuer                      string   `json:"issuer"`
	AuthorizationEndpoint       string   `json:"authorization_endpoint"`
	TokenEndpoint               string   `json:"token_endpoint"`
	DeviceAuthorizationEndpoint string   `json:"device_authorization_endpoint"`
	RevocationEndpoint          string   `json:"revocation_endpoint"`
	TokenEndpointAuthMethods    []string `json:"token_endpoint_auth_methods_supported"`
	CodeChallengeMethods        []string `json:"code_challenge_methods_supported"`
	AuthorizationResponseIss    bool     `json:"authorization_response_iss_parameter_supported"`
}

// Discover fetches the metadata of issuer: from the address of RFC 8414, then from the two of OpenID
// Connect Discovery. A document counts only if its issuer is this one.
func Discover(ctx context.Context, hc *http.Client, issuer string) (*Metadata, error) {
	addresses, err := wellKnown(issuer)
	if err != nil {
		return nil, err
	}
	var tried []error
	for _, address := range addresses {
		m, err := fetch(ctx, hc, address)
		if err == nil {
			err = m.check(issuer)
		}
		if err == nil {
			return m, nil
		}
		tried = append(tried, fmt.Errorf("%s: %w", address, err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("no metadata for the issuer %q; check Config.Issuer: %w", issuer, errors.Join(tried...))
}

// wellKnown lists the addresses to ask: RFC 8414 §3 inserts its part before the path, OpenID Connect
// Discovery §4 appends it.
func wellKnown(issuer string) ([]string, error) {
	if err := checkURL(issuer); err != nil {
		return nil, fmt.Errorf("the issuer %q %w", issuer, err)
	}
	u, err := url.Parse(issuer)
	if err != nil {
		return nil, err
	}
	origin, path := u.Scheme+"://"+u.Host, strings.TrimSuffix(u.EscapedPath(), "/")
	addresses := []string{origin + "/.well-known/oauth-authorization-server" + path}
	if path != "" {
		addresses = append(addresses, origin+"/.well-known/openid-configuration"+path)
	}
	return append(addresses, origin+path+"/.well-known/openid-configuration"), nil
}

// fetch gets one document. There is no secret in the request, so it follows a few redirects, to
// addresses that are as safe; the issuer inside the document decides.
func fetch(ctx context.Context, hc *http.Client, address string) (*Metadata, error) {
	follower := *hc
	follower.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) > 3 {
			return errors.New("too many redirects")
		}
		return checkURL(req.URL.String())
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("User-Agent", userAgent)
	hide := newScrubber(nil, "")
	resp, err := follower.Do(req)
	if err != nil {
		return nil, noAnswer(ctx, false, hide.error(err))
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, noAnswer(ctx, false, hide.error(err))
	case resp.StatusCode != http.StatusOK:
		return nil, &Failure{Outcome: NotProcessed, Status: resp.StatusCode, RetryAfter: retryAfter(resp.Header)}
	case len(data) > maxAnswer:
		return nil, fmt.Errorf("the document is longer than %d bytes", maxAnswer)
	}
	m := new(Metadata)
	if err := json.Unmarshal(data, m); err != nil {
		return nil, errors.New("the document is not JSON of the right form")
	}
	return m, nil
}

// check holds a document against the issuer it was asked for (RFC 8414 §3.3). The comparison is exact,
// but for an empty path, which is the same with and without its slash (RFC 3986 §6.2.3).
func (m *Metadata) check(issuer string) error {
	if m.Issuer != issuer && !(isBare(issuer) && strings.TrimSuffix(m.Issuer, "/") == strings.TrimSuffix(issuer, "/")) {
		return fmt.Errorf("the document is of another issuer, %q", newScrubber(nil, "").words(m.Issuer))
	}
	if m.TokenEndpoint == "" {
		return errors.New("the document names no token_endpoint")
	}
	for name, address := range map[string]string{
		"authorization_endpoint":        m.AuthorizationEndpoint,
		"token_endpoint":                m.TokenEndpoint,
		"device_authorization_endpoint": m.DeviceAuthorizationEndpoint,
		"revocation_endpoint":           m.RevocationEndpoint,
	} {
		if address == "" {
			continue
		}
		if err := checkURL(address); err != nil {
			return fmt.Errorf("its %s %w", name, err)
		}
	}
	return nil
}

// isBare reports whether an issuer has no path.
func isBare(issuer string) bool {
	u, err := url.Parse(issuer)
	return err == nil && strings.TrimSuffix(u.Path, "/") == ""
}

// checkURL accepts https, and http to this machine.
func checkURL(address string) error {
	u, err := url.Parse(address)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.Fragment != "":
		return errors.New("is not an absolute URL without credentials and fragment")
	case u.Scheme == "https":
		return nil
	case u.Scheme == "http" && isLoopback(u.Hostname()):
		return nil
	}
	return errors.New("is neither https nor a loopback address")
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

package transport

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// maxHops bounds the chain of redirects that is followed back. http.Client gives up after ten; a
// longer one, or one that leads round in a circle, is taken for one that has left the origin.
const maxHops = 100

// origin is a scheme, a host and a port (RFC 6454 §4).
type origin struct{ scheme, host, port string }

// originOf is the origin of u; ok is false where it has none that a token could go to.
func originOf(u *url.URL) (o origin, ok bool) {
	if u == nil || u.Opaque != "" {
		return origin{}, false
	}
	o = origin{strings.ToLower(u.Scheme), lowerASCII(u.Hostname()), u.Port()}
	switch {
	case o.scheme == "https" && o.port == "":
		o.port = "443"
	case o.scheme == "http" && o.port == "":
		o.port = "80"
	}
	return o, o.host != "" && (o.scheme == "https" || o.scheme == "http")
}

// lowerASCII lowers the ASCII letters of a host only: Unicode would lower the Turkish İ to a plain i,
// and so take one host for another.
func lowerASCII(host string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, host)
}

// isPrivate reports whether nobody reads along on the way to o: by TLS, or because it is this machine.
func (o origin) isPrivate() bool {
	if o.scheme == "https" || o.host == "localhost" {
		return true
	}
	ip := net.ParseIP(o.host)
	return ip != nil && ip.IsLoopback()
}

// parseOrigin reads an element of Transport.Origins. A wildcard or a path would promise more than an
// origin is, so they are refused.
func parseOrigin(s string) (o origin, ok bool) {
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return origin{}, false
	}
	o, ok = originOf(u)
	return o, ok && !strings.Contains(o.host, "*")
}

// configure reads the fields, once.
func (t *Transport) configure() error {
	t.configured.Do(func() { t.origins, t.invalid = readConfig(t.Source, t.Origins) })
	return t.invalid
}

func readConfig(s Source, listed []string) ([]origin, error) {
	if s == nil {
		return nil, fmt.Errorf("%w: Transport.Source is nil: set what gives the tokens, such as a session", ErrConfig)
	}
	origins := make([]origin, len(listed))
	for i, text := range listed {
		var ok bool
		if origins[i], ok = parseOrigin(text); !ok {
			// The text is not shown: it may hold a password.
			return nil, fmt.Errorf("%w: Transport.Origins[%d] is not an origin: write it as https://api.example.com", ErrConfig, i)
		}
	}
	return origins, nil
}

// allows reports whether the token may go where req goes (I7).
func (t *Transport) allows(req *http.Request) bool {
	to, ok := originOf(req.URL)
	if !ok || !isWithin(req, to) {
		return false
	}
	if t.Origins == nil {
		return to.isPrivate()
	}
	return slices.Contains(t.origins, to)
}

// isWithin reports whether the whole chain of redirects that led to req, if any did, went to o.
func isWithin(req *http.Request, o origin) bool {
	for range maxHops {
		if req.Response == nil {
			return true
		}
		if req = req.Response.Request; req == nil {
			return false
		}
		if from, ok := originOf(req.URL); !ok || from != o {
			return false
		}
	}
	return false
}

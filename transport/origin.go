package transport

import (
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// origin is a scheme, a host and a port (RFC 6454).
type origin struct{ scheme, host, port string }

// originOf is the origin of u; ok is false where it has none that a token could go to.
func originOf(u *url.URL) (o origin, ok bool) {
	if u == nil || u.Host == "" || u.Opaque != "" {
		return o, false
	}
	o = origin{strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()}
	switch {
	case o.scheme == "https" && o.port == "":
		o.port = "443"
	case o.scheme == "http" && o.port == "":
		o.port = "80"
	}
	return o, o.host != "" && (o.scheme == "https" || o.scheme == "http")
}

// isSecure reports whether what goes to o cannot be read on the way: TLS, or this machine.
func (o origin) isSecure() bool {
	if o.scheme == "https" || o.host == "localhost" {
		return true
	}
	ip := net.ParseIP(o.host)
	return ip != nil && ip.IsLoopback()
}

// allows reports whether the token may go where req goes.
func (t *Transport) allows(req *http.Request) (bool, error) {
	if t.Source == nil {
		return false, fmt.Errorf("transport: Transport.Source is nil; set it, for example to a session")
	}
	to, ok := originOf(req.URL)
	if !ok || !sameOriginSinceStart(req, to) {
		return false, nil
	}
	if t.Origins == nil {
		return to.isSecure(), nil
	}
	for _, listed := range t.Origins {
		o, err := parseOrigin(listed)
		if err != nil {
			return false, err
		}
		if o == to {
			return true, nil
		}
	}
	return false, nil
}

// sameOriginSinceStart reports whether every request of the chain of redirects that led to req went to
// the origin o. A chain that cannot be followed is taken for one that left it.
func sameOriginSinceStart(req *http.Request, o origin) bool {
	for r := req; r.Response != nil; {
		if r = r.Response.Request; r == nil {
			return false
		}
		if from, ok := originOf(r.URL); !ok || from != o {
			return false
		}
	}
	return true
}

// parseOrigin reads an element of Transport.Origins.
func parseOrigin(s string) (origin, error) {
	u, err := url.Parse(s)
	if err == nil {
		o, ok := originOf(u)
		if ok && u.User == nil && slices.Contains([]string{"", "/"}, u.Path) && u.RawQuery == "" && u.Fragment == "" {
			return o, nil
		}
	}
	return origin{}, fmt.Errorf("transport: %q in Transport.Origins is not an origin such as https://api.example.com", s)
}

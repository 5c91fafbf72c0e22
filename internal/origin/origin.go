// Package origin compares the places that requests go to (RFC 6454 §4), and says which of them nobody can
// read along to.
package origin

import (
	"net"
	"net/url"
	"strings"
	"unicode"
)

// Origin is a scheme, a host and a port. Origins are equal if they are the same place.
type Origin struct{ scheme, host, port string }

// Of is the origin of u; ok is false where it has none that a token could go to.
func Of(u *url.URL) (o Origin, ok bool) {
	if u == nil || u.Opaque != "" {
		return Origin{}, false
	}
	o = Origin{strings.ToLower(u.Scheme), Lower(u.Hostname()), u.Port()}
	switch {
	case o.scheme == "https" && o.port == "":
		o.port = "443"
	case o.scheme == "http" && o.port == "":
		o.port = "80"
	}
	return o, o.host != "" && (o.scheme == "https" || o.scheme == "http")
}

// Parse reads an origin that a person has written. A wildcard or a path would promise more than an
// origin is, so they are refused.
func Parse(s string) (o Origin, ok bool) {
	u, err := url.Parse(s)
	if err != nil || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" && u.Path != "/" {
		return Origin{}, false
	}
	o, ok = Of(u)
	return o, ok && !strings.Contains(o.host, "*")
}

// IsPrivate reports whether nobody reads along on the way to o: by TLS, or because it is this machine.
func (o Origin) IsPrivate() bool { return o.scheme == "https" || o.IsLoopback() }

// IsLoopback reports whether o is this machine, without asking a resolver.
func (o Origin) IsLoopback() bool {
	if o.host == "localhost" {
		return true
	}
	ip := net.ParseIP(o.host)
	return ip != nil && ip.IsLoopback()
}

// Lower lowers the ASCII letters of a host only: Unicode would lower the Turkish İ to a plain i, and so take one host
// for another.
func Lower(host string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, host)
}

// IsASCII reports whether a host is spelt as it goes over the wire. net/http spells another one in punycode (RFC 5891 §4.4)
// when it sends, so that what is compared with its text before, or said of it, may be another host.
func IsASCII(host string) bool {
	return !strings.ContainsFunc(host, func(r rune) bool { return r > unicode.MaxASCII })
}

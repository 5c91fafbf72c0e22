package client

import (
	"net"
	"net/url"
	"strings"
)

// isSecure reports whether what is sent to u cannot be read on the way: TLS, or never leaving the
// machine.
func isSecure(u *url.URL) bool {
	return u.Scheme == "https" || u.Scheme == "http" && isLoopback(u.Hostname())
}

// isLoopback reports whether host names this machine without asking a resolver.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

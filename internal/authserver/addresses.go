package authserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"unicode"
)

// AddressError says that something found through a public resource leads to an address that is none of its business.
type AddressError struct{ Address string }

// Error implements error.
func (e *AddressError) Error() string {
	return fmt.Sprintf("%s is not a public address, and nothing was sent there; if this machine or a private network is meant, set Config.LocalNetwork", scrubber{}.words(e.Address))
}

// ErrUnguarded says that an http.RoundTripper cannot be kept from addresses.
var ErrUnguarded = errors.New("only an *http.Transport without DialTLSContext and DialTLS can be kept from private addresses: give one, or set Config.LocalNetwork if whatever the resource leads to is trusted")

// NewGuardedHTTPClient is NewHTTPClient, for addresses that somebody else names (RFC 9728 §7.7). Its connections go to
// public addresses only or, with local, also to this machine and to private networks; never to link-local addresses,
// where clouds keep the credentials of their machines. It is the address that is dialled which counts, each time, so
// that a name may lead where it wants. The error of a request is an *AddressError then.
//
// A program's own DialContext is asked as before; a connection that it makes to another address is closed before a byte
// is sent, and so is one of which it cannot be told where it leads. Where a proxy is to be used, it is the proxy that
// resolves names, and it may be anywhere: names of this machine and literal addresses are refused as without it, what a
// name leads to is for the proxy to judge; and nobody is led to the proxy itself. A RoundTripper that does not show where it dials, or that has shaken hands
// before it can be looked at, is ErrUnguarded; with local it is held to literal addresses only.
func NewGuardedHTTPClient(c *http.Client, local bool) (*http.Client, error) {
	g := &guard{local: local}
	guarded := NewHTTPClient(c)
	t, ok := guarded.Transport.(*http.Transport)
	//lint:ignore SA1019 a program's own DialTLS is looked at, not used
	if !ok || t.DialTLSContext != nil || t.DialTLS != nil {
		if !local {
			return nil, ErrUnguarded
		}
		guarded.Transport = &literalGuard{guarded.Transport, g}
		return guarded, nil
	}
	toProxy := t.DialContext
	//lint:ignore SA1019 a program's own Dial is asked as before
	if dial := t.Dial; dial != nil && toProxy == nil {
		toProxy = func(_ context.Context, network, address string) (net.Conn, error) { return dial(network, address) }
	}
	direct := toProxy
	if !hasOwnDial(c) {
		direct = (&net.Dialer{Timeout: dialLimit, Control: g.control}).DialContext
	}
	t.DialContext = g.dial(direct, toProxy)
	t.Proxy = g.proxy(t.Proxy)
	return guarded, nil
}

// hasOwnDial reports whether a program dials in a way of its own.
func hasOwnDial(c *http.Client) bool {
	if c == nil {
		return false
	}
	t, ok := c.Transport.(*http.Transport)
	//lint:ignore SA1019 a program's own Dial is asked as before
	return ok && (t.DialContext != nil || t.Dial != nil)
}

// guard keeps connections from addresses.
type guard struct {
	local   bool
	proxies sync.Map // of "host:port": where the program's own configuration leads
}

type dialFunc = func(ctx context.Context, network, address string) (net.Conn, error)

// dial is direct with a look at where it has got, or toProxy.
func (g *guard) dial(direct, toProxy dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if _, ok := g.proxies.Load(address); ok {
			return toProxy(ctx, network, address)
		}
		conn, err := direct(ctx, network, address)
		if err != nil {
			return nil, err
		}
		if err := g.reached(conn.RemoteAddr()); err != nil {
			conn.Close()
			return nil, err
		}
		return conn, nil
	}
}

// control is a net.Dialer's: it is asked for each address that is tried, before anything is sent.
func (g *guard) control(_, address string, _ syscall.RawConn) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil || !g.allows(at.Addr()) {
		return &AddressError{address}
	}
	return nil
}

// reached judges where a connection leads. One without an address, as tests have, is a local one.
func (g *guard) reached(to net.Addr) error {
	t, ok := to.(*net.TCPAddr)
	if ok && g.allows(t.AddrPort().Addr()) || !ok && g.local {
		return nil
	}
	return &AddressError{to.String()}
}

func (g *guard) allows(ip netip.Addr) bool {
	reach := reachOf(ip)
	return reach == public || reach == local && g.local
}

// proxy is choose, which may be nil, with a look at where the proxy would be sent.
func (g *guard) proxy(choose func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	if choose == nil {
		return nil
	}
	return func(req *http.Request) (*url.URL, error) {
		proxy, err := choose(req)
		if err != nil {
			return nil, err
		}
		if proxy == nil {
			if _, ok := g.proxies.Load(dialled(req.URL)); ok {
				return nil, &AddressError{req.URL.Host} // which dial could not tell from the way to the proxy
			}
			return nil, nil
		}
		if err := g.literal(req.URL.Hostname()); err != nil {
			return nil, err
		}
		g.proxies.Store(dialled(proxy), true)
		return proxy, nil
	}
}

// dialled is the address that net/http dials for a proxy.
func dialled(proxy *url.URL) string {
	port := proxy.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[proxy.Scheme]
	}
	return net.JoinHostPort(proxy.Hostname(), port)
}

// literal judges a host by how it is written. A name that ends in a number is an address in an old notation (0x7f.1),
// which resolvers understand; one beyond ASCII turns into another on its way (RFC 3986 has none).
func (g *guard) literal(host string) error {
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	last := name[strings.LastIndexByte(name, '.')+1:]
	ip, err := netip.ParseAddr(name)
	switch {
	case err == nil && g.allows(ip):
		return nil
	case err == nil, last == "", strings.ContainsFunc(name, func(r rune) bool { return r > unicode.MaxASCII }),
		'0' <= last[0] && last[0] <= '9' && strings.Trim(last, "0123456789abcdefx") == "":
		return &AddressError{host}
	case last == "localhost" && !g.local:
		return &AddressError{host}
	}
	return nil
}

// literalGuard holds a RoundTripper of which nothing is known to literal addresses.
type literalGuard struct {
	base http.RoundTripper
	*guard
}

// RoundTrip implements http.RoundTripper.
func (l *literalGuard) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := l.literal(req.URL.Hostname()); err != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, err
	}
	return l.base.RoundTrip(req)
}

// CloseIdleConnections does so for http.Client.CloseIdleConnections.
func (l *literalGuard) CloseIdleConnections() {
	(&http.Client{Transport: l.base}).CloseIdleConnections()
}

// reach is who can be behind an address.
type reach int

const (
	never  reach = iota // nobody whom metadata should name: link-local, multicast, reserved
	local               // this machine, or a private network
	public              // anybody
)

// ranges are the exceptions from what is public (RFC 6890 and its registries), the narrower ones first. Clouds answer for
// the credentials of a machine at link-local addresses, and at a few that are not.
var ranges = []struct {
	prefix netip.Prefix
	reach  reach
}{
	{netip.MustParsePrefix("100.100.100.200/32"), never}, // a cloud's metadata service
	{netip.MustParsePrefix("168.63.129.16/32"), never},   // the same
	{netip.MustParsePrefix("fd00:ec2::/32"), never},      // the same
	{netip.MustParsePrefix("fd20:ce::/32"), never},       // the same

	{netip.MustParsePrefix("127.0.0.0/8"), local},
	{netip.MustParsePrefix("10.0.0.0/8"), local},
	{netip.MustParsePrefix("172.16.0.0/12"), local},
	{netip.MustParsePrefix("192.168.0.0/16"), local},
	{netip.MustParsePrefix("100.64.0.0/10"), local}, // of providers, and of private overlays
	{netip.MustParsePrefix("198.18.0.0/15"), local}, // for benchmarks, and for local resolvers that make addresses up
	{netip.MustParsePrefix("0.0.0.0/8"), never},
	{netip.MustParsePrefix("169.254.0.0/16"), never},
	{netip.MustParsePrefix("192.0.0.0/24"), never},
	{netip.MustParsePrefix("192.0.2.0/24"), never},
	{netip.MustParsePrefix("192.88.99.0/24"), never},
	{netip.MustParsePrefix("198.51.100.0/24"), never},
	{netip.MustParsePrefix("203.0.113.0/24"), never},
	{netip.MustParsePrefix("224.0.0.0/3"), never}, // multicast, reserved, broadcast
	{netip.MustParsePrefix("0.0.0.0/0"), public},

	{netip.MustParsePrefix("::1/128"), local},
	{netip.MustParsePrefix("fc00::/7"), local},
	{netip.MustParsePrefix("2001::/23"), never}, // Teredo among others
	{netip.MustParsePrefix("2001:db8::/32"), never},
	{netip.MustParsePrefix("3fff::/20"), never},
	{netip.MustParsePrefix("2000::/3"), public},
	{netip.MustParsePrefix("::/0"), never},
}

// reachOf judges an address. One that carries an IPv4 address to a translator is judged by that: mapped ones, NAT64
// (RFC 6052), 6to4 (RFC 3056).
func reachOf(ip netip.Addr) reach {
	ip = ip.Unmap().WithZone("")
	if ip.Is6() {
		b := ip.As16()
		switch {
		case netip.MustParsePrefix("64:ff9b::/96").Contains(ip):
			ip = netip.AddrFrom4([4]byte(b[12:16]))
		case netip.MustParsePrefix("2002::/16").Contains(ip):
			ip = netip.AddrFrom4([4]byte(b[2:6]))
		}
	}
	for _, r := range ranges {
		if r.prefix.Contains(ip) {
			return r.reach
		}
	}
	return never
}

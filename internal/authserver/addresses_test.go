package authserver_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
)

// elsewhere is a connection that says of itself to lead to another address, and whether anything was sent.
type elsewhere struct {
	net.Conn
	to   net.Addr
	sent *atomic.Bool
}

func (e *elsewhere) RemoteAddr() net.Addr { return e.to }
func (e *elsewhere) Write(p []byte) (int, error) {
	e.sent.Store(true)
	return e.Conn.Write(p)
}

// network leads names to addresses, in the program's own way; behind all of them is one server.
type network struct {
	server string
	leads  func(host string) string // to an address
	sent   atomic.Bool
	dials  int
}

func (n *network) dial(ctx context.Context, _, address string) (net.Conn, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	n.dials++
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", n.server)
	if err != nil {
		return nil, err
	}
	to, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(n.leads(host), "443"))
	if err != nil {
		return nil, err
	}
	return &elsewhere{conn, to, &n.sent}, nil
}

// newNetwork has server behind every name. client trusts it under the names below example.com.
func newNetwork(t *testing.T, server *httptest.Server, leads func(host string) string, local bool) (*network, *http.Client) {
	n := &network{server: server.Listener.Addr().String(), leads: leads}
	base := &http.Transport{DialContext: n.dial}
	if server.TLS != nil {
		base.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig
	}
	return n, guarded(t, &http.Client{Transport: base}, local)
}

func guarded(t *testing.T, c *http.Client, local bool) *http.Client {
	t.Helper()
	hc, err := authserver.NewGuardedHTTPClient(c, local)
	require.NoError(t, err)
	t.Cleanup(hc.CloseIdleConnections)
	return hc
}

func requireAddressError(t *testing.T, err error) {
	t.Helper()
	_, ok := errors.AsType[*authserver.AddressError](err)
	require.True(t, ok, "%v", err)
}

// TestR9728_7_7_1 goes through the addresses of RFC 6890 and its registries.
func TestR9728_7_7_1(t *testing.T) {
	const (
		never  = iota
		local  // by the setting only
		public // always
	)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	for address, want := range map[string]int{
		"8.8.8.8": public, "93.184.216.34": public, "172.15.255.255": public, "172.32.0.1": public, "192.169.0.1": public, "100.128.0.1": public,
		"11.0.0.1": public, "126.255.255.255": public, "128.0.0.1": public, "223.255.255.255": public, "198.20.0.1": public, "169.253.1.1": public,
		"2606:4700::1111": public, "2a00:1450::1": public, "::ffff:8.8.8.8": public, "64:ff9b::808:808": public, "2002:808:808::1": public,

		"127.0.0.1": local, "127.255.255.254": local, "10.0.0.1": local, "10.255.255.255": local, "172.16.0.1": local, "172.31.255.255": local,
		"192.168.1.1": local, "100.64.0.1": local, "100.127.255.255": local, "198.18.0.1": local, "::1": local, "fc00::1": local, "fdff::1": local,
		"::ffff:127.0.0.1": local, "::ffff:10.0.0.1": local, "64:ff9b::a00:1": local, "64:ff9b::7f00:1": local, "2002:a00:1::1": local, "2002:7f00:1::": local,

		"169.254.169.254": never, "169.254.0.1": never, "fe80::1": never, "febf::1": never, "fe80::1%lo": never, "fec0::1": never,
		"::ffff:169.254.169.254": never, "64:ff9b::a9fe:a9fe": never, "2002:a9fe:a9fe::1": never,
		"100.100.100.200": never, "::ffff:100.100.100.200": never, "168.63.129.16": never, "fd00:ec2::254": never, "fd20:ce::254": never,
		"0.0.0.0": never, "0.1.2.3": never, "::": never, "192.0.0.192": never, "192.0.2.1": never, "198.51.100.1": never, "203.0.113.1": never, "192.88.99.1": never,
		"224.0.0.1": never, "239.255.255.255": never, "240.0.0.1": never, "255.255.255.255": never, "ff02::1": never, "ff0e::1": never,
		"2001:db8::1": never, "2001::1": never, "3fff::1": never, "100::1": never, "64:ff9b:1::a00:1": never, "::127.0.0.1": never, "::10.0.0.1": never, "4000::1": never,
	} {
		for _, setting := range []bool{false, true} {
			n, hc := newNetwork(t, server, func(string) string { return address }, setting)
			resp, err := hc.Get("http://name.example/")
			allowed := want == public || want == local && setting
			require.Equal(t, allowed, err == nil, "%s %v: %v", address, setting, err)
			if allowed {
				resp.Body.Close()
				continue
			}
			requireAddressError(t, err)
			require.Equal(t, 1, n.dials)
			require.False(t, n.sent.Load(), "nothing is sent to %s", address)
		}
	}
}

// With the dialer of its own the guard looks before there is a connection.
func TestTheGuardLooksBeforeItDials_R9728_7_7_1(t *testing.T) {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)
	for _, base := range []*http.Client{nil, {}, {Transport: &http.Transport{}}} {
		for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::1]", "0.0.0.0"} {
			_, err := guarded(t, base, false).Get("http://" + host + ":" + port)
			require.Error(t, err)
			if host != "[::1]" { // which a machine need not have
				requireAddressError(t, err)
			}
		}
		require.Zero(t, connections.Load())
		resp, err := guarded(t, base, true).Get("http://127.0.0.1:" + port)
		require.NoError(t, err)
		resp.Body.Close()
		require.EqualValues(t, 1, connections.Swap(0))
		_, err = guarded(t, base, true).Get("http://0.0.0.0:" + port)
		requireAddressError(t, err)
		require.Zero(t, connections.Load())
	}
}

// A name may lead elsewhere the next time: each connection is looked at.
func TestRebinding_R9728_7_7_1(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Connection", "close") }))
	defer server.Close()
	to := "93.184.216.34"
	n, hc := newNetwork(t, server, func(string) string { return to }, false)
	resp, err := hc.Get("http://rebound.example/")
	require.NoError(t, err)
	resp.Body.Close()
	n.sent.Store(false)
	to = "169.254.169.254"
	_, err = hc.Get("http://rebound.example/")
	requireAddressError(t, err)
	require.False(t, n.sent.Load())
}

// Whatever leads there, a name, a redirect, a hint, an issuer, an endpoint: the error says it and nothing is sent.
func TestNothingLeadsToPrivateAddresses_R9728_7_7_1(t *testing.T) {
	var asked []string
	server := httptest.NewUnstartedServer(nil)
	server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Host)
		http.Redirect(w, r, "https://inner.example.com/", http.StatusFound)
	})
	server.StartTLS()
	defer server.Close()
	_, hc := newNetwork(t, server, func(host string) string {
		if strings.HasPrefix(host, "inner.") {
			return "10.0.0.1"
		}
		return "93.184.216.34"
	}, false)

	_, probed := authserver.Probe(t.Context(), hc, "https://inner.example.com/mcp")
	_, moved := authserver.DiscoverResource(t.Context(), hc, "https://outer.example.com", "")
	_, hinted := authserver.DiscoverResource(t.Context(), hc, "https://outer.example.com", "https://inner.example.com/meta")
	_, issuer := authserver.Discover(t.Context(), hc, "https://inner.example.com")
	_, registered := authserver.Register(t.Context(), hc, "https://inner.example.com", native(), none)
	_, keys := authserver.Keys(t.Context(), hc, "https://inner.example.com/keys")
	_, token := (&authserver.Client{HTTP: hc, ID: "app", Method: authserver.MethodNone}).Token(t.Context(), "https://inner.example.com", refresh("RT"), nil)
	for _, err := range []error{probed, moved, hinted, issuer, registered, keys, token} {
		requireAddressError(t, err)
		requireFailure(t, err, authserver.NotProcessed)
		require.ErrorContains(t, err, "10.0.0.1")
		require.ErrorContains(t, err, "LocalNetwork")
	}
	require.Equal(t, []string{"outer.example.com"}, asked)
}

// A proxy may be anywhere, since nobody else has named it. It is not asked for what the guard can see to be private, and no way for
// anybody else to where it is.
func TestProxiesAndTheGuard(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = append(asked, r.URL.String()) }))
	defer proxy.Close()
	address, err := url.Parse(proxy.URL)
	require.NoError(t, err)
	behind := func(local bool) *http.Client {
		return guarded(t, &http.Client{Transport: &http.Transport{Proxy: func(req *http.Request) (*url.URL, error) {
			if req.URL.Host == address.Host || req.URL.Host == "direct.example" {
				return nil, nil
			}
			if req.URL.Host == "broken.example" {
				return nil, io.ErrUnexpectedEOF
			}
			return address, nil
		}}}, local)
	}
	hc := behind(false)
	_, err = hc.Get(proxy.URL)
	requireAddressError(t, err)
	resp, err := hc.Get("http://public.example/")
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, []string{"http://public.example/"}, asked)
	_, err = hc.Get(proxy.URL + "/admin")
	requireAddressError(t, err)
	_, err = hc.Get("http://broken.example/")
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	for _, host := range []string{
		"127.0.0.1", "10.0.0.1:8080", "169.254.169.254", "[::1]", "[fe80::1%25lo]", "localhost", "LOCALHOST:80", "a.localhost", "localhost.",
		"2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "10.0.0.1.",
		"\uff11\uff12\uff17.0.0.1", "\u24dbocalhost", // which net/http turns into ASCII
	} {
		_, err = hc.Get("http://" + host + "/")
		requireAddressError(t, err)
	}
	for _, host := range []string{"8.8.8.8", "1password.example", "127.0.0.1.example", "abc.de", "localhost.example", "public.example."} {
		resp, err := hc.Get("http://" + host + "/")
		require.NoError(t, err, host)
		resp.Body.Close()
	}
	asked = nil
	hc = behind(true)
	for host, want := range map[string]bool{"10.0.0.1": true, "localhost": true, "169.254.169.254": false, "100.100.100.200": false} {
		resp, err := hc.Get("http://" + host + "/")
		require.Equal(t, want, err == nil, "%s: %v", host, err)
		if want {
			resp.Body.Close()
		}
	}
	require.Len(t, asked, 2)
}

func TestWhatCannotBeGuarded(t *testing.T) {
	called := 0
	own := tripper(func(req *http.Request) (*http.Response, error) {
		called++
		return &http.Response{StatusCode: 200, Body: http.NoBody, Request: req}, nil
	})
	dialTLS := func(context.Context, string, string) (net.Conn, error) { return nil, io.ErrClosedPipe }
	for name, base := range map[string]http.RoundTripper{
		"a RoundTripper": own,
		//lint:ignore SA1019 programs that are older have it
		"a DialTLS":   &http.Transport{DialTLS: func(string, string) (net.Conn, error) { return nil, io.ErrClosedPipe }},
		"a context's": &http.Transport{DialTLSContext: dialTLS},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := authserver.NewGuardedHTTPClient(&http.Client{Transport: base}, false)
			require.ErrorIs(t, err, authserver.ErrUnguarded)
		})
	}
	hc := guarded(t, &http.Client{Transport: own}, true)
	for address, want := range map[string]bool{
		"https://as.example": true, "http://127.0.0.1": true, "http://localhost": true, "https://169.254.169.254": false, "https://[fe80::1]": false, "https://2852039166": false,
	} {
		called = 0
		_, err := hc.Get(address)
		require.Equal(t, want, err == nil, "%s: %v", address, err)
		require.Equal(t, want, called == 1)
		if !want {
			requireAddressError(t, err)
		}
	}
	body := &lent{Reader: strings.NewReader("x")}
	_, err := hc.Post("https://169.254.169.254", "text/plain", body)
	requireAddressError(t, err)
	require.Equal(t, 1, body.closed)
}

// A program that dials in the old way, or to no address at all, is asked as before and looked at.
func TestOwnDials(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	//lint:ignore SA1019 programs that are older have it
	old := &http.Client{Transport: &http.Transport{Dial: func(network, _ string) (net.Conn, error) {
		return net.Dial(network, server.Listener.Addr().String())
	}}}
	_, err := guarded(t, old, false).Get("http://name.example/")
	requireAddressError(t, err)
	resp, err := guarded(t, old, true).Get("http://name.example/")
	require.NoError(t, err)
	resp.Body.Close()

	inside := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		client, other := net.Pipe()
		go func() {
			_, _ = other.Read(make([]byte, 4096))
			_, _ = fmt.Fprint(other, "HTTP/1.1 204 No Content\r\n\r\n")
			other.Close()
		}()
		return client, nil
	}}}
	_, err = guarded(t, inside, false).Get("http://name.example/")
	requireAddressError(t, err)
	resp, err = guarded(t, inside, true).Get("http://name.example/")
	require.NoError(t, err)
	resp.Body.Close()

	failing := &http.Client{Transport: &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return nil, io.ErrClosedPipe }}}
	_, err = guarded(t, failing, false).Get("http://name.example/")
	require.ErrorIs(t, err, io.ErrClosedPipe)
}

func TestTheGuardChangesNothingOfTheCaller(t *testing.T) {
	base := &http.Transport{Proxy: http.ProxyFromEnvironment}
	given := &http.Client{Transport: base}
	made := guarded(t, given, false)
	require.Same(t, base, given.Transport)
	require.Nil(t, base.DialContext)
	require.NotSame(t, base, made.Transport)
	require.ErrorIs(t, made.CheckRedirect(nil, nil), http.ErrUseLastResponse)
}

package provider_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"io"
	"math/big"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// network leads every host to one handler, in memory and over TLS, whose certificates are for the host asked for: requests
// keep the addresses that the profiles give them.
type network struct {
	connections chan net.Conn
	closed      chan struct{}
	transport   *http.Transport

	mu    sync.Mutex // guards what follows
	pipes []net.Conn // all server's ends
}

func newNetwork(t *testing.T, handler http.Handler) *network {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().AddDate(10, 0, 0), NotBefore: time.Now().Add(-time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	issue := func(template *x509.Certificate) (tls.Certificate, error) {
		der, err := x509.CreateCertificate(rand.Reader, template, authority, key.Public(), key)
		return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
	}
	root, err := issue(authority)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	parsed, err := x509.ParseCertificate(root.Certificate[0])
	require.NoError(t, err)
	roots.AddCert(parsed)

	n := &network{connections: make(chan net.Conn), closed: make(chan struct{})}
	n.transport = &http.Transport{DialContext: n.dial, TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	var issued sync.Map // certificates, by host
	listener := tls.NewListener(n, &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if known, ok := issued.Load(hello.ServerName); ok {
			return known.(*tls.Certificate), nil
		}
		leaf, err := issue(&x509.Certificate{
			SerialNumber: big.NewInt(2), NotAfter: authority.NotAfter, NotBefore: authority.NotBefore, DNSNames: []string{hello.ServerName},
		})
		issued.Store(hello.ServerName, &leaf)
		return &leaf, err
	}})
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		n.transport.CloseIdleConnections()
		n.hangUp()
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	return n
}

func (n *network) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	client, server := net.Pipe()
	n.mu.Lock()
	n.pipes = append(n.pipes, server)
	n.mu.Unlock()
	select {
	case n.connections <- server:
		return client, nil
	case <-ctx.Done():
	case <-n.closed:
	}
	return nil, net.ErrClosed
}

// hangUp closes all connections below TLS: http.Server.Close would say goodbye on each with its lock held, which no time passes
// in a synctest bubble for.
func (n *network) hangUp() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, pipe := range n.pipes {
		_ = pipe.Close()
	}
}

func (n *network) Accept() (net.Conn, error) {
	select {
	case c := <-n.connections:
		return c, nil
	case <-n.closed:
		return nil, net.ErrClosed
	}
}

func (n *network) Close() error {
	close(n.closed)
	return nil
}

func (n *network) Addr() net.Addr { return &net.TCPAddr{} }

// send answers with a recorded answer: status line, header and body as they are on the wire, with plain line ends.
func send(w http.ResponseWriter, recorded []byte) error {
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(recorded)), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for name, values := range resp.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(resp.StatusCode)
	_, err = io.Copy(w, resp.Body)
	return err
}

package client

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"net/http"
	"slices"
)

// present returns base as it presents certificate to every server that asks for one, whichever authorities that server
// names: a self-signed certificate is of none. A nil base is http.DefaultTransport. Without a certificate, and where
// base is not net/http's own, it is base itself.
func present(base http.RoundTripper, certificate *tls.Certificate) http.RoundTripper {
	if base == nil {
		base = http.DefaultTransport
	}
	t, ok := base.(*http.Transport)
	if !ok || certificate == nil {
		return base
	}
	t = t.Clone()
	if t.TLSClientConfig == nil {
		t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	t.TLSClientConfig.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate, nil }
	// Clone copies the offer of HTTP/2 that net/http made for the original, but not the ability.
	t.ForceAttemptHTTP2 = t.ForceAttemptHTTP2 || slices.Contains(t.TLSClientConfig.NextProtos, "h2")
	return t
}

// thumbprint names a certificate in records (x5t#S256, RFC 8705 §3.1); "" without one.
func thumbprint(certificate *tls.Certificate) string {
	if certificate == nil {
		return ""
	}
	sum := sha256.Sum256(certificate.Certificate[0])
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

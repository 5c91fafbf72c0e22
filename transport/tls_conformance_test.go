package transport_test

import (
	"crypto/tls"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/transport"
)

// A resource whose certificate is not good gets neither request nor token, and no renewal is tried.
func TestR6750_5_3_2(t *testing.T) {
	var reached atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	otherName := server.Client().Transport.(*http.Transport).Clone()
	otherName.TLSClientConfig.ServerName = "other.test"
	for name, base := range map[string]*http.Transport{"nobody's": {}, "for another name": otherName} {
		t.Run(name, func(t *testing.T) {
			s := &rotation{}
			_, err := (&http.Client{Transport: &transport.Transport{Source: s, Base: base}}).Get(server.URL)
			var bad *tls.CertificateVerificationError
			require.ErrorAs(t, err, &bad)
			require.Empty(t, s.renewals())
		})
	}
	require.Zero(t, reached.Load())
}

package authserver_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/secret"
)

// Shows R6749-10.9-1, R8414-6.1-1, OIDCD-7.1-1, OIDC-16.17-1. Nothing is sent to a server whose certificate is not good:
// not signed by anybody who is trusted, or for another name.
func TestCertificatesAreChecked(t *testing.T) {
	var reached atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached.Add(1) }))
	server.Config.ErrorLog = quiet
	server.StartTLS()
	defer server.Close()
	trusting := server.Client().Transport.(*http.Transport).Clone()
	trusting.TLSClientConfig.ServerName = "other.test"
	for name, base := range map[string]*http.Client{
		"nobody's":         {Transport: &http.Transport{TLSClientConfig: &tls.Config{}}},
		"by default":       nil,
		"for another name": {Transport: trusting},
	} {
		t.Run(name, func(t *testing.T) {
			hc := authserver.NewHTTPClient(base)
			defer hc.CloseIdleConnections()
			client := authserver.Client{HTTP: hc, ID: "app", Secret: secret.New("s"), Method: authserver.MethodBasic}
			_, err := client.Token(t.Context(), server.URL, refresh("RT"), nil)
			var bad *tls.CertificateVerificationError
			require.ErrorAs(t, err, &bad)
			requireFailure(t, err, authserver.NotProcessed)
			require.ErrorAs(t, client.Revoke(t.Context(), server.URL, secret.New("RT"), ""), &bad)
			_, err = client.AuthorizeDevice(t.Context(), server.URL, nil)
			require.ErrorAs(t, err, &bad)
			_, err = authserver.Discover(t.Context(), hc, server.URL)
			require.ErrorAs(t, err, &bad)
		})
	}
	require.Zero(t, reached.Load())
	t.Run("a good one", func(t *testing.T) {
		hc := authserver.NewHTTPClient(server.Client())
		defer hc.CloseIdleConnections()
		require.NoError(t, (&authserver.Client{HTTP: hc, ID: "app", Method: authserver.MethodNone}).Revoke(t.Context(), server.URL, secret.New("RT"), ""))
		require.NotZero(t, reached.Load())
	})
}

// A description is for people: whatever it says, the code decides.
func TestR6749_5_2_4(t *testing.T) {
	for code, want := range map[string]authserver.Outcome{
		"invalid_grant": authserver.InvalidGrant, "invalid_client": authserver.Misconfigured, "temporarily_unavailable": authserver.NotProcessed,
	} {
		for _, description := range []string{"", "invalid_grant", "invalid_client", "try again later", "token expired", "temporarily_unavailable", "\\u0000"} {
			_, err := canned(400, nil, `{"error":"`+code+`","error_description":"`+description+`"}`).Token(t.Context(), endpoint, refresh("RT"), nil)
			requireFailure(t, err, want)
		}
	}
}

package authserver_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs an authorization server on this machine and returns its address.
func serve(t *testing.T, handler http.HandlerFunc) string {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// newHTTP is a client that is closed with the test.
func newHTTP(t *testing.T) *http.Client {
	c := authserver.NewHTTPClient(nil)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

// newClient is a public client.
func newClient(t *testing.T) *authserver.Client {
	return &authserver.Client{HTTP: newHTTP(t), ID: "app", Method: authserver.MethodNone}
}

func refresh(token string) url.Values {
	return url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
}

// tripper is a RoundTripper made of a function.
type tripper func(*http.Request) (*http.Response, error)

func (f tripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// canned is a client whose every request, once read, is answered with the same response.
func canned(status int, header http.Header, body string) *authserver.Client {
	if header == nil {
		header = http.Header{}
	}
	answer := func(req *http.Request) (*http.Response, error) {
		if req.Body != nil {
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return nil, err
			}
		}
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
	}
	return &authserver.Client{
		HTTP: authserver.NewHTTPClient(&http.Client{Transport: tripper(answer)}),
		ID:   "app", Secret: secret.New("s3cr3t"), Method: authserver.MethodBasic,
	}
}

const endpoint = "https://as.example/token"

// requireFailure asserts that err is a *Failure of one outcome.
func requireFailure(t *testing.T, err error, outcome authserver.Outcome) *authserver.Failure {
	t.Helper()
	f, ok := errors.AsType[*authserver.Failure](err)
	require.True(t, ok, "not a *Failure: %v", err)
	require.Equal(t, names[outcome], names[f.Outcome], "%v", err)
	return f
}

var names = map[authserver.Outcome]string{
	authserver.NotProcessed:   "NotProcessed",
	authserver.MaybeProcessed: "MaybeProcessed",
	authserver.Unanswered:     "Unanswered",
	authserver.InvalidGrant:   "InvalidGrant",
	authserver.Doubtful:       "Doubtful",
	authserver.Unrelated:      "Unrelated",
	authserver.Misconfigured:  "Misconfigured",
}

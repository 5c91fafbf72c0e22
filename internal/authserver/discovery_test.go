package authserver_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
)

const (
	oauthPath  = "/.well-known/oauth-authorization-server"
	openidPath = "/.well-known/openid-configuration"
)

// document is the least metadata of an issuer.
func document(issuer string) string {
	return fmt.Sprintf(`{"issuer":%q,"token_endpoint":"https://as.example/token"}`, issuer)
}

// site answers by path; what it does not know is a 404. It keeps the order of what was asked.
type site struct {
	url   string
	pages map[string]http.HandlerFunc
	mu    sync.Mutex
	asked []string // guarded by mu; an answer that has come orders reads behind it, too
}

// paths are those that were asked for, also when the last connection was broken.
func (s *site) paths() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func newSite(t *testing.T) *site {
	s := &site{pages: map[string]http.HandlerFunc{}}
	s.url = serve(t, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, r.URL.Path)
		s.mu.Unlock()
		if page, ok := s.pages[r.URL.Path]; ok {
			page(w, r)
			return
		}
		http.NotFound(w, r)
	})
	return s
}

func page(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(body))
	}
}

func moved(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusMovedPermanently)
	}
}

// Shows R8414-3-1, R8414-3.1-1, OIDCD-4-1, MCP25-DISC-4.
func TestDiscoveryAddresses_R8414_3(t *testing.T) {
	for _, c := range []struct {
		path string
		want []string
	}{
		{"", []string{oauthPath, openidPath}},
		{"/", []string{oauthPath, openidPath}},
		{"/t1", []string{oauthPath + "/t1", openidPath + "/t1", "/t1" + openidPath}},
		{"/t1/", []string{oauthPath + "/t1", openidPath + "/t1", "/t1" + openidPath}},
		{"/a/b", []string{oauthPath + "/a/b", openidPath + "/a/b", "/a/b" + openidPath}},
	} {
		t.Run(c.path, func(t *testing.T) {
			s := newSite(t)
			_, err := authserver.Discover(t.Context(), newHTTP(t), s.url+c.path)
			require.Equal(t, c.want, s.asked)
			failed, ok := errors.AsType[*authserver.DiscoveryError](err)
			require.True(t, ok)
			require.Equal(t, s.url+c.path, failed.Issuer)
			require.Len(t, failed.Tried, len(c.want))
			for i, attempt := range failed.Tried {
				require.Equal(t, s.url+c.want[i], attempt.Address)
				require.Equal(t, 404, requireFailure(t, attempt.Err, authserver.NotProcessed).Status)
				require.Contains(t, err.Error(), attempt.Address)
			}

			for i, path := range c.want { // each one does
				s := newSite(t)
				s.pages[path] = page(200, document(s.url+c.path))
				m, err := authserver.Discover(t.Context(), newHTTP(t), s.url+c.path)
				require.NoError(t, err)
				require.Equal(t, s.url+c.path, m.Issuer)
				require.Equal(t, c.want[:i+1], s.asked)
			}
		})
	}
}

// Shows OIDCD-4.1-1, OIDCD-4.2-1.
func TestMetadata(t *testing.T) {
	s := newSite(t)
	s.pages[oauthPath] = func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.Header.Get("Accept") != "application/json" || r.Header.Get("Authorization") != "" {
			t.Error("not a plain GET")
		}
		_, _ = fmt.Fprintf(w, `{"issuer":%q,"authorization_endpoint":"https://as.example/authorize?x=1","token_endpoint":"https://as.example/token",
			"device_authorization_endpoint":"http://[::1]:7/device","revocation_endpoint":"https://as.example/revoke",
			"token_endpoint_auth_methods_supported":["client_secret_post","none"],"code_challenge_methods_supported":["S256"],
			"authorization_response_iss_parameter_supported":true,
			"pushed_authorization_request_endpoint":"https://as.example/par","require_pushed_authorization_requests":true,"unknown":{"x":[null]}}`, s.url)
	}
	m, err := authserver.Discover(t.Context(), newHTTP(t), s.url)
	require.NoError(t, err)
	require.Equal(t, &authserver.Metadata{
		Issuer: s.url, AuthorizationEndpoint: "https://as.example/authorize?x=1", TokenEndpoint: "https://as.example/token",
		DeviceAuthorizationEndpoint: "http://[::1]:7/device", RevocationEndpoint: "https://as.example/revoke",
		TokenEndpointAuthMethods: []string{"client_secret_post", "none"}, CodeChallengeMethods: []string{"S256"}, AuthorizationResponseIss: true,
		PushEndpoint: "https://as.example/par", PushRequired: true, Life: time.Hour,
	}, m)
}

// Shows OIDCD-4.3-1.
// Shows R8414-3.2-1.
func TestTheNextAddressIsAskedAfterAnyFailure(t *testing.T) {
	for name, first := range map[string]http.HandlerFunc{
		"404":                      page(404, ""),
		"401 JSON, LemonLDAP":      page(401, `{"error":"PE9"}`),
		"500":                      page(500, ""),
		"204":                      page(204, ""),
		"a page":                   page(200, "<html>"),
		"nothing":                  page(200, ""),
		"null":                     page(200, "null"),
		"an array":                 page(200, "[]"),
		"a member of another type": page(200, `{"issuer":7}`),
		"another issuer":           page(200, document("https://evil.example")),
		"no issuer":                page(200, `{"token_endpoint":"https://as.example/token"}`),
		"a broken connection":      func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"a body cut short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "500")
			_, _ = w.Write([]byte("{"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.pages[oauthPath] = first
			s.pages[openidPath] = page(200, document(s.url))
			_, err := authserver.Discover(t.Context(), newHTTP(t), s.url)
			require.NoError(t, err)
			require.Contains(t, s.asked, openidPath)
		})
	}
}

// Shows R8414-3.3-1, R8414-4-1, R8414-6.2-1, OIDCD-4.3-2, OIDCD-5-1, OIDCD-7.2-1.
// Shows MCP26-META-1.
func TestTheIssuerIsComparedExactly_R8414_3_3(t *testing.T) {
	for _, c := range []struct {
		asked, said string // behind the origin
		want        bool
	}{
		{"", "", true}, {"/t", "/t", true}, {"/t/", "/t/", true},
		{"", "/", false}, {"/", "", false}, {"", "//", false}, {"/t", "/t/", false}, {"/t/", "/t", false}, {"/t", "/T", false}, {"/t", "", false},
		{"/t", "/%74", false}, {"/caf\u00e9", "/cafe\u0301", false}, {"", "?x", false}, {"", "#", false}, {"", "/t", false},
	} {
		s := newSite(t)
		for _, path := range []string{oauthPath, oauthPath + "/t", oauthPath + "/caf\u00e9"} {
			s.pages[path] = page(200, document(s.url+c.said))
		}
		m, err := authserver.Discover(t.Context(), newHTTP(t), s.url+c.asked)
		require.Equal(t, c.want, err == nil, "%q %q: %v", c.asked, c.said, err)
		if c.want {
			require.Equal(t, s.url+c.said, m.Issuer, "as the server writes it, for iss")
		}
	}
}

// An issuer that a resource lists may lack the slash after its host, or have one more than the document. Nothing else.
func TestAListedIssuerIsSpeltAsItsDocumentSpellsIt(t *testing.T) {
	for _, c := range []struct {
		listed, said string // behind the origin
		want         bool
	}{
		{"", "", true}, {"/", "/", true}, {"", "/", true}, {"/", "", true}, {"/t", "/t", true},
		{"/", "//", false}, {"", "//", false}, {"//", "/", false}, {"//", "", false}, {"/t", "/t/", false}, {"/t/", "/t", false}, {"/t", "/", false},
		{"", "/t", false}, {"", "?", false}, {"", "/?", false}, {"", "#", false}, {"/", "/#", false}, {"", "/%2f", false}, {"", "/.", false}, {"", ".", false},
	} {
		s := newSite(t)
		for _, path := range []string{oauthPath, oauthPath + "/", oauthPath + "/t"} {
			s.pages[path] = page(200, document(s.url+c.said))
		}
		m, err := authserver.DiscoverListed(t.Context(), newHTTP(t), s.url+c.listed)
		require.Equal(t, c.want, err == nil, "%q %q: %v", c.listed, c.said, err)
		require.Equal(t, c.want, authserver.IsSpelling("https://as.example"+c.listed, "https://as.example"+c.said), "%q %q", c.listed, c.said)
		require.Equal(t, c.want, authserver.IsSpelling("https://as.example"+c.said, "https://as.example"+c.listed), "%q %q", c.said, c.listed)
		if c.want {
			require.Equal(t, s.url+c.said, m.Issuer)
		}
	}
	for _, other := range []string{"http://as.example/", "https://AS.example/", "https://as.example:443/", "https://as.example./", "https://", "https:///", "", "/"} {
		require.False(t, authserver.IsSpelling("https://as.example", other), other)
	}
	require.False(t, authserver.IsSpelling("", "/"))
	require.False(t, authserver.IsSpelling("https://", "https:///"))
}

// The same, where it is the host that looks like another or leads to the same place.
func TestIssuersThatLookAlikeAreOthers(t *testing.T) {
	s := newSite(t)
	for _, said := range []string{
		strings.Replace(s.url, "127.0.0.1", "localhost", 1), strings.Replace(s.url, "127.0.0.1", "127.1", 1),
		strings.Replace(s.url, "http", "HTTP", 1), strings.Replace(s.url, "127.0.0.1", "127.0.0.1.", 1), strings.Replace(s.url, "://", "://@", 1),
		"https://as.example", "https://AS.example", "https://as.example:443", "https://as.example.",
		"https://b\u00fccher.example", "https://xn--bcher-kva.example", "https://\u0430s.example", // a Cyrillic a
	} {
		s.pages[oauthPath] = page(200, document(said))
		_, err := authserver.Discover(t.Context(), newHTTP(t), s.url)
		require.Error(t, err, said)
	}
}

// Shows R8414-2-1, OIDCD-3-1.
func TestUnfitIssuersAreNotAsked(t *testing.T) {
	hc := newHTTP(t)
	hc.Transport = unreachable(t)
	for _, issuer := range []string{
		"", "as.example", "http://as.example", "https://as.example?x=1", "https://as.example?", "https://as.example#f", "https://as.example#",
		"https://user:pa55@as.example", "ftp://as.example", "https://", "https://as.example/\x7f", "http://127.0.0.1.example/", "http://169.254.169.254/",
	} {
		_, err := authserver.Discover(t.Context(), hc, issuer)
		_, ok := errors.AsType[*authserver.DiscoveryError](err)
		require.True(t, ok, "%q: %v", issuer, err)
		require.ErrorContains(t, err, "Config.Issuer")
		require.NotContains(t, err.Error(), "pa55")
	}
}

// Shows R8414-3.2-1.
func TestTheDocumentIsBounded(t *testing.T) {
	for _, extra := range []int{0, 1} {
		s := newSite(t)
		known := document(s.url)
		s.pages[oauthPath] = page(200, known+strings.Repeat(" ", 1<<20-len(known)+extra))
		_, err := authserver.Discover(t.Context(), newHTTP(t), s.url)
		require.Equal(t, extra == 0, err == nil, "%v", err)
	}
}

func TestATokenEndpointIsNeeded(t *testing.T) {
	s := newSite(t)
	s.pages[oauthPath] = page(200, fmt.Sprintf(`{"issuer":%q}`, s.url))
	_, err := authserver.Discover(t.Context(), newHTTP(t), s.url)
	require.ErrorContains(t, err, "token_endpoint")
}

func TestDiscoveryFollowsFewRedirects(t *testing.T) {
	t.Run("to a slash, as django-oauth-toolkit does", func(t *testing.T) {
		s := newSite(t)
		s.pages[openidPath] = moved(openidPath + "/")
		s.pages[openidPath+"/"] = page(200, document(s.url))
		_, err := authserver.Discover(t.Context(), newHTTP(t), s.url)
		require.NoError(t, err)
	})
	for redirects, want := range map[int]bool{3: true, 4: false} {
		s := newSite(t)
		s.pages[oauthPath] = moved("/1")
		for i := 1; i < redirects; i++ {
			s.pages[fmt.Sprintf("/%d", i)] = moved(fmt.Sprintf("/%d", i+1))
		}
		s.pages[fmt.Sprintf("/%d", redirects)] = page(200, document(s.url))
		_, err := authserver.Discover(t.Context(), newHTTP(t), s.url)
		require.Equal(t, want, err == nil, "%d redirects: %v", redirects, err)
	}
	t.Run("not to plain http", func(t *testing.T) {
		for _, to := range []string{"http://as.example/", "https://user:pa55@as.example/", "ftp://as.example/"} {
			s := newSite(t)
			s.pages[oauthPath] = moved(to)
			_, err := authserver.Discover(t.Context(), newHTTP(t), s.url)
			require.Error(t, err)
			require.Equal(t, []string{oauthPath, openidPath}, s.asked)
			require.NotContains(t, err.Error(), "pa55")
		}
	})
	t.Run("not from TLS to this machine", func(t *testing.T) {
		local := newSite(t)
		server := httptest.NewTLSServer(moved(local.url + "/"))
		defer server.Close()
		hc := authserver.NewHTTPClient(server.Client())
		defer hc.CloseIdleConnections()
		_, err := authserver.Discover(t.Context(), hc, server.URL)
		require.Error(t, err)
		require.Empty(t, local.asked)
	})
}

func TestDiscoveryEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := newSite(t)
	s.pages[oauthPath] = func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	}
	_, err := authserver.Discover(ctx, newHTTP(t), s.url)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []string{oauthPath}, s.asked, "nothing more is asked")
	failed, _ := errors.AsType[*authserver.DiscoveryError](err)
	require.Len(t, failed.Tried, 1, "nor said to have been")
}

func TestDiscoveryKeepsRetryAfter(t *testing.T) {
	s := newSite(t)
	s.pages[oauthPath] = func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "9")
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, err := authserver.Discover(t.Context(), newHTTP(t), s.url)
	f := requireFailure(t, err, authserver.NotProcessed)
	require.Equal(t, 503, f.Status)
	require.EqualValues(t, 9e9, f.RetryAfter)
}

// Only a server that has answered with nothing of use is taken for one without keys: whoever could keep its answer back would
// have id tokens believed unsigned.
func TestTroubleIsNoAnswer(t *testing.T) {
	for status, want := range map[int]bool{200: true, 404: true, 403: true, 302: false, 429: false, 500: false, 503: false} {
		s := newSite(t)
		s.pages[openidPath] = page(status, "")
		_, err := authserver.DiscoverOpenID(t.Context(), newHTTP(t), s.url)
		failed, ok := errors.AsType[*authserver.DiscoveryError](err)
		require.True(t, ok, "%v", err)
		require.Equal(t, want, failed.IsAnswered(), status)
	}
	hc := authserver.NewHTTPClient(&http.Client{Transport: tripper(func(*http.Request) (*http.Response, error) { return nil, http.ErrServerClosed })})
	_, err := authserver.DiscoverOpenID(t.Context(), hc, "https://as.example")
	failed, ok := errors.AsType[*authserver.DiscoveryError](err)
	require.True(t, ok)
	require.False(t, failed.IsAnswered(), "no connection")
}

package authserver_test

import (
	"errors"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/jws"
	"github.com/evergrant/evergrant/internal/secret"
)

// bodies are the files of a folder of testdata: answers as servers send them, and worse.
func bodies(t testing.TB, folder string) map[string]string {
	found := map[string]string{}
	root := filepath.Join("testdata", folder)
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		found[entry.Name()] = string(data)
		return err
	}))
	require.NotEmpty(t, found, "no bodies in %s", root)
	return found
}

var statuses = []int{200, 201, 204, 302, 400, 401, 403, 404, 429, 500, 503}

func FuzzToken(f *testing.F) {
	for _, body := range bodies(f, "token") {
		for _, status := range statuses {
			f.Add(status, body)
		}
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		answer, err := canned(status, nil, body).Token(t.Context(), endpoint, refresh("RT-SENTINEL"), nil)
		if err != nil {
			if answer != nil { // it has a refresh token all the same
				require.True(t, answer.AccessToken.IsEmpty())
				require.False(t, answer.RefreshToken.IsEmpty())
			}
			requireSober(t, err)
			return
		}
		requireSane(t, answer)
		require.Equal(t, "Bearer", answer.TokenType)
		require.GreaterOrEqual(t, answer.RefreshIn, time.Duration(0))
		require.True(t, answer.ScopesGiven || answer.Scopes == nil)
	})
}

// isHeaderValue reports whether net/http sends text in a header as it is.
func isHeaderValue(text string) bool {
	return !strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) && strings.TrimSpace(text) == text
}

func FuzzPush(f *testing.F) {
	for _, body := range bodies(f, "push") {
		for _, status := range statuses {
			f.Add(status, body)
		}
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		pushed, err := canned(status, nil, body).Push(t.Context(), endpoint, url.Values{"state": {"RT-SENTINEL"}})
		if err != nil {
			require.Nil(t, pushed)
			requireSober(t, err)
			return
		}
		require.True(t, status >= 200 && status < 300)
		require.NotEmpty(t, pushed.RequestURI)
		require.LessOrEqual(t, len(pushed.RequestURI), 4096)
		require.GreaterOrEqual(t, pushed.Lifetime, time.Duration(0))
		back, err := url.ParseQuery(url.Values{"request_uri": {pushed.RequestURI}}.Encode())
		require.NoError(t, err)
		require.Equal(t, pushed.RequestURI, back.Get("request_uri"), "it arrives as the server has made it")
	})
}

// What is revoked is what the status says, whatever else is said.
func FuzzRevoke(f *testing.F) {
	for _, folder := range []string{"token", "introspection"} {
		for _, body := range bodies(f, folder) {
			for _, status := range statuses {
				f.Add(status, body)
			}
		}
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		err := canned(status, nil, body).Revoke(t.Context(), endpoint, secret.New("RT-SENTINEL"), "refresh_token")
		require.Equal(t, status >= 200 && status < 300, err == nil)
		if err != nil {
			requireSober(t, err)
		}
	})
}

// A token counts as active only if the server says so by the boolean itself.
func FuzzIntrospect(f *testing.F) {
	for _, body := range bodies(f, "introspection") {
		for _, status := range statuses {
			f.Add(status, body)
		}
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		active, said, err := canned(status, nil, body).Introspect(t.Context(), endpoint, secret.New("RT-SENTINEL"))
		if err != nil {
			require.False(t, active)
			require.Nil(t, said)
			requireSober(t, err)
			return
		}
		require.Equal(t, active, string(said["active"]) == "true")
	})
}

// Keys are public, of algorithms that are known, and verify nothing that they have not signed.
func FuzzKeys(f *testing.F) {
	for _, body := range bodies(f, "keys") {
		f.Add(body)
	}
	const forged = "eyJhbGciOiJFUzI1NiIsImtpZCI6IjEifQ.e30.AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
	f.Fuzz(func(t *testing.T, body string) {
		keys, err := authserver.Keys(t.Context(), canned(200, nil, body).HTTP, "https://as.example/keys")
		if err != nil {
			require.Nil(t, keys)
			require.Less(t, len(err.Error()), 500)
			return
		}
		for _, key := range keys {
			require.True(t, key.IsPublic())
			require.True(t, key.Valid())
		}
		payload, err := keys.Verify(forged, jws.Algorithms)
		require.Nil(t, payload)
		require.ErrorIs(t, err, jws.ErrUnknownKey)
	})
}

func FuzzDevice(f *testing.F) {
	for _, body := range bodies(f, "device") {
		for _, status := range statuses {
			f.Add(status, body)
		}
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		device, err := canned(status, nil, body).AuthorizeDevice(t.Context(), endpoint, nil)
		if err != nil {
			require.Nil(t, device)
			requireSober(t, err)
			return
		}
		require.False(t, device.DeviceCode.IsEmpty())
		require.NotEmpty(t, device.UserCode)
		require.Greater(t, device.Interval, time.Duration(0))
		require.LessOrEqual(t, device.Interval, time.Hour)
		require.Greater(t, device.Lifetime, time.Duration(0))
		requireSafe(t, device.VerificationURI)
		if device.VerificationURIComplete != "" {
			requireSafe(t, device.VerificationURIComplete)
		}
		for _, r := range device.UserCode + device.VerificationURI + device.VerificationURIComplete {
			require.True(t, unicode.IsPrint(r))
		}
	})
}

func FuzzDiscover(f *testing.F) {
	for _, body := range bodies(f, "metadata") {
		f.Add("https://as.example", body)
		f.Add("https://as.example/t1/", body)
		f.Add("http://127.0.0.1:8080/t1", body)
	}
	f.Fuzz(func(t *testing.T, issuer, body string) {
		requests := 0
		hc := authserver.NewHTTPClient(&http.Client{Transport: tripper(func(req *http.Request) (*http.Response, error) {
			requests++
			requireSafe(t, req.URL.String())
			return canned(200, nil, body).HTTP.Transport.RoundTrip(req)
		})})
		m, err := authserver.Discover(t.Context(), hc, issuer)
		require.LessOrEqual(t, requests, 3)
		if err != nil {
			_, ok := errors.AsType[*authserver.DiscoveryError](err)
			require.True(t, ok)
			require.Less(t, len(err.Error()), 8*len(issuer)+4000)
			return
		}
		require.Equal(t, issuer, m.Issuer)
		require.GreaterOrEqual(t, m.Life, 5*time.Minute)
		require.LessOrEqual(t, m.Life, 24*time.Hour)
		requireSafe(t, m.TokenEndpoint)
		moved := m.WithAliases()
		for _, address := range []string{
			m.AuthorizationEndpoint, m.DeviceAuthorizationEndpoint, m.RevocationEndpoint, m.PushEndpoint, m.KeysURI, m.UserInfoEndpoint,
			m.EndSessionEndpoint, moved.TokenEndpoint, moved.DeviceAuthorizationEndpoint, moved.RevocationEndpoint, moved.PushEndpoint, moved.UserInfoEndpoint,
		} {
			if address != "" {
				requireSafe(t, address)
			}
		}
	})
}

// A resource's metadata is of this resource, or of its origin at the origin's own address, and leads to safe places only.
func FuzzResource(f *testing.F) {
	for _, body := range bodies(f, "resource") {
		f.Add("https://api.example/mcp", "", body)
		f.Add("https://api.example/mcp?tenant=1", "https://elsewhere.example/metadata", body)
		f.Add("https://api.example", "file:///etc/passwd", body)
		f.Add("http://127.0.0.1:7/mcp", "http://127.0.0.1:8/metadata", body)
	}
	f.Fuzz(func(t *testing.T, resource, hinted, body string) {
		requests := 0
		hc := authserver.NewHTTPClient(&http.Client{Transport: tripper(func(req *http.Request) (*http.Response, error) {
			requests++
			requireSafe(t, req.URL.String())
			return canned(200, nil, body).HTTP.Transport.RoundTrip(req)
		})})
		found, err := authserver.DiscoverResource(t.Context(), hc, resource, hinted)
		require.LessOrEqual(t, requests, 3)
		if err != nil {
			_, ok := errors.AsType[*authserver.ResourceError](err)
			require.True(t, ok)
			require.Nil(t, found)
			require.Less(t, len(err.Error()), 4000)
			return
		}
		require.True(t, found.Identifier == resource || strings.HasPrefix(resource, strings.TrimSuffix(found.Identifier, "/")), found.Identifier)
		require.NotEmpty(t, found.AuthorizationServers)
		for _, issuer := range found.AuthorizationServers {
			requireSafe(t, issuer)
		}
		if strings.HasPrefix(resource, "https:") {
			require.NotContains(t, strings.Join(append(found.AuthorizationServers, found.Address), "\n"), "http://")
		}
	})
}

// What was registered can be sent and managed, or it is an error.
func FuzzRegister(f *testing.F) {
	for _, body := range bodies(f, "registration") {
		for _, status := range statuses {
			f.Add(status, body)
		}
	}
	program := &authserver.Program{Name: "app", RedirectURIs: []string{"http://127.0.0.1/callback"}}
	f.Fuzz(func(t *testing.T, status int, body string) {
		deleted := false
		hc := authserver.NewHTTPClient(&http.Client{Transport: tripper(func(req *http.Request) (*http.Response, error) {
			requireSafe(t, req.URL.String())
			require.Equal(t, deleted, req.Method == http.MethodDelete)
			deleted = true
			return canned(status, nil, body).HTTP.Transport.RoundTrip(req)
		})})
		made, err := authserver.Register(t.Context(), hc, "https://as.example/register", program, secret.New("RT-SENTINEL"))
		if err != nil {
			require.Nil(t, made)
			requireSober(t, err)
			return
		}
		require.NotEmpty(t, made.ID)
		require.True(t, utf8.ValidString(made.ID))
		require.Equal(t, made.URI == "", made.Token.IsEmpty())
		if made.URI != "" {
			requireSafe(t, made.URI)
		}
		require.Contains(t, authserver.Methods, made.Method)
	})
}

// FuzzDialect has servers of other tongues answer: what comes out is as sane as with the RFCs' own.
func FuzzDialect(f *testing.F) {
	for _, body := range bodies(f, "dialect") {
		for i := range dialects {
			f.Add(i, 200, body)
			f.Add(i, 400, body)
		}
	}
	f.Fuzz(func(t *testing.T, which, status int, body string) {
		c := canned(status, nil, body)
		c.Dialect = dialects[((which%len(dialects))+len(dialects))%len(dialects)]
		answer, err := c.Token(t.Context(), endpoint, refresh("RT-SENTINEL"), nil)
		if err != nil {
			require.True(t, answer == nil || answer.AccessToken.IsEmpty())
			requireSober(t, err)
			return
		}
		requireSane(t, answer)
	})
}

var dialects = []authserver.Dialect{
	{Unwrap: []string{"authed_user", ""}, SuccessPath: "ok", SuccessText: "true", ScopeSeparator: ","},
	{Unwrap: []string{"data"}, Members: map[string]string{"error": "data.error_code", "error_description": "data.description"}, SuccessPath: "message", SuccessText: "success"},
	{Members: map[string]string{"refresh_token": "refresh.token.0", "scope": "scopes", "error": "error.code"}, Errors: map[string]string{"bad_refresh_token": "invalid_grant", "190": "invalid_grant"}},
	{LifetimeUnit: authserver.UnitMilliseconds, BearerTypes: []string{"bot"}},
	{LifetimeUnit: authserver.UnitUnixTime, DefaultLifetime: time.Hour},
	{LifetimeUnit: authserver.UnitISOTime, RefreshGrant: "fb_exchange_token", JSON: true},
}

// requireSane asserts what holds of every answer with tokens.
func requireSane(t *testing.T, answer *authserver.Answer) {
	t.Helper()
	require.True(t, isHeaderValue(answer.AccessToken.Reveal()))
	require.NotEmpty(t, answer.AccessToken.Reveal())
	require.GreaterOrEqual(t, answer.Lifetime, time.Duration(0))
	require.LessOrEqual(t, answer.Lifetime, 3650*24*time.Hour)
	require.NotContains(t, answer.Scopes, "")
	for _, known := range []string{"access_token", "refresh_token", "id_token", "scope", "expires_in"} {
		require.NotContains(t, answer.Extra, known)
	}
}

// requireSober asserts what holds of every failure, whatever a server says.
func requireSober(t *testing.T, err error) {
	t.Helper()
	f, ok := errors.AsType[*authserver.Failure](err)
	require.True(t, ok)
	require.Contains(t, names, f.Outcome)
	for _, sent := range []string{"RT-SENTINEL", "s3cr3t", "YXBwOnMzY3IzdA"} { // the last one: app:s3cr3t in Base64
		require.NotContains(t, err.Error(), sent)
	}
	require.Less(t, len([]rune(err.Error())), 1500)
	for _, r := range err.Error() {
		require.True(t, unicode.IsPrint(r), "%q", err.Error())
	}
}

func requireSafe(t *testing.T, address string) {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	local := u.Hostname() == "127.0.0.1" || u.Hostname() == "::1" || strings.EqualFold(u.Hostname(), "localhost")
	require.True(t, u.Scheme == "https" || u.Scheme == "http" && (local || strings.HasPrefix(u.Hostname(), "127.") || strings.Contains(u.Hostname(), ":")), address)
	require.Nil(t, u.User)
	require.NotEmpty(t, u.Hostname())
}

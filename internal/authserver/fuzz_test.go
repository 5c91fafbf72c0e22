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

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
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
			require.Nil(t, answer)
			requireSober(t, err)
			return
		}
		require.False(t, answer.AccessToken.IsEmpty())
		require.Equal(t, "Bearer", answer.TokenType)
		require.GreaterOrEqual(t, answer.Lifetime, time.Duration(0))
		require.LessOrEqual(t, answer.Lifetime, 3650*24*time.Hour)
		require.GreaterOrEqual(t, answer.RefreshIn, time.Duration(0))
		require.NotContains(t, answer.Scopes, "")
		require.True(t, answer.ScopesGiven || answer.Scopes == nil)
		for _, known := range []string{"access_token", "refresh_token", "id_token", "scope", "expires_in"} {
			require.NotContains(t, answer.Extra, known)
		}
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
			return
		}
		require.Equal(t, strings.TrimSuffix(issuer, "/"), strings.TrimSuffix(m.Issuer, "/"))
		requireSafe(t, m.TokenEndpoint)
		for _, address := range []string{m.AuthorizationEndpoint, m.DeviceAuthorizationEndpoint, m.RevocationEndpoint} {
			if address != "" {
				requireSafe(t, address)
			}
		}
	})
}

// requireSober asserts what holds of every failure, whatever a server says.
func requireSober(t *testing.T, err error) {
	t.Helper()
	f, ok := errors.AsType[*authserver.Failure](err)
	require.True(t, ok)
	require.Contains(t, names, f.Outcome)
	require.NotContains(t, err.Error(), "RT-SENTINEL")
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

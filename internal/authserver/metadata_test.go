package authserver_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
)

// Shows R8414-3.2-2 in part: how long a document is believed.
func TestMetadataLivesAsLongAsItSays(t *testing.T) {
	for said, want := range map[string]time.Duration{
		"":                                   time.Hour,
		"public":                             time.Hour,
		"max-age=1800":                       30 * time.Minute,
		`Public, Max-Age="7200"`:             2 * time.Hour,
		"max-age=1":                          5 * time.Minute,
		"max-age=-1":                         5 * time.Minute,
		"max-age=31536000":                   24 * time.Hour,
		"max-age=99999999999999999999999999": time.Hour,
		"max-age=soon":                       time.Hour,
		"no-store":                           5 * time.Minute,
		"max-age=7200, no-cache":             5 * time.Minute,
		"no-cache=Set-Cookie, max-age=7200":  5 * time.Minute,
	} {
		s := newSite(t)
		s.pages[oauthPath] = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", said)
			_, _ = w.Write([]byte(document(s.url)))
		}
		m, err := authserver.Discover(t.Context(), newHTTP(t), s.url)
		require.NoError(t, err)
		require.Equal(t, want, m.Life, "%q", said)
	}
}

// Shows R8414-5-1, R8414-3.2-1: only the issuer's own word is that it has no metadata.
func TestAbsentMetadata(t *testing.T) {
	for name, c := range map[string]struct {
		first http.HandlerFunc
		want  bool
	}{
		"404":                 {page(404, "<html>"), true},
		"410":                 {page(410, ""), true},
		"405":                 {page(405, ""), true},
		"401":                 {page(401, ""), false},
		"403 by a firewall":   {page(403, ""), false},
		"429":                 {page(429, ""), false},
		"503":                 {page(503, ""), false},
		"a page":              {page(200, "<html>"), false},
		"another's document":  {page(200, document("https://evil.example")), false},
		"a broken connection": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.pages[oauthPath] = c.first
			_, err := authserver.Discover(t.Context(), newHTTP(t), s.url)
			failed, ok := errors.AsType[*authserver.DiscoveryError](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, c.want, failed.IsAbsent())
		})
	}
	_, err := authserver.Discover(t.Context(), newHTTP(t), "http://as.example")
	unfit, ok := errors.AsType[*authserver.DiscoveryError](err)
	require.True(t, ok)
	require.False(t, unfit.IsAbsent())
}

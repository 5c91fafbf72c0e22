package dpop_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/dpop"
)

func nonces(values ...string) http.Header { return http.Header{"Dpop-Nonce": values} }

func TestR9449_9_2(t *testing.T) {
	var s dpop.Servers
	require.Empty(t, s.Nonce("https://a.example/x"))
	require.Equal(t, "n1", s.NoticeNonce("https://a.example/x", nonces("n1")))
	for _, tt := range []struct{ address, want string }{
		{"https://a.example/other", "n1"},
		{"https://A.example:443/", "n1"},
		{"https://a.example:8443/", ""},
		{"http://a.example/", ""},
		{"https://b.example/x", ""},
		{"https://a.example.b.example/", ""},
		{"https://a.example", "n1"},
	} {
		u, err := url.Parse(tt.address)
		require.NoError(t, err)
		require.Equal(t, tt.want, s.Nonce(dpop.Target(u, "")), tt.address)
	}
}

func TestR9449_8_1_1(t *testing.T) {
	u := "https://a.example/"
	for name, tt := range map[string]struct {
		values []string
		want   string
	}{
		"good":               {[]string{"eyJ7S_zG.eyJH0-Z~HX4w-7v+/=!#[]"}, "eyJ7S_zG.eyJH0-Z~HX4w-7v+/=!#[]"},
		"empty":              {[]string{""}, ""},
		"a space":            {[]string{"a b"}, ""},
		"a quotation mark":   {[]string{`a"b`}, ""},
		"a backslash":        {[]string{`a\b`}, ""},
		"a control":          {[]string{"a\x01"}, ""},
		"beyond ASCII":       {[]string{"ä"}, ""},
		"endless":            {[]string{strings.Repeat("n", 5000)}, ""},
		"two":                {[]string{"a", "b"}, ""},
		"two in one":         {[]string{"a, b"}, ""},
		"the same one twice": {[]string{"a", "a"}, ""},
		"none":               {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var s dpop.Servers
			require.Equal(t, tt.want, s.NoticeNonce(u, nonces(tt.values...)))
			require.Equal(t, tt.want, s.Nonce(u))
			s.NoticeNonce(u, nonces("known"))
			s.NoticeNonce(u, nonces(tt.values...))
			if tt.want == "" {
				require.Equal(t, "known", s.Nonce(u), "what is not good replaces nothing")
			}
		})
	}
}

func TestServersAreBounded(t *testing.T) {
	var s dpop.Servers
	known := 0
	for i := range 1000 {
		s.NoticeNonce(fmt.Sprintf("https://h%d.example/", i), nonces("n"))
	}
	require.Equal(t, "n", s.Nonce("https://h999.example/"), "the newest is known")
	for i := range 1000 {
		if s.Nonce(fmt.Sprintf("https://h%d.example/", i)) != "" {
			known++
		}
	}
	require.Equal(t, 128, known)
}

func TestSkew(t *testing.T) {
	var s dpop.Servers
	u, now := "https://a.example/", time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	_, known := s.Skew(u)
	require.False(t, known)
	s.NoticeDate(u, http.Header{"Date": {"nonsense"}}, now)
	_, known = s.Skew(u)
	require.False(t, known)
	s.NoticeDate(u, http.Header{"Date": {now.Add(-time.Hour).Format(http.TimeFormat)}}, now)
	skew, known := s.Skew(u)
	require.True(t, known)
	require.Equal(t, -time.Hour, skew)
	_, known = s.Skew("https://b.example/")
	require.False(t, known)
	s.NoticeNonce(u, nonces("n"))
	skew, _ = s.Skew(u)
	require.Equal(t, -time.Hour, skew, "a nonce does not set the clock back")
}

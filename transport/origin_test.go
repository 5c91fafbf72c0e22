package transport_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/transport"
)

// Where tokens go (I7).
// Shows R6749-10.3-1, R6749-10.3-2, R6750-5.3-3, R9700-4.9.3-1.
func TestOrigins(t *testing.T) {
	listed := []string{"https://api.example.com", "https://Other.example.com:8443/", "http://10.0.0.7:8080", "https://[2001:db8::1]"}
	tests := []struct {
		url     string
		any     bool // with Origins nil
		allowed bool // with those listed
	}{
		{"https://api.example.com/", true, true},
		{"https://api.example.com:443/", true, true},
		{"https://api.example.com:/", true, true},
		{"https://API.Example.COM/", true, true},
		{"https://user:password@api.example.com/", true, true},
		{"https://other.example.com:8443/", true, true},
		{"https://[2001:db8::1]/", true, true},
		{"https://[2001:DB8::1]:443/", true, true},
		{"http://10.0.0.7:8080/", false, true},

		{"https://api.example.com:8443/", true, false},
		{"https://api.example.com:0443/", true, false},
		{"https://api.example.com./", true, false},
		{"https://api.example.com.evil.example/", true, false},
		{"https://api.example.com@evil.example/", true, false},
		{"https://api.example.com:443@evil.example/", true, false},
		{"https://evil.example/api.example.com", true, false},
		{"https://evil.example#@api.example.com", true, false},
		{"https://xapi.example.com/", true, false},
		{"https://example.com/", true, false},
		{"https://sub.api.example.com/", true, false},
		{"https://ap\u0130.example.com/", true, false}, // lowers to api under Unicode
		{"https://ap\u0131.example.com/", true, false},
		{"https://\uff41pi.example.com/", true, false},
		{"https://other.example.com/", true, false},
		{"http://api.example.com/", false, false},
		{"http://api.example.com:443/", false, false},
		{"https://10.0.0.7:8080/", true, false},
		{"http://10.0.0.7/", false, false},

		{"http://localhost/", true, false},
		{"http://LOCALHOST:8080/", true, false},
		{"http://127.0.0.1/", true, false},
		{"http://127.255.255.254:9/", true, false},
		{"http://[::1]:8080/", true, false},
		{"http://[::ffff:127.0.0.1]/", true, false},
		{"http://localhost./", false, false},
		{"http://localhost.evil.example/", false, false},
		{"http://evil.localhost/", false, false},
		{"http://127.0.0.1.evil.example/", false, false},
		{"http://127.1/", false, false},
		{"http://2130706433/", false, false},
		{"http://0.0.0.0/", false, false},
		{"http://[::]/", false, false},
		{"http://[::1%25lo]/", false, false},
		{"http://128.0.0.1/", false, false},

		{"ftp://api.example.com/", false, false},
		{"https:///path", false, false},
		{"https:api.example.com", false, false},
	}
	for _, tt := range tests {
		t.Run(tt.url, func(t *testing.T) {
			u, err := url.Parse(tt.url)
			require.NoError(t, err)
			for _, origins := range [][]string{nil, listed, {}} {
				want := tt.any
				if origins != nil {
					want = tt.allowed && len(origins) > 0
				}
				rejecting := answer(401, "")
				b := &base{answers: []*http.Response{rejecting, answer(200, "")}}
				s := &rotation{}
				req := get(t, api)
				req.URL = u
				_, err = (&transport.Transport{Source: s, Base: b, Origins: origins}).RoundTrip(req)
				require.NoError(t, err)
				if want {
					require.Equal(t, []string{"Bearer token-1", "Bearer token-2"}, b.tokens(), "origins %v", origins)
					continue
				}
				require.Equal(t, []string{""}, b.tokens(), "origins %v", origins)
				require.Same(t, req, b.sent[0].request)
				require.True(t, bodyOf(rejecting).isUntouched())
				require.Zero(t, s.minted, "the source is not asked")
			}
		})
	}
}

func TestOriginsOfHandMadeURLs(t *testing.T) {
	for name, tt := range map[string]struct {
		url  *url.URL
		want string
	}{
		"nil":            {nil, ""},
		"empty":          {&url.URL{}, ""},
		"opaque":         {&url.URL{Scheme: "https", Host: "api.example.com", Opaque: "//evil.example/"}, ""},
		"userinfo":       {&url.URL{Scheme: "https", Host: "api.example.com@evil.example"}, ""},
		"upper scheme":   {&url.URL{Scheme: "HTTPS", Host: "api.example.com"}, "Bearer token-1"},
		"port like path": {&url.URL{Scheme: "https", Host: "api.example.com:443/x"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := &base{answers: []*http.Response{answer(200, "")}}
			req := get(t, api)
			req.URL = tt.url
			_, err := (&transport.Transport{Source: &rotation{}, Base: b, Origins: []string{"https://api.example.com"}}).RoundTrip(req)
			require.NoError(t, err)
			require.Equal(t, []string{tt.want}, b.tokens())
		})
	}
}

// Redirects, as a real http.Client follows them (I7).
// Shows R6749-10.3-2, R9700-4.9.3-1.
func TestRedirects(t *testing.T) {
	const start = "https://api.example.com/1"
	const token = "Bearer token-1"
	tests := []struct {
		name  string
		hops  []string
		sends []string
	}{
		{"same origin", []string{"/2", "3", "https://api.example.com/4"}, []string{token, token, token, token}},
		{"same origin, port spelled out", []string{"https://api.example.com:443/2"}, []string{token, token}},
		{"same origin, other case", []string{"HTTPS://API.example.com/2"}, []string{token, token}},
		{"other host", []string{"https://evil.example/"}, []string{token, ""}},
		{"other host without a scheme", []string{"//evil.example/"}, []string{token, ""}},
		{"sub-domain", []string{"https://sub.api.example.com/"}, []string{token, ""}},
		{"parent domain", []string{"https://example.com/"}, []string{token, ""}},
		{"trailing dot", []string{"https://api.example.com./"}, []string{token, ""}},
		{"other port", []string{"https://api.example.com:8443/"}, []string{token, ""}},
		{"plain http", []string{"http://api.example.com/"}, []string{token, ""}},
		{"plain http on 443", []string{"http://api.example.com:443/"}, []string{token, ""}},
		{"loopback", []string{"http://127.0.0.1/"}, []string{token, ""}},
		{"listed too", []string{"https://other.example.com/"}, []string{token, ""}},
		{"away and back", []string{"https://evil.example/", start}, []string{token, "", ""}},
		{"http and back", []string{"http://api.example.com/", start, "/2"}, []string{token, "", "", ""}},
		{"on, away, back, on", []string{"/2", "https://other.example.com/", "https://api.example.com/3", "/4"}, []string{token, token, "", "", ""}},
		{"userinfo look-alike", []string{"https://api.example.com@evil.example/"}, []string{token, "Basic YXBpLmV4YW1wbGUuY29tOg=="}},
	}
	for _, tt := range tests {
		for _, origins := range [][]string{nil, {"https://api.example.com", "https://other.example.com", "http://127.0.0.1"}} {
			for _, status := range []int{302, 307} {
				t.Run(tt.name, func(t *testing.T) {
					b := &base{}
					for _, hop := range tt.hops {
						resp := answer(status, "")
						resp.Header.Set("Location", hop)
						b.answers = append(b.answers, resp)
					}
					b.answers = append(b.answers, answer(200, ""))
					hc := &http.Client{Transport: &transport.Transport{Source: &rotation{}, Base: b, Origins: origins}}
					req := get(t, start)
					if status == 307 {
						req, _, _ = post(t, "content", true)
						req.URL, _ = url.Parse(start)
					}
					resp, err := hc.Do(req)
					require.NoError(t, err)
					require.Equal(t, 200, resp.StatusCode)
					require.Equal(t, tt.sends, b.tokens())
				})
			}
		}
	}
}

// A 401 on the other side of a redirect is not about our token.
func TestRejectionBehindRedirect(t *testing.T) {
	away := answer(302, "")
	away.Header.Set("Location", "https://evil.example/")
	b := &base{answers: []*http.Response{away, answer(401, "", "Bearer")}}
	s := &rotation{}
	hc := &http.Client{Transport: &transport.Transport{Source: s, Base: b}}
	resp, err := hc.Do(get(t, api))
	require.NoError(t, err)
	require.Equal(t, 401, resp.StatusCode)
	require.Empty(t, s.renewals())
	require.Len(t, b.sent, 2)
}

// A chain of redirects that cannot be followed back is taken for one that left the origin.
func TestUnknownChains(t *testing.T) {
	circle := get(t, api)
	circle.Response = &http.Response{Request: circle}
	unknown := get(t, api)
	unknown.Response = &http.Response{}
	hidden := get(t, api)
	hidden.Response = &http.Response{Request: get(t, api)}
	hidden.Response.Request.Response = &http.Response{}
	noURL := get(t, api)
	noURL.Response = &http.Response{Request: &http.Request{}}
	for name, req := range map[string]*http.Request{"circle": circle, "unknown": unknown, "unknown before": hidden, "no URL": noURL} {
		t.Run(name, func(t *testing.T) {
			b := &base{answers: []*http.Response{answer(200, "")}}
			_, err := (&transport.Transport{Source: &rotation{}, Base: b}).RoundTrip(req)
			require.NoError(t, err)
			require.Equal(t, []string{""}, b.tokens())
		})
	}
}

// The same over real connections: 127.0.0.1 and localhost are one machine and two origins.
func TestRedirectToOtherNameOfLoopback(t *testing.T) {
	tokens := map[string]string{}
	var srv *httptest.Server
	srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		tokens[r.URL.Path] = r.Header.Get("Authorization")
		elsewhere := strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
		switch r.URL.Path {
		case "/start":
			http.Redirect(w, r, "/here", http.StatusFound)
		case "/here":
			http.Redirect(w, r, elsewhere+"/there", http.StatusFound)
		case "/there":
			http.Redirect(w, r, srv.URL+"/back", http.StatusFound)
		}
	}))
	defer srv.Close()
	base := &http.Transport{}
	defer base.CloseIdleConnections()
	hc := &http.Client{Transport: &transport.Transport{Source: &rotation{}, Base: base}}
	resp, err := hc.Get(srv.URL + "/start")
	require.NoError(t, err)
	require.Empty(t, read(t, resp))
	require.Equal(t, map[string]string{"/start": "Bearer token-1", "/here": "Bearer token-1", "/there": "", "/back": ""}, tokens)
}

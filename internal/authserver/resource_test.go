package authserver_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
)

const resourcePath = "/.well-known/oauth-protected-resource"

// described is the least metadata of a resource.
func described(resource string) string {
	return fmt.Sprintf(`{"resource":%q,"authorization_servers":["https://as.example"]}`, resource)
}

// faraway answers for every host, by URL; what it does not know is a 404. It keeps the order of what was asked.
type faraway struct {
	pages map[string]string
	asked []string
}

func (f *faraway) client() *http.Client {
	return authserver.NewHTTPClient(&http.Client{Transport: tripper(func(req *http.Request) (*http.Response, error) {
		f.asked = append(f.asked, req.URL.String())
		status, header := http.StatusNotFound, http.Header{}
		body, ok := f.pages[req.URL.String()]
		if ok {
			status = http.StatusOK
		}
		if to, moved := strings.CutPrefix(body, "moved to "); moved {
			status, body = http.StatusFound, ""
			header.Set("Location", to)
		}
		return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body)), Request: req}, nil
	})})
}

func requireResourceError(t *testing.T, err error) *authserver.ResourceError {
	t.Helper()
	failed, ok := errors.AsType[*authserver.ResourceError](err)
	require.True(t, ok, "%v", err)
	require.Less(t, len(err.Error()), 4000)
	return failed
}

func TestProbe(t *testing.T) {
	t.Run("what a resource wants", func(t *testing.T) {
		address := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.Header.Get("Authorization") != "" || r.URL.Path != "/mcp" {
				t.Error("not a plain GET of the resource")
			}
			w.Header().Set("WWW-Authenticate", "Bearer scope=files")
			w.WriteHeader(http.StatusUnauthorized)
		})
		resp, err := authserver.Probe(t.Context(), newHTTP(t), address+"/mcp")
		require.NoError(t, err)
		require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
		require.Equal(t, "Bearer scope=files", resp.Header.Get("WWW-Authenticate"))
		_, err = resp.Body.Read(make([]byte, 1))
		require.Error(t, err, "the body is closed")
	})
	t.Run("a body without an end", func(t *testing.T) {
		address := serve(t, func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-r.Context().Done() // until the client has gone
		})
		resp, err := authserver.Probe(t.Context(), newHTTP(t), address)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
	})
	t.Run("redirects within the origin", func(t *testing.T) {
		s := newSite(t)
		s.pages["/mcp"], s.pages["/mcp/"] = moved("/mcp/"), page(401, "")
		resp, err := authserver.Probe(t.Context(), newHTTP(t), s.url+"/mcp")
		require.NoError(t, err)
		require.Equal(t, 401, resp.StatusCode)
	})
	t.Run("a few of them", func(t *testing.T) {
		s := newSite(t)
		s.pages["/"] = moved("/")
		resp, err := authserver.Probe(t.Context(), newHTTP(t), s.url+"/")
		require.NoError(t, err)
		require.Equal(t, 301, resp.StatusCode)
		require.Len(t, s.asked, 4)
	})
	for _, to := range []string{"https://other.example/", "http://resource.example/", "https://resource.example:8443/", "javascript:alert(1)", "file:///etc/passwd"} {
		t.Run("not to "+to, func(t *testing.T) {
			f := &faraway{pages: map[string]string{"https://resource.example/": "moved to " + to}}
			resp, err := authserver.Probe(t.Context(), f.client(), "https://resource.example/")
			require.NoError(t, err)
			require.Equal(t, http.StatusFound, resp.StatusCode)
			require.Len(t, f.asked, 1)
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		_, err := authserver.Probe(t.Context(), newHTTP(t), "http://127.0.0.1:1/")
		requireResourceError(t, err)
		requireFailure(t, err, authserver.NotProcessed)
	})
}

func TestR9728_1_2_1(t *testing.T) {
	for _, resource := range []string{
		"", "resource.example", "http://resource.example", "https://resource.example#f", "https://resource.example#",
		"https://user:pa55@resource.example", "ftp://resource.example", "https://", "https://resource.example/\x7f", "http://169.254.169.254/",
		"javascript:alert(1)", "file:///etc/passwd",
	} {
		hc := newHTTP(t)
		hc.Transport = unreachable(t)
		_, err := authserver.DiscoverResource(t.Context(), hc, resource, "https://resource.example/hint")
		requireResourceError(t, err)
		require.NotContains(t, err.Error(), "pa55")
		_, err = authserver.Probe(t.Context(), hc, resource)
		requireResourceError(t, err)
	}
	for _, resource := range []string{"https://resource.example", "https://resource.example/?tenant=7", "http://127.0.0.1:8080/mcp"} {
		require.NoError(t, authserver.CheckResource(resource))
	}
}

// Shows R9728-3-1, R9728-3.1-1: where metadata is looked for, in which order.
func TestResourceAddresses_R9728_3(t *testing.T) {
	const root = "https://h.example" + resourcePath
	for _, c := range []struct {
		resource, hinted string
		want             []string
	}{
		{"https://h.example", "", []string{root}},
		{"https://h.example/", "", []string{root}},
		{"https://h.example/r1", "", []string{root + "/r1", root}},
		{"https://h.example/r1/", "", []string{root + "/r1/", root}},
		{"https://h.example/a/b", "", []string{root + "/a/b", root}},
		{"https://h.example/a%2Fb", "", []string{root + "/a%2Fb", root}},
		{"https://h.example?t=1", "", []string{root + "?t=1", root}},
		{"https://h.example/?t=1", "", []string{root + "?t=1", root}},
		{"https://h.example/r1?t=1&u=%20", "", []string{root + "/r1?t=1&u=%20", root}},
		{"https://h.example:8443/r1", "", []string{"https://h.example:8443" + resourcePath + "/r1", "https://h.example:8443" + resourcePath}},
		{"https://h.example/r1", "https://meta.example/x", []string{"https://meta.example/x", root + "/r1", root}},
	} {
		t.Run(c.resource, func(t *testing.T) {
			f := &faraway{}
			_, err := authserver.DiscoverResource(t.Context(), f.client(), c.resource, c.hinted)
			failed := requireResourceError(t, err)
			require.Equal(t, c.resource, failed.Resource)
			require.Equal(t, c.want, f.asked)
			require.Len(t, failed.Tried, len(c.want))
			for i, address := range c.want { // each one does
				f := &faraway{pages: map[string]string{address: described(c.resource)}}
				found, err := authserver.DiscoverResource(t.Context(), f.client(), c.resource, c.hinted)
				require.NoError(t, err)
				require.Equal(t, c.resource, found.Identifier)
				require.Equal(t, address, found.Address)
				require.Equal(t, c.want[:i+1], f.asked)
			}
		})
	}
}

// Shows R9728-3.3-1, R9728-3.3-2, R9728-6-1.
func TestTheResourceIsComparedExactly_R9728_3_3(t *testing.T) {
	const asked = "https://h.example/r1"
	for _, c := range []struct {
		said       string
		own, hints bool // counts at the resource's own address, and at a hinted one
		root       bool // counts at the origin's
	}{
		{asked, true, true, true},
		{"https://h.example", false, false, true},
		{"https://h.example/", false, false, true},
		{"https://h.example/r1/", false, false, false},
		{"https://h.example/R1", false, false, false},
		{"https://H.example/r1", false, false, false},
		{"https://h.example:443/r1", false, false, false},
		{"https://h.example/%721", false, false, false},
		{"https://h.example/r1?", false, false, false},
		{"https://h.example/r", false, false, false},
		{"https://h.example.evil.example/r1", false, false, false},
		{"http://h.example/r1", false, false, false},
		{"https://other.example", false, false, false},
		{"", false, false, false},
	} {
		for _, place := range []struct {
			hinted, address string
			want            bool
		}{
			{"", "https://h.example" + resourcePath + "/r1", c.own},
			{"https://h.example/meta", "https://h.example/meta", c.hints},
			{"https://elsewhere.example/meta", "https://elsewhere.example/meta", c.hints},
			{"", "https://h.example" + resourcePath, c.root},
		} {
			f := &faraway{pages: map[string]string{place.address: described(c.said)}}
			found, err := authserver.DiscoverResource(t.Context(), f.client(), asked, place.hinted)
			require.Equal(t, place.want, err == nil, "%q at %s: %v", c.said, place.address, err)
			if place.want {
				require.Equal(t, c.said, found.Identifier, "as the resource writes it")
			} else {
				requireResourceError(t, err)
			}
		}
	}
}

// Shows R9728-2-1, R9728-3.2-1.
func TestResourceMetadata(t *testing.T) {
	const address, asked = "https://h.example" + resourcePath, "https://h.example"
	discover := func(body string) (*authserver.Resource, error) {
		return authserver.DiscoverResource(t.Context(), (&faraway{pages: map[string]string{address: body}}).client(), asked, "")
	}
	t.Run("all of it", func(t *testing.T) {
		found, err := discover(`{"resource":"https://h.example","authorization_servers":["https://as.example/t1","https://as2.example"],
			"scopes_supported":["a","b"],"bearer_methods_supported":["header"],"dpop_signing_alg_values_supported":["ES256"],
			"dpop_bound_access_tokens_required":true,"tls_client_certificate_bound_access_tokens":true,"unknown":{"x":[null]},
			"signed_metadata":"nobody looks at it"}`)
		require.NoError(t, err)
		require.Equal(t, &authserver.Resource{
			Identifier: asked, AuthorizationServers: []string{"https://as.example/t1", "https://as2.example"}, Scopes: []string{"a", "b"},
			BearerMethods: []string{"header"}, DPoPSigningAlgs: []string{"ES256"}, NeedsDPoP: true, NeedsCertificate: true,
			Address: address, Life: time.Hour,
		}, found)
	})
	t.Run("the least", func(t *testing.T) {
		found, err := discover(`{"resource":"https://h.example","authorization_servers":["https://as.example"],"scopes_supported":null}`)
		require.NoError(t, err)
		require.Equal(t, &authserver.Resource{Identifier: asked, AuthorizationServers: []string{"https://as.example"}, Address: address, Life: time.Hour}, found)
	})
	for name, body := range map[string]string{
		"no resource":                     `{"authorization_servers":["https://as.example"]}`,
		"a resource in other letters":     `{"Resource":"https://h.example","authorization_servers":["https://as.example"]}`,
		"no authorization server":         `{"resource":"https://h.example"}`,
		"an empty list of them":           `{"resource":"https://h.example","authorization_servers":[]}`,
		"servers over plain http":         `{"resource":"https://h.example","authorization_servers":["http://as.example","http://127.0.0.1","http://localhost"]}`,
		"servers that are scripts, files": `{"resource":"https://h.example","authorization_servers":["javascript:alert(1)","file:///etc/passwd","data:,x",""]}`,
		"servers that are no issuers":     `{"resource":"https://h.example","authorization_servers":["https://as.example?x","https://u:p@as.example","https://as.example#x"]}`,
		"servers that errors would show":  `{"resource":"https://h.example","authorization_servers":["https://as.example/\u202elpmaxe","https://\u202eas.example","https://as.example/` + strings.Repeat("x", 5000) + `"]}`,
		"a server that is no list":        `{"resource":"https://h.example","authorization_servers":"https://as.example"}`,
		"servers that are no strings":     `{"resource":"https://h.example","authorization_servers":[{"issuer":"https://as.example"}]}`,
		"a list of resources":             `{"resource":["https://h.example"],"authorization_servers":["https://as.example"]}`,
		"a resource twice":                `{"resource":"https://evil.example","resource":"https://h.example","authorization_servers":["https://as.example"]}`,
		"servers twice":                   `{"resource":"https://h.example","authorization_servers":["https://as.example"],"authorization_servers":["https://evil.example"]}`,
		"more than one object":            described(asked) + described(asked),
		"an array":                        "[" + described(asked) + "]",
		"null":                            "null",
		"nothing":                         "",
		"a page":                          "<html>",
		"a mebibyte and more":             described(asked) + strings.Repeat(" ", 1<<20),
		"a redirect to plain http":        "moved to http://h.example/",
		"a redirect to a file":            "moved to file:///etc/passwd",
		"a redirect to a script":          "moved to javascript:alert(1)",
		"a redirect to this machine":      "moved to http://127.0.0.1/",
		"a redirect without end":          "moved to " + address,
		"controls, to be shown to people": `{"resource":"https://h.example/\u001b[2J\u202e"}`,
	} {
		t.Run(name, func(t *testing.T) {
			found, err := discover(body)
			require.Nil(t, found)
			requireResourceError(t, err)
			for _, r := range err.Error() {
				require.False(t, r < ' ' || r == '\u202e', "%q", err.Error())
			}
		})
	}
	for name, body := range map[string]string{
		"scopes that are no list":              `"scopes_supported":"a"`,
		"scopes that are no words":             `"scopes_supported":["a",7]`,
		"scopes twice":                         `"scopes_supported":["a"],"scopes_supported":["b"]`,
		"scopes in other letters":              `"Scopes_Supported":["a"]`,
		"a need that is a word":                `"dpop_bound_access_tokens_required":"no","tls_client_certificate_bound_access_tokens":1`,
		"methods in an object":                 `"bearer_methods_supported":{"body":true},"dpop_signing_alg_values_supported":"ES256"`,
		"a stranger twice":                     `"x":1,"x":2`,
		"the resource again, in other letters": `"Resource":"https://evil.example","AUTHORIZATION_SERVERS":["https://evil.example"]`,
	} {
		t.Run(name+" decide nothing", func(t *testing.T) {
			found, err := discover(`{"resource":"https://h.example","authorization_servers":["https://as.example"],` + body + `}`)
			require.NoError(t, err)
			require.Equal(t, &authserver.Resource{Identifier: asked, AuthorizationServers: []string{"https://as.example"}, Address: address, Life: time.Hour}, found)
		})
	}
	t.Run("a need in quotes is one", func(t *testing.T) {
		found, err := discover(`{"resource":"https://h.example","authorization_servers":["https://as.example"],"dpop_bound_access_tokens_required":"true"}`)
		require.NoError(t, err)
		require.True(t, found.NeedsDPoP)
	})
	t.Run("what cannot be asked is left out", func(t *testing.T) {
		found, err := discover(`{"resource":"https://h.example","authorization_servers":["javascript:alert(1)","http://10.0.0.1","https://as.example"]}`)
		require.NoError(t, err)
		require.Equal(t, []string{"https://as.example"}, found.AuthorizationServers)
	})
	t.Run("on this machine plain http does", func(t *testing.T) {
		s := newSite(t)
		s.pages[resourcePath+"/mcp"] = page(200, fmt.Sprintf(`{"resource":%q,"authorization_servers":["http://127.0.0.1:7","http://as.example"]}`, s.url+"/mcp"))
		found, err := authserver.DiscoverResource(t.Context(), newHTTP(t), s.url+"/mcp", "")
		require.NoError(t, err)
		require.Equal(t, []string{"http://127.0.0.1:7"}, found.AuthorizationServers)
	})
	t.Run("another status is no document", func(t *testing.T) {
		for _, status := range []int{201, 204, 401, 403, 404} {
			s := newSite(t)
			s.pages[resourcePath] = page(status, "")
			if status != 204 {
				s.pages[resourcePath] = page(status, described(s.url))
			}
			_, err := authserver.DiscoverResource(t.Context(), newHTTP(t), s.url, "")
			requireResourceError(t, err)
		}
	})
}

// What a challenge hints at is asked for over TLS, or not at all, and what it says besides does not count.
func TestHints(t *testing.T) {
	const asked = "https://h.example/r1"
	own := "https://h.example" + resourcePath + "/r1"
	for _, hinted := range []string{
		"http://h.example/meta", "http://127.0.0.1/meta", "http://169.254.169.254/latest/meta-data", "javascript:alert(1)", "file:///etc/passwd",
		"/relative", "https://u:pa55@h.example/meta", "//h.example/meta", "https://h.example/meta#f", "\x00",
	} {
		f := &faraway{pages: map[string]string{hinted: described(asked), own: described(asked)}}
		found, err := authserver.DiscoverResource(t.Context(), f.client(), asked, hinted)
		require.NoError(t, err, hinted)
		require.Equal(t, []string{own}, f.asked)
		require.Equal(t, own, found.Address)
		delete(f.pages, own)
		_, err = authserver.DiscoverResource(t.Context(), f.client(), asked, hinted)
		require.Len(t, requireResourceError(t, err).Tried, 3)
		require.NotContains(t, err.Error(), "\x00")
	}
}

// What is all of an origin is so with a slash after the host and without one, wherever its metadata is.
func TestASlashAfterTheHostIsNoOtherResource(t *testing.T) {
	const hinted = "https://h.example/meta"
	for _, asked := range []string{"https://h.example", "https://h.example/"} {
		for _, said := range []string{"https://h.example", "https://h.example/"} {
			f := &faraway{pages: map[string]string{hinted: described(said)}}
			found, err := authserver.DiscoverResource(t.Context(), f.client(), asked, hinted)
			require.NoError(t, err)
			require.Equal(t, said, found.Identifier, "as the resource writes it")
		}
		for _, said := range []string{"https://h.example/?", "https://h.example//", "https://h.example/r1", "https://H.example"} {
			f := &faraway{pages: map[string]string{hinted: described(said)}}
			_, err := authserver.DiscoverResource(t.Context(), f.client(), asked, hinted)
			requireResourceError(t, err)
		}
	}
	f := &faraway{pages: map[string]string{hinted: described("https://h.example")}}
	_, err := authserver.DiscoverResource(t.Context(), f.client(), "https://h.example/?tenant=1", hinted)
	requireResourceError(t, err)
}

// A place that is in trouble does not say that the metadata is elsewhere: what is found there might name another server.
func TestTroubleIsNotAbsence(t *testing.T) {
	broken := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	for name, c := range map[string]struct {
		first http.HandlerFunc
		next  bool
	}{
		"404":                 {page(404, ""), true},
		"401":                 {page(401, ""), true},
		"405":                 {page(405, ""), true},
		"a page":              {page(200, "<html>"), true},
		"another's document":  {page(200, described("https://evil.example")), true},
		"408":                 {page(408, ""), false},
		"429":                 {page(429, ""), false},
		"500":                 {page(500, ""), false},
		"503":                 {page(503, ""), false},
		"a broken connection": {broken, false},
		"a body that is short": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "9")
			_, _ = w.Write([]byte("{"))
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.pages[resourcePath+"/r1"] = c.first
			s.pages[resourcePath] = page(200, described(s.url))
			_, err := authserver.DiscoverResource(t.Context(), newHTTP(t), s.url+"/r1", "")
			require.Equal(t, c.next, err == nil, "%v", err)
			if !c.next {
				require.NotContains(t, s.paths(), resourcePath)
				requireResourceError(t, err)
			}
		})
	}
}

// There is no metadata where every address says so.
func TestAbsenceOfAResourcesMetadata(t *testing.T) {
	for name, c := range map[string]struct {
		page http.HandlerFunc
		want bool
	}{
		"404":                {page(404, ""), true},
		"401":                {page(401, ""), true},
		"503":                {page(503, ""), false},
		"a page":             {page(200, "<html>"), false},
		"another's document": {page(200, described("https://evil.example")), false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.pages[resourcePath] = c.page
			_, err := authserver.DiscoverResource(t.Context(), newHTTP(t), s.url+"/r1", "")
			failed := requireResourceError(t, err)
			require.Equal(t, c.want, failed.IsAbsent())
			require.NotErrorIs(t, err, errors.ErrUnsupported)
			failed.Open = true
			require.ErrorIs(t, err, errors.ErrUnsupported)
		})
	}
	require.False(t, requireResourceError(t, authserver.CheckResource("ftp://resource.example")).IsAbsent())
}

// Shows R9728-7.10-1 in part: how long a document is believed.
func TestResourceMetadataLivesAsLongAsItSays(t *testing.T) {
	for said, want := range map[string]time.Duration{
		"": time.Hour, "max-age=1800": 30 * time.Minute, "max-age=1": 5 * time.Minute, "max-age=31536000": 24 * time.Hour, "no-store": 5 * time.Minute,
	} {
		s := newSite(t)
		s.pages[resourcePath] = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Cache-Control", said)
			_, _ = w.Write([]byte(described(s.url)))
		}
		found, err := authserver.DiscoverResource(t.Context(), newHTTP(t), s.url, "")
		require.NoError(t, err)
		require.Equal(t, want, found.Life, "%q", said)
	}
}

// Shows R9728-2-2, R9728-2-3.
func TestWhatAResourceAccepts(t *testing.T) {
	for _, c := range []struct {
		name                 string
		members              string
		hasDPoP, certificate bool
		want                 string // "": it does
	}{
		{"nothing said", ``, false, false, ""},
		{"the header", `,"bearer_methods_supported":["body","header"]`, false, false, ""},
		{"the body only", `,"bearer_methods_supported":["body"]`, false, false, "Authorization header"},
		{"no Bearer tokens", `,"bearer_methods_supported":[]`, false, false, "Authorization header"},
		{"no Bearer tokens, and none there", `,"bearer_methods_supported":[]`, true, false, ""},
		{"a key that is missing", `,"dpop_bound_access_tokens_required":true`, false, true, "Config.DPoP"},
		{"a key", `,"dpop_bound_access_tokens_required":true`, true, false, ""},
		{"a certificate that is missing", `,"tls_client_certificate_bound_access_tokens":true`, true, false, "Config.ClientCertificate"},
		{"a certificate", `,"tls_client_certificate_bound_access_tokens":true`, false, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			const asked = "https://h.example"
			f := &faraway{pages: map[string]string{asked + resourcePath: strings.TrimSuffix(described(asked), "}") + c.members + "}"}}
			found, err := authserver.DiscoverResource(t.Context(), f.client(), asked, "")
			require.NoError(t, err)
			err = found.Accepts(c.hasDPoP, c.certificate)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.Equal(t, asked, requireResourceError(t, err).Resource)
			require.ErrorContains(t, err, c.want)
		})
	}
}

// Shows R9728-7.3-1, R7591-5-1.
func TestCertificatesOfStrangersAreChecked(t *testing.T) {
	reached := false
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	server.Config.ErrorLog = quiet
	server.StartTLS()
	defer server.Close()
	hc := newHTTP(t)
	_, probed := authserver.Probe(t.Context(), hc, server.URL)
	_, found := authserver.DiscoverResource(t.Context(), hc, server.URL, "")
	_, hinted := authserver.DiscoverResource(t.Context(), hc, server.URL+"/x", server.URL)
	_, registered := authserver.Register(t.Context(), hc, server.URL, native(), none)
	for _, err := range []error{probed, found, hinted, registered} {
		requireFailure(t, err, authserver.NotProcessed)
		require.ErrorContains(t, err, "certificate")
	}
	require.False(t, reached)
}

package authserver_test

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
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
		"max-age=9223372036854775807":        24 * time.Hour,
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

// addresses are the members of Metadata that are addresses, with a space where they lie in another member: found by
// their types, so that none is forgotten.
var addresses = func() (all []string) {
	var walk func(t reflect.Type, within string)
	walk = func(t reflect.Type, within string) {
		for f := range t.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			switch {
			case f.Type.Kind() == reflect.Struct && f.Anonymous:
				walk(f.Type, within)
			case f.Type.Kind() == reflect.Struct:
				walk(f.Type, name+" ")
			case strings.HasSuffix(name, "_endpoint") || strings.HasSuffix(name, "_uri"):
				all = append(all, within+name)
			}
		}
	}
	walk(reflect.TypeFor[authserver.Metadata](), "")
	return all
}()

// at finds the address in m that the member named stands for.
func at(m *authserver.Metadata, member string) string {
	v := reflect.ValueOf(m).Elem()
	name, alias, within := strings.Cut(member, " ")
	if within {
		v, name = v.FieldByName("MTLS"), alias
	}
	for _, f := range reflect.VisibleFields(v.Type()) {
		if f.Tag.Get("json") == name {
			return v.FieldByIndex(f.Index).String()
		}
	}
	panic(member)
}

// Over TLS nothing may lead to plain http, not even on this machine: a server elsewhere has no business
// with what listens here. Without a good token endpoint nothing works; without another one, what needs it.
// Shows R6749-3.1-3, R7009-2-2, O21-1.5-1, OIDCD-3-1, MCP25-SEC-2.
func TestEndpointsAreSafe_R8414_2(t *testing.T) {
	require.Subset(t, addresses, []string{"jwks_uri", "userinfo_endpoint", "mtls_endpoint_aliases token_endpoint"})
	require.GreaterOrEqual(t, len(addresses), 15)
	var says map[string]any
	h := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(says) })
	overTLS, local := httptest.NewTLSServer(h), httptest.NewServer(h)
	defer overTLS.Close()
	defer local.Close()
	clients := map[*httptest.Server]*http.Client{overTLS: authserver.NewHTTPClient(overTLS.Client()), local: authserver.NewHTTPClient(local.Client())}
	defer clients[overTLS].CloseIdleConnections()
	defer clients[local].CloseIdleConnections()
	for _, c := range []struct {
		address              string
		fromTLS, fromLocally bool
	}{
		{"https://as.example/x?y=1", true, true},
		{"http://127.0.0.1:1/x", false, true},
		{"http://[::1]/x", false, true},
		{"http://localhost/x", false, true},
		{"http://as.example/x", false, false},
		{"https://user@as.example/x", false, false},
		{"https://as.example/x#f", false, false},
		{"javascript:alert(1)", false, false},
		{"file:///etc/passwd", false, false},
		{"data:text/html,x", false, false},
		{"/token", false, false},
		{"https:///token", false, false},
	} {
		for _, member := range addresses {
			for _, server := range []*httptest.Server{overTLS, local} {
				says = map[string]any{"issuer": server.URL, "token_endpoint": "https://as.example/token"}
				name, alias, within := strings.Cut(member, " ")
				if says[name] = c.address; within {
					says[name] = map[string]string{alias: c.address}
				}
				m, err := authserver.Discover(t.Context(), clients[server], server.URL)
				text := fmt.Sprintf("%s %s %s: %v", member, c.address, server.URL, err)
				switch usable := map[*httptest.Server]bool{overTLS: c.fromTLS, local: c.fromLocally}[server]; {
				case usable:
					require.NoError(t, err, text)
					require.Equal(t, c.address, at(m, member), text)
				case member == "token_endpoint" || member == "authorization_endpoint":
					require.ErrorContains(t, err, name, text)
				default:
					require.NoError(t, err, text)
					require.Empty(t, at(m, member), text)
					name = cmp.Or(alias, name)
					if within {
						m = m.WithAliases()
						require.Empty(t, at(m, name), text)
					}
					require.ErrorContains(t, m.Lacks(name), name, text)
					require.Equal(t, m.Unusable(name), m.Lacks(name), text)
				}
			}
		}
	}
}

// Members are compared by their exact names. What is given twice or as something else costs what needs it, and no more.
// Shows R8414-3.2-1.
func TestMembersThatDoNotFit(t *testing.T) {
	const whole = `"token_endpoint":"https://as.example/token","authorization_endpoint":"https://as.example/authorize"`
	for name, c := range map[string]struct {
		members string
		want    string // of the error; empty: none
		lacks   string // a member that cannot be used
		check   func(*authserver.Metadata) bool
	}{
		"other letters": {whole + `,"Token_Endpoint":"https://evil.example/t","ISSUER":"https://evil.example","JWKS_URI":"https://evil.example/k","Scopes_Supported":["x"],"mtls_endpoint_aliaſes":{"token_endpoint":"https://evil.example/t"}`, "", "",
			func(m *authserver.Metadata) bool {
				return m.TokenEndpoint == "https://as.example/token" && m.KeysURI == "" && m.Scopes == nil && m.MTLS.TokenEndpoint == "" && m.Unusable("jwks_uri") == nil
			}},
		"other letters only":    {`"Token_Endpoint":"https://evil.example/t"`, "token_endpoint", "", nil},
		"issuer twice":          {`"issuer":"https://evil.example",` + whole, "another issuer", "", nil},
		"token twice":           {whole + `,"token_endpoint":"https://evil.example/t"`, "token_endpoint", "", nil},
		"token thrice":          {whole + `,"token_endpoint":"https://as.example/token","token_endpoint":"https://as.example/token"`, "token_endpoint", "", nil},
		"authorization twice":   {whole + `,"authorization_endpoint":"https://evil.example/a"`, "authorization_endpoint", "", nil},
		"authorization, number": {`"token_endpoint":"https://as.example/token","authorization_endpoint":7`, "authorization_endpoint", "", nil},
		"token, list":           {`"token_endpoint":["https://as.example/token"]`, "token_endpoint", "", nil},
		"keys twice":            {whole + `,"jwks_uri":"https://as.example/k","jwks_uri":"https://evil.example/k"`, "", "jwks_uri", nil},
		"UserInfo, list":        {whole + `,"userinfo_endpoint":["https://as.example/me"]`, "", "userinfo_endpoint", nil},
		"registration, null":    {whole + `,"registration_endpoint":null`, "", "", func(m *authserver.Metadata) bool { return m.Unusable("registration_endpoint") == nil }},
		"scopes, text":          {whole + `,"scopes_supported":"a b"`, "", "", func(m *authserver.Metadata) bool { return m.Scopes == nil }},
		"scopes, mixed":         {whole + `,"scopes_supported":["a",7]`, "", "", func(m *authserver.Metadata) bool { return m.Scopes == nil }},
		"scopes twice":          {whole + `,"scopes_supported":["a"],"scopes_supported":["b"]`, "", "", func(m *authserver.Metadata) bool { return m.Scopes == nil }},
		"unknown twice":         {whole + `,"x":1,"x":2`, "", "", nil},
		"yes in quotes":         {whole + `,"authorization_response_iss_parameter_supported":"true"`, "", "", func(m *authserver.Metadata) bool { return m.AuthorizationResponseIss }},
		"yes as a number":       {whole + `,"require_pushed_authorization_requests":1`, "", "", func(m *authserver.Metadata) bool { return !m.PushRequired }},
		"aliases, PHP's empty object": {whole + `,"mtls_endpoint_aliases":[]`, "", "",
			func(m *authserver.Metadata) bool { return m.WithAliases().TokenEndpoint == m.TokenEndpoint }},
		"an alias twice": {whole + `,"mtls_endpoint_aliases":{"token_endpoint":"https://a.example","token_endpoint":"https://b.example","revocation_endpoint":"https://r.example"}`, "", "",
			func(m *authserver.Metadata) bool {
				moved := m.WithAliases()
				return moved.TokenEndpoint == "" && moved.Unusable("token_endpoint") != nil && moved.RevocationEndpoint == "https://r.example" && m.TokenEndpoint != ""
			}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.pages[oauthPath] = page(200, fmt.Sprintf(`{"issuer":%q,%s}`, s.url, c.members))
			m, err := authserver.Discover(t.Context(), newHTTP(t), s.url)
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
				return
			}
			require.NoError(t, err)
			require.True(t, c.check == nil || c.check(m))
			if c.lacks != "" {
				require.ErrorContains(t, m.Unusable(c.lacks), c.lacks)
				require.Empty(t, at(m, c.lacks))
			}
		})
	}
}

// What is kept of a document is shared by all who ask: nobody's view of it changes another's.
func TestViewsOfMetadata(t *testing.T) {
	s := newSite(t)
	s.pages[oauthPath] = page(200, fmt.Sprintf(`{"issuer":%q,"token_endpoint":"https://as.example/token","registration_endpoint":7,
		"jwks_uri":"https://as.example/keys","userinfo_endpoint":"https://as.example/me","end_session_endpoint":"https://as.example/end",
		"id_token_signing_alg_values_supported":["ES256"],
		"mtls_endpoint_aliases":{"token_endpoint":"http://as.example/token","revocation_endpoint":7}}`, s.url))
	m, err := authserver.Discover(t.Context(), newHTTP(t), s.url)
	require.NoError(t, err)
	t.Run("with a certificate", func(t *testing.T) {
		moved := m.WithAliases()
		require.Empty(t, moved.TokenEndpoint)
		require.Error(t, moved.Unusable("token_endpoint"))
		require.Error(t, moved.Unusable("revocation_endpoint"))
		require.Equal(t, "https://as.example/token", m.TokenEndpoint)
		require.NoError(t, m.Unusable("token_endpoint"))
		require.NoError(t, m.Unusable("revocation_endpoint"))
	})
	t.Run("beside the OpenID document", func(t *testing.T) {
		other := &authserver.Metadata{OpenID: authserver.OpenID{
			KeysURI: "https://other.example/keys", UserInfoEndpoint: "https://other.example/me", EndSessionEndpoint: "https://other.example/end",
			IDTokenAlgorithms: []string{"RS256"},
		}}
		require.Equal(t, m.OpenID, m.WithOpenID(other).OpenID, "what m says goes before it")
		require.Equal(t, other.OpenID, new(authserver.Metadata).WithOpenID(other).OpenID)
		require.Error(t, m.WithOpenID(other).Unusable("registration_endpoint"))
		require.Error(t, other.WithOpenID(m).Unusable("registration_endpoint"))
	})
}

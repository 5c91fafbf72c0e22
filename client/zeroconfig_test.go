package client_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/internal/record"
	"github.com/evergrant/evergrant/tokenstore"
)

const appCallback = "https://app.test/callback"

// unknown is a resource of which a program knows the address alone, and the server that guards it.
type unknown struct {
	t      *testing.T
	server *clienttest.Server
	api    *clienttest.API
	store  tokenstore.Store
	seen   []wish     // what was asked of the resource and the server, in order
	asked  url.Values // by the last authorization request
}

// wish is a request as it was sent.
type wish struct {
	*http.Request
	body []byte
}

func newUnknown(t *testing.T) *unknown {
	u := &unknown{t: t, server: clienttest.New(t), store: tokenstore.NewMemory()}
	u.server.Policy.Registration = true
	u.api = u.server.NewAPI("mcp.test")
	return u
}

// RoundTrip implements http.RoundTripper: it notes what is asked.
func (u *unknown) RoundTrip(req *http.Request) (*http.Response, error) {
	sent := wish{Request: req}
	if req.Body != nil {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		sent.body, req = body, req.Clone(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	u.seen = append(u.seen, sent)
	return u.server.HTTPClient("").Transport.RoundTrip(req)
}

// addresses are those that were asked for, in order.
func (u *unknown) addresses() []string {
	var all []string
	for _, req := range u.seen {
		all = append(all, req.Method+" "+req.URL.String())
	}
	return all
}

// config is what is known of the resource.
func (u *unknown) config() client.Config {
	return client.Config{
		Resource: u.api.URL, LocalNetwork: true, RedirectURL: appCallback, Store: u.store, AuthServerClient: &http.Client{Transport: u},
	}
}

func (u *unknown) client(config client.Config) *client.Client {
	u.t.Helper()
	c, err := client.New(config)
	require.NoError(u.t, err)
	u.t.Cleanup(func() { require.NoError(u.t, c.Close(context.Background())) })
	return c
}

// login has the person log in, over the text of the Pending.
func (u *unknown) login(s *client.Session) error {
	u.t.Helper()
	begun, err := s.Start(u.t.Context(), client.AuthCode{})
	if err != nil {
		return err
	}
	address, err := url.Parse(begun.URL)
	require.NoError(u.t, err)
	u.asked = address.Query()
	text, err := begun.MarshalText()
	require.NoError(u.t, err)
	p := new(client.Pending)
	require.NoError(u.t, p.UnmarshalText(text))
	back, err := u.server.Browse(u.t.Context(), begun.URL)
	require.NoError(u.t, err)
	return s.Finish(u.t.Context(), p, back.Query())
}

// get makes a request to the resource.
func (u *unknown) get(s *client.Session) (int, error) {
	u.t.Helper()
	resp, err := s.Wrap(&http.Client{Transport: u}).Get(u.api.URL + "/tools")
	if err != nil {
		return 0, err
	}
	return resp.StatusCode, resp.Body.Close()
}

// Shows MCP25-OVR-2, MCP25-DISC-1, MCP25-SEC-5, MCP25-RES-1, R9728-7.4-1.
func TestNothingIsKnownButTheResource(t *testing.T) {
	u := newUnknown(t)
	c := u.client(u.config())
	s := c.Session("alice")
	_, err := u.get(s)
	require.ErrorIs(t, err, client.ErrLoginRequired)
	require.NoError(t, u.login(s))
	require.Equal(t, []string{"GET https://mcp.test", "GET https://mcp.test/.well-known/oauth-protected-resource",
		"GET https://as.test/.well-known/oauth-authorization-server", "POST https://as.test/register", "POST https://as.test/token"}, u.addresses())
	require.Equal(t, []string{u.api.URL}, u.asked["resource"])
	status, err := u.get(s)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)

	_, err = s.Renew(t.Context(), nil)
	require.NoError(t, err)
	require.Len(t, u.server.Registered(), 1)
	require.Len(t, u.server.Renewals(), 1)

	t.Run("another process goes on with the registration", func(t *testing.T) {
		again := u.client(u.config()).Session("alice")
		_, err := again.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Equal(t, u.server.Registered()[0], u.server.Renewals()[1].ClientID)
		require.Len(t, u.server.Registered(), 1)
	})
}

// serve has the host of u's own making answer, by path.
func (u *unknown) serve(host string, at map[string]http.HandlerFunc) string {
	return u.server.Handle("https://"+host, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := at[r.URL.Path]; h != nil {
			h(w, r)
			return
		}
		http.NotFound(w, r)
	}))
}

func document(members map[string]any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(members)
	}
}

func challenge(value string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		if value != "" {
			w.Header().Set("WWW-Authenticate", value)
		}
		w.WriteHeader(http.StatusUnauthorized)
	}
}

const wellKnown = "/.well-known/oauth-protected-resource"

// Shows MCP25-DISC-1, MCP25-DISC-2, R9728-5.4-1.
func TestWhereTheMetadataIs(t *testing.T) {
	resource := func(u *unknown, identifier string) http.HandlerFunc {
		return document(map[string]any{"resource": identifier, "authorization_servers": []string{u.server.Issuer}})
	}
	for _, tt := range []struct {
		name  string
		at    func(u *unknown) map[string]http.HandlerFunc
		asked []string // of the resource's host
		named string   // resource, in requests
	}{
		{"as the challenge says", func(u *unknown) map[string]http.HandlerFunc {
			return map[string]http.HandlerFunc{
				"/v1/mcp":    challenge(`Negotiate, DPoP algs="ES256", resource_metadata="https://tools.test/elsewhere"`),
				"/elsewhere": resource(u, "https://tools.test/v1/mcp"), wellKnown: resource(u, "https://tools.test"),
			}
		}, []string{"/v1/mcp", "/elsewhere"}, "https://tools.test/v1/mcp"},
		{"before its path", func(u *unknown) map[string]http.HandlerFunc {
			return map[string]http.HandlerFunc{
				"/v1/mcp": challenge(""), wellKnown + "/v1/mcp": resource(u, "https://tools.test/v1/mcp"), wellKnown: resource(u, "https://tools.test"),
			}
		}, []string{"/v1/mcp", wellKnown + "/v1/mcp"}, "https://tools.test/v1/mcp"},
		{"at its origin", func(u *unknown) map[string]http.HandlerFunc {
			return map[string]http.HandlerFunc{"/v1/mcp": challenge("Bearer"), wellKnown: resource(u, "https://tools.test")}
		}, []string{"/v1/mcp", wellKnown + "/v1/mcp", wellKnown}, "https://tools.test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := newUnknown(t)
			config := u.config()
			config.Resource = "HTTPS://Tools.TEST/v1/mcp" // MCP25-RES-2
			u.serve("tools.test", tt.at(u))
			s := u.client(config).Session("")
			require.NoError(t, u.login(s))
			var asked []string
			for _, req := range u.seen {
				if req.URL.Host == "tools.test" {
					asked = append(asked, req.URL.Path)
				}
			}
			require.Equal(t, tt.asked, asked)
			require.Equal(t, []string{tt.named}, u.asked["resource"])
			_, err := s.Renew(t.Context(), nil)
			require.NoError(t, err)
		})
	}
}

// Shows MCP25-RES-2.
func TestResourceIsSpeltAsServersDo(t *testing.T) {
	for given, want := range map[string]string{
		"https://MCP.test":  "https://mcp.test",
		"HTTPS://mcp.test/": "https://mcp.test",
	} {
		t.Run(given, func(t *testing.T) {
			u := newUnknown(t)
			config := u.config()
			config.Resource = given
			require.NoError(t, u.login(u.client(config).Session("")))
			require.Equal(t, []string{want}, u.asked["resource"])
		})
	}
}

// Capitals are those of ASCII: Unicode lowers this one to a plain i, which is another host.
func TestResourceThatLooksLikeAnotherStaysItself(t *testing.T) {
	u := newUnknown(t)
	config := u.config()
	config.Resource = "https://MC\u0130.test/tools"
	_, err := u.client(config).Session("").Start(t.Context(), client.AuthCode{})
	require.Error(t, err)
	require.NotEmpty(t, u.seen)
	for _, asked := range u.seen {
		require.Equal(t, "mc\u0130.test", asked.URL.Host)
	}
}

// Shows MCP25-DISC-3, MCP25-SCOPE-1, MCP26-RT-1, R9728-7.2-1.
func TestScopesThatAreAskedFor(t *testing.T) {
	for _, tt := range []struct {
		name, challenge      string
		supported, configure []string
		offline              bool
		want                 string
	}{
		{name: "those of the challenge alone", challenge: `Bearer scope="tools:call tools:list"`, supported: []string{"tools:list", "tools:admin"}, want: "tools:call tools:list"},
		{name: "else all that there are", challenge: "Bearer", supported: []string{"tools:list", "tools:admin"}, want: "tools:list tools:admin"},
		{name: "else none", challenge: "Bearer"},
		{name: "those that can be scopes", challenge: `Bearer scope="tools:call a\"b \\ tools:list"`, want: "tools:call tools:list"},
		{name: "none of another scheme", challenge: `Basic realm="x", scope="admin", DPoP scope="tools:call"`, want: "tools:call"},
		{name: "those of the Config before all", challenge: `Bearer scope="tools:call"`, supported: []string{"tools:list"}, configure: []string{"mine"}, offline: true, want: "mine"},
		{name: "offline access where the server knows it", challenge: `Bearer scope="tools:call"`, offline: true, want: "tools:call offline_access"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := newUnknown(t)
			if tt.offline {
				u.server.Policy.Metadata = map[string]any{"scopes_supported": []string{"other", "offline_access"}}
			}
			metadata := map[string]any{"resource": "https://tools.test", "authorization_servers": []string{u.server.Issuer}}
			if tt.supported != nil {
				metadata["scopes_supported"] = tt.supported
			}
			u.serve("tools.test", map[string]http.HandlerFunc{"": challenge(tt.challenge), "/": challenge(tt.challenge), wellKnown: document(metadata)})
			config := u.config()
			config.Resource, config.Scopes = "https://tools.test", tt.configure
			require.NoError(t, u.login(u.client(config).Session("")))
			require.Equal(t, tt.want, u.asked.Get("scope"))
			require.Equal(t, tt.want != "", u.asked.Has("scope"))
		})
	}
}

// TestProofsThatTheResourceTakes: what the authorization server takes besides is of no use there.
func TestProofsThatTheResourceTakes(t *testing.T) {
	for _, tt := range []struct {
		name            string
		server, accepts any // nil: not said
		want            string
	}{
		{"both say", []string{"ES256", "ES384"}, []string{"RS256", "ES384"}, "ES384"},
		{"the resource alone", nil, []string{"ES384"}, "ES384"},
		{"the server alone", []string{"ES384"}, nil, "ES384"},
		{"none in common", []string{"ES384"}, []string{"ES256"}, "ES384"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := newUnknown(t)
			u.server.Policy.DPoP = true
			u.server.Policy.Metadata = map[string]any{"dpop_signing_alg_values_supported": tt.server}
			u.serve("tools.test", map[string]http.HandlerFunc{wellKnown: document(map[string]any{
				"resource": "https://tools.test", "authorization_servers": []string{u.server.Issuer},
				"dpop_bound_access_tokens_required": true, "dpop_signing_alg_values_supported": tt.accepts,
			})})
			config := u.config()
			config.Resource, config.DPoP = "https://tools.test", &client.DPoP{}
			require.NoError(t, u.login(u.client(config).Session("")))
			require.Contains(t, decoded(u.seen[len(u.seen)-1].Header.Get("DPoP"), 0), `"alg":"`+tt.want+`"`)
		})
	}
}

// Shows MCP25-SEC-3.
func TestNoLoginWithoutAnnouncedPKCE(t *testing.T) {
	for name, methods := range map[string]any{"none": nil, "plain": []string{"plain"}} {
		t.Run(name, func(t *testing.T) {
			u := newUnknown(t)
			u.server.Policy.Metadata = map[string]any{"code_challenge_methods_supported": methods}
			require.ErrorContains(t, u.login(u.client(u.config()).Session("")), "PKCE")
			require.Nil(t, u.asked)
			require.Empty(t, u.server.Registered())
		})
	}
}

// another has u's resource guarded by another server from now on.
func (u *unknown) another() *clienttest.Server {
	other := clienttest.New(u.t)
	other.Issuer, other.Policy.Registration = "https://other.test", true
	u.server.Handle("https://other.test", other)
	return other
}

// Shows R9728-5.2-1, MCP26-BIND-1, MCP25-TOK-2.
func TestAnotherServerGuardsTheResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnknown(t)
		other, guards := u.another(), u.server.Issuer
		u.serve("tools.test", map[string]http.HandlerFunc{
			"/": func(w http.ResponseWriter, r *http.Request) {
				if r.Header.Get("Authorization") == "" || guards == "https://other.test" {
					challenge("Bearer")(w, r)
				}
			},
			wellKnown: func(w http.ResponseWriter, r *http.Request) {
				document(map[string]any{"resource": "https://tools.test", "authorization_servers": []string{guards}})(w, r)
			},
		})
		var changed []client.Event
		config := u.config()
		config.Resource = "https://tools.test"
		config.OnEvent = func(e client.Event) {
			if e.Kind == "issuer changed" {
				changed = append(changed, e)
			}
		}
		c := u.client(config)
		s := c.Session("alice")
		require.NoError(t, u.login(s))
		pending, err := s.Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		key := tokenstore.Key(u.server.Issuer, "https://tools.test", "alice")
		before, _, err := u.store.Load(t.Context(), key)
		require.NoError(t, err)

		guards, u.seen = "https://other.test", nil
		time.Sleep(2 * time.Minute)
		_, err = s.Wrap(&http.Client{Transport: u}).Get("https://tools.test/")
		require.ErrorIs(t, err, client.ErrLoginRequired)
		synctest.Wait()
		require.Len(t, changed, 1)
		for _, address := range u.addresses() {
			require.NotContains(t, address, "as.test")
			require.NotContains(t, address, "POST")
		}
		_, err = s.Token(t.Context())
		require.ErrorIs(t, err, client.ErrLoginRequired)
		require.ErrorIs(t, s.Finish(t.Context(), pending, url.Values{"state": {"x"}, "code": {"x"}}), client.ErrPending)
		after, _, err := u.store.Load(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, before, after, "untouched")

		begun, err := s.Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		back, err := other.Browse(t.Context(), begun.URL)
		require.NoError(t, err)
		require.NoError(t, s.Finish(t.Context(), begun, back.Query()))
		require.Len(t, other.Registered(), 1)

		guards = u.server.Issuer
		other.Fail("/token", clienttest.Fault{Unreachable: true})
		time.Sleep(2 * time.Hour)
		_, err = s.Renew(t.Context(), nil)
		require.NoError(t, err, "the grant of the first is as good as before")
		require.Len(t, u.server.Renewals(), 1)
		require.Empty(t, other.Renewals())
	})
}

// stubborn is a store that takes nothing newer than these generations, by key.
type stubborn struct {
	*tokenstore.Memory
	t    *testing.T
	most sync.Map
}

func (r *stubborn) Swap(ctx context.Context, key string, old tokenstore.Version, value []byte) (tokenstore.Version, error) {
	if most, ok := r.most.Load(key); ok && isSave(r.t, value, most.(uint64)) {
		return "", errDisk
	}
	return r.Memory.Swap(ctx, key, old, value)
}

// refuse has no save succeed under key from now on.
func (r *stubborn) refuse(key string) { r.most.Store(key, r.read(key).Generation) }

func (r *stubborn) read(key string) *record.Record {
	data, _, err := r.Load(r.t.Context(), key)
	require.NoError(r.t, err)
	stored, err := record.Decode(data)
	require.NoError(r.t, err)
	return stored
}

// TestUnsavedTokensOutlastAChangeOfTheServer: they belong to the grant at the first one, and are saved where that lies, beside
// those of the second one. Shows I3.
func TestUnsavedTokensOutlastAChangeOfTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnknown(t)
		store := &stubborn{Memory: tokenstore.NewMemory(), t: t}
		other, guards := u.another(), u.server.Issuer
		u.serve("tools.test", map[string]http.HandlerFunc{wellKnown: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			document(map[string]any{"resource": "https://tools.test", "authorization_servers": []string{guards}})(w, r)
		}})
		config := u.config()
		config.Resource, config.Store = "https://tools.test", store
		s := u.client(config).Session("alice")
		first, second := tokenstore.Key(u.server.Issuer, "https://tools.test", "alice"), tokenstore.Key(other.Issuer, "https://tools.test", "alice")

		login := func(server *clienttest.Server) {
			begun, err := s.Start(t.Context(), client.AuthCode{})
			require.NoError(t, err)
			back, err := server.Browse(t.Context(), begun.URL)
			require.NoError(t, err)
			require.NoError(t, s.Finish(t.Context(), begun, back.Query()))
		}
		login(u.server)
		store.refuse(first)
		_, err := s.Renew(t.Context(), nil)
		require.NoError(t, err)

		guards = other.Issuer
		time.Sleep(10 * time.Minute)
		login(other)
		store.refuse(second)
		_, err = s.Renew(t.Context(), nil)
		require.NoError(t, err)

		was := []uint64{store.read(first).Generation, store.read(second).Generation}
		store.most.Clear()
		time.Sleep(2 * time.Minute)
		require.Greater(t, store.read(first).Generation, was[0])
		require.Greater(t, store.read(second).Generation, was[1])
		guards = u.server.Issuer
		time.Sleep(10 * time.Minute)
		_, err = s.Renew(t.Context(), nil)
		require.NoError(t, err)
		require.Len(t, u.server.Renewals(), 2)
		require.Empty(t, u.server.Reuses())
	})
}

// The token in memory is of the server before: the one that guards the resource now is not asked about it.
func TestAnotherServerIsNotShownATokenToIntrospect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnknown(t)
		other, guards, shown := u.another(), u.server.Issuer, 0
		other.Policy.Metadata = map[string]any{"introspection_endpoint": "https://introspection.test/"}
		u.serve("introspection.test", map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, _ *http.Request) {
			shown++
			_, _ = io.WriteString(w, `{"active":true}`)
		}})
		u.serve("tools.test", map[string]http.HandlerFunc{wellKnown: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			document(map[string]any{"resource": "https://tools.test", "authorization_servers": []string{guards}})(w, r)
		}})
		config := u.config()
		config.Resource = "https://tools.test"
		s := u.client(config).Session("alice")
		require.NoError(t, u.login(s))
		guards = "https://other.test"
		time.Sleep(6 * time.Minute)
		_, err := s.Token(t.Context())
		require.NoError(t, err, "it is good for an hour, and the resource has not refused it")
		_, err = s.Introspect(t.Context(), nil)
		require.ErrorIs(t, err, client.ErrLoginRequired)
		require.Zero(t, shown)
	})
}

// TestWhatAResourceWantsIsSaidBeforeTheLogin: the person is not troubled for tokens that it does not take.
func TestWhatAResourceWantsIsSaidBeforeTheLogin(t *testing.T) {
	for member, c := range map[string]struct {
		value any
		field string
	}{
		"dpop_bound_access_tokens_required":          {true, "Config.DPoP"},
		"tls_client_certificate_bound_access_tokens": {true, "Config.ClientCertificate"},
		"bearer_methods_supported":                   {[]string{"body"}, "Authorization"},
	} {
		t.Run(member, func(t *testing.T) {
			u := newUnknown(t)
			u.serve("tools.test", map[string]http.HandlerFunc{wellKnown: document(map[string]any{
				"resource": "https://tools.test", "authorization_servers": []string{u.server.Issuer}, member: c.value,
			})})
			config := u.config()
			config.Resource = "https://tools.test"
			_, err := u.client(config).Session("").Start(t.Context(), client.AuthCode{})
			require.ErrorContains(t, err, c.field)
			require.Empty(t, u.server.Registered())
		})
	}
}

// TestAResourceIsAskedWithTheCertificate, as its metadata and the authorization server are.
func TestAResourceIsAskedWithTheCertificate(t *testing.T) {
	var names []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		names = append(names, r.TLS.PeerCertificates[0].Subject.CommonName)
		http.NotFound(w, r)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.StartTLS()
	defer server.Close()
	certificate := selfSigned(t, "first")
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c := open(t, client.Config{
		Resource: server.URL, LocalNetwork: true, RedirectURL: appCallback, ClientCertificate: &certificate,
		AuthServerClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}},
	})
	_, err := c.Session("").Start(t.Context(), client.AuthCode{})
	require.Error(t, err, "it says nothing of itself")
	require.NotEmpty(t, names)
	require.Equal(t, []string{"first"}, slices.Compact(names))
}

// TestARegistrationHasItsTime: a server that does not answer holds up nobody for ever.
func TestARegistrationHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnknown(t)
		config := u.config()
		config.AuthServerClient = &http.Client{Transport: mute{u, []string{"/register"}}}
		begun := time.Now()
		_, err := u.client(config).Session("").Start(context.Background(), client.AuthCode{})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 30*time.Second, time.Since(begun))
	})
}

// TestIntrospectAsTheClientThatWasRegistered: no other is known to the server.
func TestIntrospectAsTheClientThatWasRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnknown(t)
		u.server.Policy.Metadata = map[string]any{"introspection_endpoint": "https://introspection.test/"}
		var as []string
		u.serve("introspection.test", map[string]http.HandlerFunc{"/": func(w http.ResponseWriter, r *http.Request) {
			as = append(as, r.FormValue("client_id"))
			_, _ = io.WriteString(w, `{"active":true}`)
		}})
		s := u.client(u.config()).Session("alice")
		require.NoError(t, u.login(s))
		active, err := s.Introspect(t.Context(), nil)
		require.NoError(t, err)
		require.True(t, active)
		require.Equal(t, u.server.Registered(), as)
	})
}

// TestRevokeAsTheClientThatWasRegistered: whatever the server wants at that endpoint, nothing else is known of the client.
func TestRevokeAsTheClientThatWasRegistered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnknown(t)
		u.server.Policy.Metadata = map[string]any{"revocation_endpoint_auth_methods_supported": []string{"client_secret_basic"}}
		s := u.client(u.config()).Session("alice")
		require.NoError(t, u.login(s))
		registered := u.server.Registered()
		u.seen = nil
		require.NoError(t, s.Logout(t.Context()))
		revoked := 0
		for _, sent := range u.seen {
			if !strings.HasSuffix(sent.URL.Path, "/revoke") {
				continue
			}
			revoked++
			require.Empty(t, sent.Header.Get("Authorization"))
			require.Equal(t, registered, must(url.ParseQuery(string(sent.body)))["client_id"])
		}
		require.NotZero(t, revoked)
	})
}

// TestTheNextServerHasAPath: what the one before has said is not taken for its word.
func TestTheNextServerHasAPath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnknown(t)
		other, guards := u.another(), u.server.Issuer
		other.Issuer = "https://other.test/tenant"
		u.serve("tools.test", map[string]http.HandlerFunc{wellKnown: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Cache-Control", "no-store")
			document(map[string]any{"resource": "https://tools.test", "authorization_servers": []string{guards}})(w, r)
		}})
		config := u.config()
		config.Resource = "https://tools.test"
		s := u.client(config).Session("alice")
		require.NoError(t, u.login(s))
		old, err := s.Token(t.Context())
		require.NoError(t, err)
		guards = other.Issuer
		time.Sleep(2 * time.Minute)
		_, err = s.Renew(t.Context(), old)
		require.ErrorIs(t, err, client.ErrLoginRequired)
		p, err := s.Start(t.Context(), client.AuthCode{})
		require.NoError(t, err)
		require.True(t, strings.HasPrefix(p.URL, "https://other.test/tenant/"), p.URL)
		require.Len(t, other.Registered(), 1)
	})
}

func TestOneAnswerServesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnknown(t)
		c := u.client(u.config())
		require.NoError(t, u.login(c.Session("1")))
		u.seen = nil
		for range 3 {
			require.NoError(t, u.login(c.Session("2")))
			for key, err := range c.Keys(t.Context()) {
				require.NoError(t, err)
				require.Contains(t, []string{"1", "2"}, key)
			}
		}
		require.Len(t, u.seen, 6, "a registration and a code each: %v", u.addresses())
		time.Sleep(25 * time.Hour)
		u.api.Fail(slices.Repeat([]clienttest.Fault{{Unreachable: true}}, 10)...)
		_, err := c.Session("1").Renew(t.Context(), nil)
		require.NoError(t, err, "what the resource has said before still holds")
	})
}

func TestResourceThatCannotBeReached(t *testing.T) {
	for name, fault := range map[string]clienttest.Fault{
		"no connection": {Unreachable: true}, "in trouble": {Status: http.StatusBadGateway}, "too slow": {Wait: time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := newUnknown(t)
				require.NoError(t, u.login(u.client(u.config()).Session("alice")))
				u.api.Fail(fault, fault)
				s := u.client(u.config()).Session("alice")
				_, err := s.Token(t.Context())
				require.Error(t, err)
				require.NotErrorIs(t, err, client.ErrLoginRequired)
				require.ErrorContains(t, err, u.api.URL)
				u.server.Heal()
				time.Sleep(2 * time.Hour)
				_, err = s.Token(t.Context())
				require.NoError(t, err)
			})
		})
	}
}

func TestResourceThatCannotBeReachedIsAskedLessAndLess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnknown(t)
		require.NoError(t, u.login(u.client(u.config()).Session("alice")))
		u.api.Fail(slices.Repeat([]clienttest.Fault{{Unreachable: true}}, 1000)...)
		u.seen = nil
		s := u.client(u.config()).Session("alice")
		for range 600 {
			_, err := s.Token(t.Context())
			require.ErrorContains(t, err, u.api.URL)
			time.Sleep(time.Second)
		}
		require.Less(t, len(u.seen), 30, "in ten minutes")
		require.Greater(t, len(u.seen), 10)
		u.server.Heal()
		time.Sleep(2 * time.Minute)
		_, err := s.Token(t.Context())
		require.NoError(t, err)
	})
}

func TestConfigOfAResource(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*client.Config)
		field  string
	}{
		"plain http":             {func(c *client.Config) { c.Resource = "http://mcp.test" }, "Config.Resource"},
		"a fragment":             {func(c *client.Config) { c.Resource = "https://mcp.test/#x" }, "Config.Resource"},
		"this machine":           {func(c *client.Config) { c.Resource, c.LocalNetwork = "https://localhost", false }, "Config.Resource"},
		"an endpoint":            {func(c *client.Config) { c.Endpoint.TokenURL = "https://as.test/token" }, "Config.Endpoint.TokenURL"},
		"a secret of nobody":     {func(c *client.Config) { c.ClientSecret = "x" }, "Config.ClientSecret"},
		"a key of nobody":        {func(c *client.Config) { c.ClientKey = &client.Key{Signer: newKey(t)} }, "Config.ClientKey"},
		"a grant of nobody":      {func(c *client.Config) { c.Grant = client.ClientCredentials{} }, "Config.ClientID"},
		"an unguarded transport": {func(c *client.Config) { c.LocalNetwork = false }, "Config.AuthServerClient"},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUnknown(t)
			config := u.config()
			tt.change(&config)
			_, err := client.New(config)
			require.Error(t, err)
			wrong, ok := errors.AsType[*client.ConfigError](err)
			require.True(t, ok, "%v", err)
			require.ErrorContains(t, err, tt.field+" ")
			require.NotEmpty(t, wrong.Reason)
		})
	}
}

// Shows MCP25-TOK-2.
func TestTokensOfAResourceStayThere(t *testing.T) {
	u := newUnknown(t)
	stranger := u.server.NewAPI("stranger.test")
	s := u.client(u.config()).Session("")
	require.NoError(t, u.login(s))
	resp, err := s.Wrap(&http.Client{Transport: u}).Get(stranger.URL)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
	require.Empty(t, u.seen[len(u.seen)-1].Header.Get("Authorization"))

	_, err = s.Resource(stranger.URL).Token(t.Context())
	wrong, ok := errors.AsType[*client.ConfigError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "Session.Resource", wrong.Field)
	require.Same(t, s, s.Resource(u.api.URL))
	require.Same(t, s, s.Resource(""))
}

func TestDeviceLoginAtAResource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnknown(t)
		s := u.client(u.config()).Session("")
		require.NoError(t, s.Login(t.Context(), client.Device{Prompt: func(_ context.Context, v client.Verification) error {
			return u.server.Approve(v.UserCode)
		}}))
		require.Equal(t, []any{"urn:ietf:params:oauth:grant-type:device_code", "refresh_token"}, u.registered()["grant_types"])
		status, err := u.get(s)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, status)
	})
}

// Shows MCP26-RT-2.
func TestResourceWithoutRefreshTokens(t *testing.T) {
	u := newUnknown(t)
	u.server.Policy.Answer = map[string]any{"refresh_token": nil}
	s := u.client(u.config()).Session("")
	require.NoError(t, u.login(s))
	status, err := u.get(s)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
}

// Shows R9728-7.7-1: a name that leads to this machine.
func TestPrivateAddressesAreNotAsked(t *testing.T) {
	asked := 0
	mux := http.NewServeMux()
	server := httptest.NewTLSServer(mux)
	defer server.Close()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { asked++; http.NotFound(w, r) })
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	way := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, server.Listener.Addr().String())
		},
	}
	for _, local := range []bool{false, true} {
		c, err := client.New(client.Config{Resource: "https://example.com", LocalNetwork: local, AuthServerClient: &http.Client{Transport: way}})
		require.NoError(t, err)
		_, err = c.Session("").Token(t.Context())
		require.Error(t, err)
		require.Equal(t, local, asked > 0)
		require.Equal(t, !local, strings.Contains(err.Error(), "Config.LocalNetwork"), "%v", err)
		require.NoError(t, c.Close(t.Context()))
	}
}

func TestManyAskOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newUnknown(t)
		require.NoError(t, u.login(u.client(u.config()).Session("0")))
		u.api.Fail(clienttest.Fault{Wait: time.Second})
		u.seen = nil
		c := u.client(u.config())
		var all sync.WaitGroup
		for i := range 20 {
			all.Go(func() {
				_, err := c.Session(fmt.Sprint(i)).Token(t.Context())
				require.Equal(t, i == 0, err == nil)
			})
		}
		all.Wait()
		require.Equal(t, []string{"GET https://mcp.test", "GET https://mcp.test" + wellKnown,
			"GET https://as.test/.well-known/oauth-authorization-server"}, u.addresses())
	})
}

// Shows MCP25-OVR-2.
func TestServerThatIsAnOpenIDProviderAlone(t *testing.T) {
	u := newUnknown(t)
	u.server.Fail("/.well-known/oauth-authorization-server", clienttest.Fault{Status: http.StatusNotFound})
	s := u.client(u.config()).Session("")
	require.NoError(t, u.login(s))
	require.Contains(t, u.addresses(), "GET https://as.test/.well-known/openid-configuration")
	_, err := s.Renew(t.Context(), nil)
	require.NoError(t, err)
}

func TestServersOfAResource(t *testing.T) {
	down := clienttest.Fault{Status: http.StatusServiceUnavailable}
	for _, tt := range []struct {
		name   string
		listed []string
		named  string
		faults []clienttest.Fault
		want   string // empty: an error
	}{
		{name: "the first", listed: []string{"https://other.test", "https://as.test"}, want: "https://other.test"},
		{name: "the first that is one", listed: []string{"https://nothing.test", "https://other.test"}, want: "https://other.test"},
		{name: "no other while the first is down", listed: []string{"https://other.test", "https://as.test"}, faults: []clienttest.Fault{down, down, down}},
		{name: "the one that the Config names", listed: []string{"https://other.test", "https://as.test"}, named: "https://as.test", want: "https://as.test"},
		{name: "the one that the Config names, but for a slash", listed: []string{"https://other.test", "https://as.test/"}, named: "https://as.test", want: "https://as.test"},
		{name: "the Config spells it as the server does", listed: []string{"https://as.test/"}, named: "https://as.test/"},
		{name: "none that is near the one that the Config names", listed: []string{"https://as.test//", "https://as.test/t", "https://AS.test"}, named: "https://as.test"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := newUnknown(t)
			other := u.another()
			for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
				other.Fail(path, tt.faults...)
			}
			u.serve("nothing.test", nil)
			u.serve("tools.test", map[string]http.HandlerFunc{wellKnown: document(map[string]any{
				"resource": "https://tools.test", "authorization_servers": tt.listed,
			})})
			config := u.config()
			config.Resource, config.Issuer = "https://tools.test", tt.named
			p, err := u.client(config).Session("").Start(t.Context(), client.AuthCode{})
			if tt.want == "" {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.True(t, strings.HasPrefix(p.URL, tt.want+"/authorize"), p.URL)
		})
	}
}

// A resource does not have a program ask everybody.
func TestFewServersOfAResourceAreAsked(t *testing.T) {
	for nowhere, want := range map[int]bool{3: true, 4: false} {
		u := newUnknown(t)
		u.another()
		var listed []string
		for i := range nowhere {
			listed = append(listed, u.serve(fmt.Sprintf("nothing%d.test", i), nil))
		}
		u.serve("tools.test", map[string]http.HandlerFunc{wellKnown: document(map[string]any{
			"resource": "https://tools.test", "authorization_servers": append(listed, "https://other.test"),
		})})
		config := u.config()
		config.Resource = "https://tools.test"
		_, err := u.client(config).Session("").Start(t.Context(), client.AuthCode{})
		require.Equal(t, want, err == nil, "%v", err)
		require.Equal(t, want, slices.ContainsFunc(u.addresses(), func(address string) bool { return strings.Contains(address, "other.test") }))
	}
}

// Libraries that write URLs anew add a slash after the host, or take it away. What the server says of itself counts.
func TestSlashBetweenAResourceAndItsServer(t *testing.T) {
	for _, tt := range []struct {
		listed []string
		issuer string
		want   bool
	}{
		{listed: []string{"https://as.test/"}, issuer: "https://as.test", want: true},
		{listed: []string{"https://as.test"}, issuer: "https://as.test/", want: true},
		{listed: []string{"https://as.test/"}, issuer: "https://as.test/", want: true},
		{listed: []string{"https://nothing.test", "https://as.test/"}, issuer: "https://as.test", want: true},
		{listed: []string{"https://as.test"}, issuer: "https://as.test//"},
		{listed: []string{"https://as.test/"}, issuer: "https://as.test/t"},
		{listed: []string{"https://as.test/"}, issuer: "https://other.test"},
	} {
		t.Run(tt.listed[0]+" "+tt.issuer, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := newUnknown(t)
				u.server.Policy.Metadata = map[string]any{"issuer": tt.issuer}
				u.serve("nothing.test", nil)
				u.serve("tools.test", map[string]http.HandlerFunc{wellKnown: document(map[string]any{
					"resource": "https://tools.test", "authorization_servers": tt.listed,
				})})
				config := u.config()
				config.Resource = "https://tools.test"
				s := u.client(config).Session("alice")
				p, err := s.Start(t.Context(), client.AuthCode{})
				if !tt.want {
					require.Error(t, err)
					return
				}
				require.NoError(t, err)
				landed, err := u.server.Browse(t.Context(), p.URL)
				require.NoError(t, err)
				back := landed.Query()
				for _, other := range []string{"https://as.test", "https://as.test/"} {
					if other != tt.issuer {
						wrong := url.Values{"state": back["state"], "code": back["code"], "iss": {other}}
						require.ErrorIs(t, s.Finish(t.Context(), p, wrong), client.ErrPending, "compared exactly")
					}
				}
				back.Set("iss", tt.issuer)
				require.NoError(t, s.Finish(t.Context(), p, back))
				_, _, err = u.store.Load(t.Context(), tokenstore.Key(tt.issuer, "https://tools.test", "alice"))
				require.NoError(t, err)
				again := u.client(config).Session("alice")
				_, err = again.Token(t.Context())
				require.NoError(t, err, "another process finds it")
				time.Sleep(48 * time.Hour)
				_, err = s.Renew(t.Context(), nil)
				require.NoError(t, err)
			})
		})
	}
}

// However many there are, an error names a few.
func TestManyServersOfAResource(t *testing.T) {
	u := newUnknown(t)
	var listed []string
	for i := range 500 {
		listed = append(listed, fmt.Sprintf("https://as%d.test/%s", i, strings.Repeat("a", 1000)))
	}
	u.serve("tools.test", map[string]http.HandlerFunc{wellKnown: document(map[string]any{
		"resource": "https://tools.test", "authorization_servers": listed,
	})})
	config := u.config()
	config.Resource, config.Issuer = "https://tools.test", "https://as.test"
	_, err := u.client(config).Session("").Start(t.Context(), client.AuthCode{})
	wrong, ok := errors.AsType[*client.ConfigError](err)
	require.True(t, ok, "%v", err)
	require.Equal(t, "Config.Issuer", wrong.Field)
	require.ErrorContains(t, err, "https://as0.test/")
	require.ErrorContains(t, err, "https://as3.test/")
	require.ErrorContains(t, err, "496 more")
	require.Less(t, len(err.Error()), 2000)
}

// What asks for no token needs no login, and a program can tell.
func TestResourceThatAsksForNoToken(t *testing.T) {
	fine := document(map[string]any{"tools": []string{}})
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for name, tt := range map[string]struct {
		at   map[string]http.HandlerFunc
		open bool
	}{
		"it answers":                        {map[string]http.HandlerFunc{"/mcp": fine}, true},
		"it answers nothing":                {map[string]http.HandlerFunc{"/mcp": status(http.StatusNoContent)}, true},
		"it answers, and may have metadata": {map[string]http.HandlerFunc{"/mcp": fine, wellKnown: status(http.StatusBadGateway)}, false},
		"it is guarded":                     {map[string]http.HandlerFunc{"/mcp": challenge("Bearer")}, false},
		"it answers to nobody":              {map[string]http.HandlerFunc{"/mcp": status(http.StatusForbidden)}, false},
		"it takes no GET":                   {map[string]http.HandlerFunc{"/mcp": status(http.StatusMethodNotAllowed)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			u := newUnknown(t)
			config := u.config()
			config.Resource = u.serve("tools.test", tt.at) + "/mcp"
			_, err := u.client(config).Session("").Token(t.Context())
			failed, ok := errors.AsType[*client.Error](err)
			require.True(t, ok, "%v", err)
			require.Equal(t, "discover", failed.Op)
			require.Equal(t, tt.open, errors.Is(err, errors.ErrUnsupported), "%v", err)
			require.NotErrorIs(t, err, client.ErrLoginRequired)
			require.ErrorContains(t, err, "Session.Resource")
			require.NotContains(t, err.Error(), "Config.Issuer")
		})
	}
}

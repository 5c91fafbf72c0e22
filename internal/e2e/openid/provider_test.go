package openid_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/internal/e2e/person"
	"github.com/evergrant/evergrant/internal/e2e/zitadelop"
	hidden "github.com/evergrant/evergrant/internal/secret"
)

const secret = "a client secret of more than 32 octets"

// claims are those that the tests look at.
type claims struct {
	Issuer   string `json:"iss"`
	Subject  string `json:"sub"`
	IssuedAt int64  `json:"iat"`
	Email    string `json:"email"`
}

// log keeps what happens.
type log struct {
	mu    sync.Mutex
	kinds []string // guarded by mu
}

func (l *log) add(e client.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kinds = append(l.kinds, e.Kind)
}

func (l *log) has(kind string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Contains(l.kinds, kind)
}

// signing is a confidential client whose id tokens and UserInfo are signed by algorithm.
func signing(algorithm string) map[string]any {
	return map[string]any{
		"client_id": "app", "client_secret": secret, "redirect_uris": []string{"https://app.test/callback"},
		"grant_types": []string{"authorization_code", "refresh_token"}, "response_types": []string{"code"},
		"id_token_signed_response_alg": algorithm, "userinfo_signed_response_alg": algorithm,
		"post_logout_redirect_uris": []string{"https://app.test/bye"},
	}
}

func open(t *testing.T, config client.Config) (*client.Session, *log) {
	t.Helper()
	l := new(log)
	config.OnEvent = l.add
	if config.ClientID == "" {
		config.ClientID, config.ClientSecret, config.RedirectURL = "app", secret, "https://app.test/callback"
	}
	c, err := client.New(config)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.Close(context.Background())) })
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return c.Session("alice"), l
}

func login(t *testing.T, p *oidcprovider.Provider, s *client.Session, params url.Values) error {
	t.Helper()
	pending, err := s.Start(t.Context(), client.AuthCode{Params: params})
	require.NoError(t, err)
	return s.Finish(t.Context(), pending, p.SignIn(pending.URL, "alice").Query())
}

var scopes = []string{"openid", "email", "offline_access"}

// TestEveryAlgorithm: login, claims, refresh and signed UserInfo by every algorithm that the provider signs with.
func TestEveryAlgorithm(t *testing.T) {
	for _, algorithm := range []string{"RS256", "PS256", "PS384", "ES256", "ES384", "EdDSA", "HS256"} {
		t.Run(algorithm, func(t *testing.T) {
			p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true, OwnKeys: true, Clients: []map[string]any{signing(algorithm)}})
			alice, told := open(t, client.Config{Issuer: p.Issuer, Scopes: scopes})
			require.NoError(t, login(t, p, alice, nil))
			var first, second, info claims
			require.NoError(t, alice.Claims(t.Context(), &first))
			require.Equal(t, p.Issuer, first.Issuer)
			require.Equal(t, "alice", first.Subject)
			time.Sleep(time.Until(time.Unix(first.IssuedAt+1, 0)))
			_, err := alice.Renew(t.Context(), nil)
			require.NoError(t, err)
			require.NoError(t, alice.Claims(t.Context(), &second))
			require.Greater(t, second.IssuedAt, first.IssuedAt, "of the refresh")
			require.False(t, told.has("id token refused"))
			require.NoError(t, alice.UserInfo(t.Context(), &info))
			require.Equal(t, "alice alice@example.com", info.Subject+" "+info.Email)
		})
	}
}

// TestPlainUserInfo asks with bound tokens, too.
func TestPlainUserInfo(t *testing.T) {
	for name, config := range map[string]oidcprovider.Config{
		"Bearer": {}, "DPoP": {DPoPBound: true}, "DPoP with nonces": {DPoPBound: true, DPoPNonces: true},
	} {
		t.Run(name, func(t *testing.T) {
			p := oidcprovider.Start(t, config)
			c := client.Config{Issuer: p.Issuer, ClientID: oidcprovider.Native, RedirectURL: "http://127.0.0.1:5555/callback", Scopes: scopes}
			if config.DPoPBound {
				c.DPoP = &client.DPoP{}
			}
			alice, _ := open(t, c)
			require.NoError(t, login(t, p, alice, nil))
			got, err := alice.Token(t.Context())
			require.NoError(t, err)
			var info claims
			require.NoError(t, alice.UserInfo(t.Context(), &info))
			require.Equal(t, "alice@example.com", info.Email)
			p.DestroyAccessToken(got.AccessToken)
			require.NoError(t, alice.UserInfo(t.Context(), &info), "with another token")
		})
	}
}

// TestKeyRotation: behind one issuer, a provider takes the place of another with other keys.
func TestKeyRotation(t *testing.T) {
	var now atomic.Pointer[httputil.ReverseProxy]
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { now.Load().ServeHTTP(w, r) }))
	t.Cleanup(front.Close)
	config := oidcprovider.Config{Issuer: front.URL, OwnKeys: true, Clients: []map[string]any{signing("ES256")}}
	take := func(p *oidcprovider.Provider) {
		back := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: p.Address})
			r.Out.Host = r.In.Host
		}}
		now.Store(back)
	}
	one, two := oidcprovider.Start(t, config), oidcprovider.Start(t, config)
	take(one)
	alice, _ := open(t, client.Config{Issuer: front.URL, Scopes: scopes})
	require.NoError(t, login(t, one, alice, nil))

	take(two)
	time.Sleep(time.Second) // the keys have just been fetched
	require.NoError(t, login(t, two, alice, nil))
	take(one)
	time.Sleep(10 * time.Second)
	require.NoError(t, login(t, one, alice, nil))
}

// TestLogout goes through RP-initiated logout in the browser that logged in.
func TestLogout(t *testing.T) {
	p := oidcprovider.Start(t, oidcprovider.Config{OwnKeys: true, Clients: []map[string]any{signing("RS256")}})
	alice, _ := open(t, client.Config{Issuer: p.Issuer, Scopes: scopes})
	somebody := person.New(t, url.Values{"login": {"alice"}, "allow": {"1"}, "logout": {"yes"}}, p.Address)
	visit := func(params url.Values) error {
		pending, err := alice.Start(t.Context(), client.AuthCode{Params: params})
		require.NoError(t, err)
		return alice.Finish(t.Context(), pending, somebody.Walk(pending.URL).Query())
	}
	require.NoError(t, visit(nil))
	silent := url.Values{"prompt": {"none"}}
	require.NoError(t, visit(silent), "the browser is logged in")

	end, err := alice.EndSessionURL(t.Context(), url.Values{"post_logout_redirect_uri": {"https://app.test/bye"}, "state": {"s 1"}})
	require.NoError(t, err)
	require.NoError(t, alice.Logout(t.Context()))
	back := somebody.Walk(end)
	require.NotNil(t, back)
	require.Equal(t, "https://app.test/bye?state=s+1", back.String())
	require.ErrorIs(t, visit(silent), client.ErrInteractionRequired, "the browser is not logged in any more")
}

// TestAuthentication: what this provider cannot say of acr is an error, what it says of auth_time is checked.
func TestAuthentication(t *testing.T) {
	p := oidcprovider.Start(t, oidcprovider.Config{OwnKeys: true, Clients: []map[string]any{signing("RS256")}})
	alice, _ := open(t, client.Config{Issuer: p.Issuer, Scopes: scopes})
	require.NoError(t, login(t, p, alice, url.Values{"max_age": {"60"}}))
	var got struct {
		At int64 `json:"auth_time"`
	}
	require.NoError(t, alice.Claims(t.Context(), &got))
	require.NotZero(t, got.At)
	require.ErrorIs(t, login(t, p, alice, url.Values{"acr_values": {"urn:example:hardware"}}), client.ErrAuthentication)
}

// TestZitadel: its id tokens have more than one audience, and it puts claims into UserInfo only.
func TestZitadel(t *testing.T) {
	p := zitadelop.Start(t, 0)
	alice, told := open(t, client.Config{
		Issuer: p.Issuer, ClientID: zitadelop.Native, Scopes: []string{"openid", "email", "offline_access"}, RedirectURL: "http://localhost:5555/callback",
	})
	pending, err := alice.Start(t.Context(), client.AuthCode{})
	require.NoError(t, err)
	require.NoError(t, alice.Finish(t.Context(), pending, p.SignIn(pending.URL).Query()))
	var got, info claims
	require.NoError(t, alice.Claims(t.Context(), &got))
	require.Equal(t, p.Issuer, got.Issuer)
	_, err = alice.Renew(t.Context(), nil)
	require.NoError(t, err)
	require.False(t, told.has("id token refused"))
	require.NoError(t, alice.UserInfo(t.Context(), &info))
	require.Equal(t, got.Subject, info.Subject)
	require.NotEmpty(t, info.Email)
	first, err := alice.Token(t.Context())
	require.NoError(t, err)
	resp, err := http.PostForm(p.Issuer+"/revoke", url.Values{"token": {first.AccessToken}, "client_id": {zitadelop.Native}})
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.NoError(t, alice.UserInfo(t.Context(), &info), "a bare 403 is what it says of the dead token")
	end, err := alice.EndSessionURL(t.Context(), nil)
	require.NoError(t, err)
	resp, err = http.Get(end)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Less(t, resp.StatusCode, 400)
}

// TestIntrospection asks the provider about a token that lives, one that has ended, and with a wrong secret.
func TestIntrospection(t *testing.T) {
	p := oidcprovider.Start(t, oidcprovider.Config{Clients: []map[string]any{signing("RS256")}})
	alice, _ := open(t, client.Config{Issuer: p.Issuer, Scopes: scopes})
	require.NoError(t, login(t, p, alice, nil))
	got, err := alice.Token(t.Context())
	require.NoError(t, err)
	var said struct {
		ClientID string `json:"client_id"`
		Expiry   int64  `json:"exp"`
	}
	active, err := alice.Introspect(t.Context(), &said)
	require.NoError(t, err)
	require.True(t, active)
	require.Equal(t, "app", said.ClientID)
	require.WithinDuration(t, got.Expiry, time.Unix(said.Expiry, 0), 2*time.Second)
	p.DestroyAccessToken(got.AccessToken)
	active, err = alice.Introspect(t.Context(), nil)
	require.NoError(t, err)
	require.False(t, active, "and nothing was renewed for it")

	hc := authserver.NewHTTPClient(nil)
	t.Cleanup(hc.CloseIdleConnections)
	stranger := authserver.Client{HTTP: hc, ID: "app", Secret: hidden.New("wrong"), Method: authserver.MethodBasic}
	_, _, err = stranger.Introspect(t.Context(), p.Issuer+"/token/introspection", hidden.New(got.AccessToken))
	failure, ok := errors.AsType[*authserver.Failure](err)
	require.True(t, ok)
	require.Equal(t, http.StatusUnauthorized, failure.Status)
}

package peers_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/httptransport"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
)

// contestant is one way of making requests with an access token.
type contestant struct {
	name   string
	scopes []string // that it asks for, beside read
	// fit makes an http.Client of a grant, with a first token out of one token request.
	fit func(t testing.TB, g *grant, base http.RoundTripper) *http.Client

	// What a contestant takes for a token that has ended, or is due, differs by the margin that it keeps.
	ended, due, brief terms
}

// terms are what the server says of a token's life.
type terms struct {
	life    time.Duration
	refresh int // refresh_in, in seconds; 0: nothing is said
}

var (
	good = terms{life: time.Hour}

	evergrant = contestant{name: "Evergrant", fit: fitEvergrant,
		ended: terms{life: time.Second}, due: terms{time.Hour, 1}, brief: terms{life: 2 * time.Second}}
	// Renews when it is asked in a token's last 10 seconds.
	xoauth2 = contestant{name: "x/oauth2", fit: fitXOAuth2,
		ended: terms{life: time.Second}, due: terms{life: 9 * time.Second}, brief: terms{life: 12 * time.Second}}
	// Renews in the background in a token's last 225 seconds.
	google = contestant{name: "Google auth", fit: fitGoogle(true),
		ended: terms{life: time.Second}, due: terms{life: 200 * time.Second}, brief: terms{life: 227 * time.Second}}
	googleTraced = contestant{name: "Google auth with its telemetry, the default", fit: fitGoogle(false)}
	// Renews when it is asked in a token's last 300 seconds, and once the refresh_in of its server is over.
	msal = contestant{name: "MSAL", fit: fitMSAL, scopes: []string{"openid", "offline_access", "profile"},
		ended: terms{life: 301 * time.Second}, due: terms{time.Hour, 1}, brief: terms{302 * time.Second, 1}}
	plain = contestant{name: "plain net/http, req.Clone", fit: fitPlain, ended: good, due: good, brief: good}
)

// again is plain once more: what differs between the two is the noise of the run.
var again = contestant{name: "plain once more", fit: fitPlain}

const (
	clientID     = "app"
	clientSecret = "secret"
)

// grant is what a contestant has of one account.
type grant struct {
	as    *clienttest.Server
	token *oauth2.Token
}

// newServer is a strict authorization server in memory for one contestant: it rotates refresh tokens, and who presents
// a spent one loses the grant. An access token may be used to its end, though it was renewed before.
func newServer(t testing.TB, c contestant) *clienttest.Server {
	as := clienttest.New(t)
	as.Register(clientID, clientSecret, "client_secret_post", "http://127.0.0.1/callback")
	as.Policy.KeepAccessToken = true
	grants(as, c, good)
	return as
}

// grants has the server give tokens on these terms from now on.
func grants(as *clienttest.Server, c contestant, w terms) {
	as.Change(func() {
		as.Policy.Lifetime = w.life
		as.Policy.Answer = map[string]any{}
		if w.refresh > 0 {
			as.Policy.Answer["refresh_in"] = w.refresh
		}
		if c.name == msal.name {
			as.Policy.Answer["client_info"] = encoded(map[string]any{"uid": "alice", "utid": "tenant"})
			as.Policy.Answer["id_token"] = encoded(map[string]any{"alg": "none"}) + "." +
				encoded(map[string]any{"sub": "alice", "iss": authority, "aud": clientID}) + "."
		}
	})
}

func encoded(members map[string]any) string {
	text, _ := json.Marshal(members) // of strings
	return base64.RawURLEncoding.EncodeToString(text)
}

// dress fits a contestant with a new grant.
func dress(t testing.TB, c contestant, as *clienttest.Server, base http.RoundTripper) *http.Client {
	return c.fit(t, &grant{as, as.Login(append([]string{"read"}, c.scopes...)...)}, base)
}

// attach is what everybody writes who attaches a token by hand.
type attach struct {
	header func(context.Context) (string, error)
	base   http.RoundTripper
}

func (a attach) RoundTrip(req *http.Request) (*http.Response, error) {
	header, err := a.header(req.Context())
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Header.Set("Authorization", header)
	return a.base.RoundTrip(req)
}

func fitPlain(t testing.TB, g *grant, base http.RoundTripper) *http.Client {
	tokens, err := g.config().TokenSource(g.context(t), &oauth2.Token{RefreshToken: g.token.RefreshToken}).Token()
	require.NoError(t, err)
	header := "Bearer " + tokens.AccessToken
	return &http.Client{Transport: attach{func(context.Context) (string, error) { return header, nil }, base}}
}

func (g *grant) config() *oauth2.Config {
	config := g.as.Config()
	config.ClientID, config.ClientSecret = clientID, clientSecret
	config.Endpoint.AuthStyle = oauth2.AuthStyleInParams
	return config
}

func (g *grant) context(t testing.TB) context.Context {
	return context.WithValue(t.Context(), oauth2.HTTPClient, g.as.HTTPClient(""))
}

func fitEvergrant(t testing.TB, g *grant, base http.RoundTripper) *http.Client {
	config := g.config()
	session := g.as.NewClient(client.Config{
		Endpoint: config.Endpoint, ClientID: config.ClientID, ClientSecret: config.ClientSecret,
	}).Session("alice")
	require.NoError(t, session.Adopt(t.Context(), &oauth2.Token{RefreshToken: g.token.RefreshToken}))
	_, err := session.Token(t.Context())
	require.NoError(t, err)
	return session.Wrap(&http.Client{Transport: base})
}

func fitXOAuth2(t testing.TB, g *grant, base http.RoundTripper) *http.Client {
	source := g.config().TokenSource(g.context(t), &oauth2.Token{RefreshToken: g.token.RefreshToken})
	_, err := source.Token()
	require.NoError(t, err)
	return &http.Client{Transport: &oauth2.Transport{Source: source, Base: base}}
}

func fitGoogle(quiet bool) func(testing.TB, *grant, http.RoundTripper) *http.Client {
	return func(t testing.TB, g *grant, base http.RoundTripper) *http.Client {
		config := g.config()
		provider, err := auth.New3LOTokenProvider(&auth.Options3LO{
			ClientID: config.ClientID, ClientSecret: config.ClientSecret, RefreshToken: g.token.RefreshToken,
			AuthURL: config.Endpoint.AuthURL, TokenURL: config.Endpoint.TokenURL, AuthStyle: auth.StyleInParams,
			Client: g.as.HTTPClient(""),
		})
		require.NoError(t, err)
		_, err = provider.Token(t.Context())
		require.NoError(t, err)
		hc, err := httptransport.NewClient(&httptransport.Options{
			Credentials:      auth.NewCredentials(&auth.CredentialsOptions{TokenProvider: provider}),
			BaseRoundTripper: base, DisableTelemetry: quiet,
		})
		require.NoError(t, err)
		return hc
	}
}

const authority = "https://login.microsoftonline.com/tenant/v2.0"

func fitMSAL(t testing.TB, g *grant, base http.RoundTripper) *http.Client {
	secret, err := confidential.NewCredFromSecret(clientSecret)
	require.NoError(t, err)
	app, err := confidential.New("https://login.microsoftonline.com/tenant", clientID, secret,
		confidential.WithHTTPClient(&http.Client{Transport: microsoft{g}}), confidential.WithInstanceDiscovery(false))
	require.NoError(t, err)
	scopes := []string{"read"}
	first, err := app.AcquireTokenByAuthCode(t.Context(), "code", "http://127.0.0.1/callback", scopes)
	require.NoError(t, err)
	return &http.Client{Transport: attach{func(ctx context.Context) (string, error) {
		got, err := app.AcquireTokenSilent(ctx, scopes, confidential.WithSilentAccount(first.Account))
		if err != nil {
			return "", err
		}
		return "Bearer " + got.AccessToken, nil
	}, base}}
}

// microsoft is the way to a grant's server for MSAL, which knows Microsoft's only: a code is the grant's refresh token.
type microsoft struct{ *grant }

func (m microsoft) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasSuffix(req.URL.Path, "/openid-configuration") {
		answer := httptest.NewRecorder()
		err := json.NewEncoder(answer).Encode(map[string]any{
			"issuer": authority, "authorization_endpoint": authority + "/authorize", "token_endpoint": authority + "/token",
		})
		return answer.Result(), err
	}
	if req.Body == nil {
		return nil, errors.New("MSAL asks for " + req.URL.Path)
	}
	body, err := io.ReadAll(req.Body)
	_ = req.Body.Close()
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, err
	}
	if form.Get("grant_type") == "authorization_code" {
		form = url.Values{
			"grant_type": {"refresh_token"}, "refresh_token": {m.token.RefreshToken},
			"client_id": {clientID}, "client_secret": {clientSecret},
		}
	}
	form.Del("scope") // those granted
	to, err := http.NewRequestWithContext(req.Context(), http.MethodPost, m.config().Endpoint.TokenURL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	to.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return m.as.HTTPClient("").Transport.RoundTrip(to)
}

package mainjob_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/zitadelop"
)

// refreshCounter counts the renewals that are sent.
type refreshCounter struct{ sent atomic.Int64 }

func (c *refreshCounter) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, "/oauth/token") {
		c.sent.Add(1)
	}
	return http.DefaultTransport.RoundTrip(r)
}

// bareAPI is an API that takes the provider's tokens and rejects others without a word: 401 and no challenge. It counts
// the rejections.
func bareAPI(t *testing.T, p *zitadelop.Provider) (address string, rejected *atomic.Int64) {
	rejected = new(atomic.Int64)
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, p.UserInfo(), nil)
		if err != nil {
			http.Error(w, "bad address", http.StatusInternalServerError)
			return
		}
		ask.Header.Set("Authorization", r.Header.Get("Authorization"))
		answer, err := http.DefaultClient.Do(ask)
		if err != nil {
			http.Error(w, "no provider", http.StatusBadGateway)
			return
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK {
			rejected.Add(1)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}))
	t.Cleanup(api.Close)
	return api.URL, rejected
}

func zitadelSession(t *testing.T, p *zitadelop.Provider) (*client.Session, *atomic.Int64) {
	t.Helper()
	counter := new(refreshCounter)
	s := newClient(t, sealed(t, client.Config{
		Issuer: p.Issuer, ClientID: zitadelop.Native, Scopes: []string{"openid", "offline_access"},
		RedirectURL: "http://localhost:0/callback", AuthServerClient: &http.Client{Transport: counter},
	})).Session("somebody")
	l := beginBrowser(t, s, client.Browser{})
	visit(t, p.SignIn(l.at(t)).String())
	require.NoError(t, <-l.outcome)
	require.EqualValues(t, 1, counter.sent.Swap(0), "the code")
	return s, &counter.sent
}

// zitadel ends the old access token with every refresh: requests that carry it at that moment are rejected.
func TestZitadelRenewsUnderLoad(t *testing.T) {
	t.Parallel()
	p := zitadelop.Start(t, life)
	s, sent := zitadelSession(t, p)
	api, rejected := bareAPI(t, p)
	answers, errs := gather(20, s.HTTPClient(), api).after(9 * time.Second)
	requireAllServed(t, answers, errs, 20*9)
	t.Logf("%d calls, %d renewals, %d rejected at the API", answers[http.StatusOK], sent.Load(), rejected.Load())
	require.GreaterOrEqual(t, sent.Load(), int64(2), "no token lives for longer than four seconds")
	require.LessOrEqual(t, sent.Load(), int64(5), "nor is one renewed before two")
}

func TestARejectionWithoutAChallengeIsOne(t *testing.T) {
	t.Parallel()
	p := zitadelop.Start(t, 0)
	s, sent := zitadelSession(t, p)
	api, rejected := bareAPI(t, p)
	status, err := get(s.HTTPClient(), api)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	first, err := s.Token(t.Context())
	require.NoError(t, err)

	resp, err := http.PostForm(p.Issuer+"/revoke", url.Values{
		"token": {first.AccessToken}, "token_type_hint": {"access_token"}, "client_id": {zitadelop.Native},
	})
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
	answers, errs := gather(20, s.HTTPClient(), api).after(time.Second)
	requireAllServed(t, answers, errs, 20)
	require.NotZero(t, rejected.Load())
	require.EqualValues(t, 1, sent.Load(), "one renewal for all")
}

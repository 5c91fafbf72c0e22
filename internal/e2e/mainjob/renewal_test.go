package mainjob_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/e2e/chromium"
	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
)

// life is that of the access tokens in tests that wait for their end. oidc-provider counts whole seconds: a token ends up
// to one second earlier than its answer says. Four seconds are enough for a renewal before that.
const life = 4 * time.Second

// earliest is how old a token is when it is renewed ahead of its end: three quarters of its life, less a jitter of a
// tenth of the rest.
const earliest = life - life/4 - life/40

func TestOneLoginServesAllThroughRotation(t *testing.T) {
	t.Parallel()
	const life, earliest, workers, span = 2 * time.Second, time.Second, 20, 30 * time.Second
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true, AccessTokenLife: life})
	s := newClient(t, sealed(t, native(p.Issuer))).Session(alice)
	b := chromium.Start(t)
	l := beginBrowser(t, s, client.Browser{Params: consent})
	b.SignIn(l.at(t), alice)
	require.NoError(t, <-l.outcome)
	b.Screenshot("outcome")
	require.Contains(t, b.Text(), "You are logged in")
	require.NotContains(t, b.Location(), "code=")
	status, err := s.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, alice, status.Subject)

	answers, errs := gather(workers, s.HTTPClient(), p.API()).after(span)
	requireAllServed(t, answers, errs, workers*int(span/time.Second))

	ledger := p.Log()
	requireChain(t, ledger)
	renewals := len(ledger) - 1
	t.Logf("%d calls, %d renewals, %d rejected at the API", answers[http.StatusOK], renewals, p.Stats().API.Refused)
	require.GreaterOrEqual(t, renewals, int(span/life)-1, "no token outlives its time")
	require.LessOrEqual(t, renewals, int(span/earliest)+2, "one renewal for all, and none too early")
	require.Equal(t, 1, p.Stats().Live.RefreshTokens)
}

func TestATokenDestroyedEarlyIsNobodysTrouble(t *testing.T) {
	t.Parallel()
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true})
	s := newClient(t, sealed(t, native(p.Issuer))).Session(alice)
	logAliceIn(t, s, p)
	first, err := s.Token(t.Context())
	require.NoError(t, err)

	const workers = 50
	all := gather(workers, s.HTTPClient(), p.API())
	working := func(calls int) {
		t.Helper()
		require.Eventually(t, func() bool { return all.calls() >= calls }, 20*time.Second, time.Millisecond)
	}
	working(5 * workers)
	require.Len(t, p.Log(), 1, "nothing to renew so far")
	p.DestroyAccessToken(first.AccessToken)
	working(all.calls() + 10*workers)
	answers, errs := all.after(0)

	requireAllServed(t, answers, errs, 15*workers)
	require.NotZero(t, p.Stats().API.Refused, "the destroyed token was used")
	ledger := p.Log()
	require.Len(t, ledger, 2, "one renewal for all")
	requireChain(t, ledger)
	second, err := s.Token(t.Context())
	require.NoError(t, err)
	require.NotEqual(t, first.AccessToken, second.AccessToken)
}

func TestARevokedGrantNeedsOneLoginAnywhere(t *testing.T) {
	t.Parallel()
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true, AccessTokenLife: life})
	at := crew.InFolder(t)
	store, err := at.Open()
	require.NoError(t, err)
	config := native(p.Issuer)
	config.Store = store
	s := newClient(t, config).Session(alice)
	logAliceIn(t, s, p)
	answers, errs := gather(4, s.HTTPClient(), p.API()).after(time.Second)
	requireAllServed(t, answers, errs, 4)

	_, err = s.Renew(t.Context(), nil)
	require.NoError(t, err)
	before := len(p.Log()) // nothing is under way now
	p.RevokeAccount(alice)
	answers, errs = gather(20, s.HTTPClient(), p.API()).after(life * 5 / 4)
	require.Empty(t, answers)
	require.Greater(t, len(errs), 20*10, "everybody has asked again and again")
	for _, err := range errs {
		require.ErrorIs(t, err, client.ErrLoginRequired)
	}
	asked := p.Log()[before:]
	require.Equal(t, 1, len(asked), "the server was asked once, not once a call")
	require.Equal(t, "invalid_grant", asked[0].Error)
	refusal, ok := errors.AsType[*client.Error](errs[0])
	require.True(t, ok)
	require.Equal(t, "invalid_grant", refusal.Code)
	status, err := s.Status(t.Context())
	require.NoError(t, err)
	require.False(t, status.LoggedIn)
	require.ErrorIs(t, status.Failure, client.ErrLoginRequired)

	// Another process over the same folder.
	line := start(t, task{Do: logIn, Issuer: p.Issuer, Place: at})
	visit(t, p.SignIn(line(), alice).String())
	require.Equal(t, saved, line())
	answers, errs = gather(20, s.HTTPClient(), p.API()).after(life * 5 / 4)
	requireAllServed(t, answers, errs, 20*10)
	requireChain(t, p.Log()[before+1:])
	require.NotEmpty(t, of("refresh_token", p.Log()[before+1:]), "this process renews the other's grant")
}

package faults_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/e2e/crew"
	"github.com/evergrant/evergrant/internal/e2e/ledger"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
	"github.com/evergrant/evergrant/internal/e2e/tcpproxy"
)

// held are the moments of another process's renewal at which a person acts.
var held = map[string]tcpproxy.Action{
	"before the server's part of a renewal": tcpproxy.HoldRequest,
	"after the server's part of a renewal":  tcpproxy.HoldAnswer,
}

// A new grant wins over whatever a renewal of the one before it brings. That is dropped and not revoked: a revocation may
// reach further than one token.
func TestAPersonGivesANewGrant(t *testing.T) {
	t.Parallel()
	for name, act := range map[string]func(*scene, *oidcprovider.Provider){
		"by a login":  func(s *scene, _ *oidcprovider.Provider) { s.SignIn() },
		"by an Adopt": adoptFromElsewhere,
	} {
		for moment, do := range held {
			t.Run(name+" "+moment, func(t *testing.T) {
				t.Parallel()
				s, p := strictScene(t, crew.InFolder(t), 0)
				renewer := s.hire(0)
				old := s.stored()
				gate := s.hold(do)
				renewer.tell(renew)
				s.awaitMet(gate)

				act(s, p)
				given := s.stored()
				require.NotEqual(t, old.Grant, given.Grant)
				gate.Open()
				token, err := s.Session.Token(t.Context())
				require.NoError(t, err)
				require.Equal(t, ledger.Name(token.AccessToken), renewer.requireRenewed(), "it goes on with the new grant")

				lines := s.refreshes()
				require.Len(t, lines, 1, "the renewal was the old grant's")
				require.Equal(t, ledger.Name(old.RefreshToken), lines[0].Presented)
				require.Equal(t, given, s.stored(), "the late tokens have left a trace")
				require.Empty(t, p.Revocations())

				_, err = s.Session.Renew(t.Context(), nil)
				require.NoError(t, err)
				require.Equal(t, ledger.Name(given.RefreshToken), s.refreshes()[1].Presented)
				s.requireAlive(renewer)
				s.requireSpentOnce()
				require.Equal(t, given.Grant, s.stored().Grant)
			})
		}
	}
}

// adoptFromElsewhere puts a token into the store that another program has obtained for the same account.
func adoptFromElsewhere(s *scene, p *oidcprovider.Provider) {
	s.t.Helper()
	elsewhere := oauth2.Config{
		ClientID:    oidcprovider.Native,
		Endpoint:    oauth2.Endpoint{AuthURL: p.Issuer + "/auth", TokenURL: p.Issuer + "/token", AuthStyle: oauth2.AuthStyleInParams},
		RedirectURL: oidcprovider.Callback,
		Scopes:      s.Task.Server.Scopes,
	}
	verifier := oauth2.GenerateVerifier()
	address := elsewhere.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("prompt", "consent"))
	callback := p.SignIn(address, crew.Account).Query()
	token, err := elsewhere.Exchange(s.t.Context(), callback.Get("code"), oauth2.VerifierOption(verifier))
	require.NoError(s.t, err)
	require.NoError(s.t, s.Session.Adopt(s.t.Context(), token))
}

// A logout wins as well: nothing comes back, and what the server has given meanwhile is given back to it.
func TestAPersonTakesTheGrantBack(t *testing.T) {
	t.Parallel()
	for moment, do := range held {
		t.Run(moment, func(t *testing.T) {
			t.Parallel()
			s, p := strictScene(t, crew.InFolder(t), 0)
			renewer := s.hire(0)
			spent := ledger.Name(s.stored().RefreshToken)
			gate := s.hold(do)
			renewer.tell(renew)
			s.awaitMet(gate)

			require.NoError(t, s.Session.Logout(t.Context()))
			require.Nil(t, s.stored())
			gate.Open()
			e := renewer.outcome()
			require.Equal(t, crew.LoginRequired, e.Name, e.Detail)
			require.Equal(t, "absent", e.Detail)

			lines := s.refreshes()
			require.Len(t, lines, 1)
			require.Equal(t, spent, lines[0].Presented)
			revoked := []string{spent}
			if do == tcpproxy.HoldAnswer {
				revoked = append(revoked, lines[0].Issued)
			}
			var asked []string
			for _, r := range p.Revocations() {
				if r.Hint == "refresh_token" {
					asked = append(asked, r.Presented)
				}
			}
			require.Equal(t, revoked, asked)
			require.Zero(t, p.Stats().Live.RefreshTokens)
			require.Zero(t, p.Stats().Live.AccessTokens)

			renewer.tell(renew)
			require.Equal(t, crew.LoginRequired, renewer.outcome().Name)
			require.Len(t, s.refreshes(), 1, "the server was asked for a grant that is gone")
			s.Dismiss()
			require.Nil(t, s.stored(), "the grant was resurrected")

			before := len(p.Revocations())
			s.SignIn()
			s.requireAlive(s.hire(0))
			require.Len(t, p.Revocations(), before)
		})
	}
}

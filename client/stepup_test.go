package client_test

import (
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/client/clienttest"
	"github.com/evergrant/evergrant/tokenstore"
)

// A person who is to authenticate better, and does not, keeps the grant that there is: nothing is revoked beside it.
func TestFailedStepUpLeavesTheStoredGrantAlone(t *testing.T) {
	s := clienttest.New(t)
	config := web(tokenstore.NewMemory())
	config.Scopes = []string{"openid"}
	alice := s.NewClient(config).Session("alice")
	require.NoError(t, alice.Adopt(t.Context(), s.Login("openid")))
	stepUp := func() error {
		pending, err := alice.Start(t.Context(), client.AuthCode{Params: url.Values{"acr_values": {"gold"}}, Replace: true})
		require.NoError(t, err)
		callback, err := s.Browse(t.Context(), pending.URL)
		require.NoError(t, err)
		return alice.Finish(t.Context(), pending, callback.Query())
	}
	require.ErrorIs(t, stepUp(), client.ErrAuthentication)
	require.Empty(t, s.Revocations())
	require.NoError(t, alice.Logout(t.Context()))
	before := len(s.Revocations())
	require.ErrorIs(t, stepUp(), client.ErrAuthentication)
	require.Greater(t, len(s.Revocations()), before, "with nothing stored, what nobody will use is taken back")
}

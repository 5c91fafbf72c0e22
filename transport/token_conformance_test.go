package transport_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/transport"
)

// prover could prove any token.
type prover struct{ source }

func (prover) Prove(context.Context, *oauth2.Token, string, string, string) (string, error) {
	return "proof", nil
}

// Who can prove that a token is his sends one of a type that is not spoken here no more than anybody else does.
func TestR6749_7_1_1(t *testing.T) {
	for kind, sends := range map[string]int{"mac": 0, "N_A": 0, "urn:example:other": 0, "Bearer": 1, "DPoP": 1} {
		t.Run(kind, func(t *testing.T) {
			b := &base{answers: []*http.Response{answer(200, "")}}
			s := prover{source{t: t, token: func(context.Context) (*oauth2.Token, error) {
				return &oauth2.Token{AccessToken: "abc", TokenType: kind}, nil
			}}}
			_, err := (&transport.Transport{Source: s, Base: b}).RoundTrip(get(t, api))
			if sends == 0 {
				require.ErrorIs(t, err, transport.ErrToken)
			} else {
				require.NoError(t, err)
			}
			require.Len(t, b.sent, sends)
		})
	}
}

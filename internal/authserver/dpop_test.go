package authserver_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/dpop"
	"github.com/evergrant/evergrant/internal/secret"
)

// prover is a client whose proofs can be read.
func prover(t *testing.T) *authserver.Client {
	c, made := newClient(t), 0
	c.DPoP = &authserver.DPoP{Servers: new(dpop.Servers), Prove: func(_, nonce string) (string, error) {
		made++
		return fmt.Sprintf("the-proof-%d-%s", made, nonce), nil
	}}
	return c
}

// wanting is a token endpoint that refuses proofs in these ways, one after the other, and then none.
func wanting(t *testing.T, proofs *[]string, refusals ...http.HandlerFunc) string {
	return serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.ParseForm() != nil {
			return // the form has not left
		}
		*proofs = append(*proofs, r.Header["Dpop"]...)
		if n := len(*proofs); n > 0 && n <= len(refusals) {
			refusals[n-1](w, r)
			return
		}
		_, _ = w.Write([]byte(`{"access_token":"AT","token_type":"dpop"}`))
	})
}

func wants(code string, status int, nonces ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Dpop-Nonce"] = nonces
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":%q}`, code)
	}
}

// Shows R9449-8-1, R9449-8-2, R9449-5-4.
func TestProofs(t *testing.T) {
	for _, tt := range []struct {
		name     string
		refusals []http.HandlerFunc
		proofs   []string
		code     string // of the failure; empty: none
	}{
		{"good at once", nil, []string{"the-proof-1-"}, ""},
		{"a nonce", []http.HandlerFunc{wants("use_dpop_nonce", 400, "a")}, []string{"the-proof-1-", "the-proof-2-a"}, ""},
		{"a nonce under 401", []http.HandlerFunc{wants("use_dpop_nonce", 401, "a")}, []string{"the-proof-1-", "the-proof-2-a"}, ""},
		{"two nonces, one after the other", []http.HandlerFunc{wants("use_dpop_nonce", 400, "a"), wants("use_dpop_nonce", 400, "b")},
			[]string{"the-proof-1-", "the-proof-2-a"}, "use_dpop_nonce"},
		{"the same again", []http.HandlerFunc{wants("use_dpop_nonce", 400, "a"), wants("use_dpop_nonce", 400, "a")},
			[]string{"the-proof-1-", "the-proof-2-a"}, "use_dpop_nonce"},
		{"two nonces at once", []http.HandlerFunc{wants("use_dpop_nonce", 400, "a", "b")}, []string{"the-proof-1-"}, "use_dpop_nonce"},
		{"a nonce that is none", []http.HandlerFunc{wants("use_dpop_nonce", 400, `"`)}, []string{"the-proof-1-"}, "use_dpop_nonce"},
		{"no nonce", []http.HandlerFunc{wants("use_dpop_nonce", 400)}, []string{"the-proof-1-"}, "use_dpop_nonce"},
		{"a bad proof", []http.HandlerFunc{wants("invalid_dpop_proof", 400)}, []string{"the-proof-1-", "the-proof-2-"}, ""},
		{"a bad proof, then a nonce", []http.HandlerFunc{wants("invalid_dpop_proof", 400), wants("use_dpop_nonce", 400, "a")},
			[]string{"the-proof-1-", "the-proof-2-", "the-proof-3-a"}, ""},
		{"a nonce, then a bad proof, then a nonce", []http.HandlerFunc{wants("use_dpop_nonce", 400, "a"), wants("invalid_dpop_proof", 400), wants("use_dpop_nonce", 400, "b")},
			[]string{"the-proof-1-", "the-proof-2-a", "the-proof-3-a"}, "use_dpop_nonce"},
		{"bad proofs", []http.HandlerFunc{wants("invalid_dpop_proof", 400), wants("invalid_dpop_proof", 400)},
			[]string{"the-proof-1-", "the-proof-2-"}, "invalid_dpop_proof"},
		{"a nonce that comes with another refusal", []http.HandlerFunc{wants("invalid_grant", 400, "a")}, []string{"the-proof-1-"}, "invalid_grant"},
		{"the words under another status", []http.HandlerFunc{wants("use_dpop_nonce", 503, "a")}, []string{"the-proof-1-"}, "use_dpop_nonce"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var proofs []string
			address, asked, again := wanting(t, &proofs, tt.refusals...), 0, 0
			c := prover(t)
			c.DPoP.Again = func(context.Context) error { again++; return nil }
			answer, err := c.Token(t.Context(), address, refresh("RT"), func() error { asked++; return nil })
			require.Equal(t, tt.proofs, proofs)
			require.Equal(t, len(proofs), asked, "the gate stands before every send")
			require.Equal(t, len(proofs)-1, again)
			if tt.code == "" {
				require.NoError(t, err)
				require.Equal(t, "DPoP", answer.TokenType)
				return
			}
			f, ok := errors.AsType[*authserver.Failure](err)
			require.True(t, ok)
			require.Equal(t, tt.code, f.Code)
			if tt.code != "invalid_grant" {
				require.NotEqual(t, authserver.InvalidGrant, f.Outcome)
				require.NotEqual(t, authserver.Doubtful, f.Outcome, "it says nothing about the grant")
			}
		})
	}
}

func TestAGateThatClosesStopsTheSecondProof(t *testing.T) {
	for name, closes := range map[string]func(c *authserver.Client, over error) func() error{
		"the gate": func(_ *authserver.Client, over error) func() error {
			asked := 0
			return func() error {
				if asked++; asked > 1 {
					return over
				}
				return nil
			}
		},
		"Again": func(c *authserver.Client, over error) func() error {
			c.DPoP.Again = func(context.Context) error { return over }
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			var proofs []string
			over := errors.New("the lease is over")
			address, c := wanting(t, &proofs, wants("use_dpop_nonce", 400, "a")), prover(t)
			_, err := c.Token(t.Context(), address, refresh("RT"), closes(c, over))
			require.ErrorIs(t, err, over)
			requireFailure(t, err, authserver.NotProcessed)
			require.Len(t, proofs, 1)
		})
	}
}

func TestR9449_9_2(t *testing.T) {
	var first, second []string
	one := wanting(t, &first, wants("use_dpop_nonce", 400, "of-one"))
	two := wanting(t, &second)
	c := prover(t)
	for _, address := range []string{one, two, one} {
		_, err := c.Token(t.Context(), address, refresh("RT"), nil)
		require.NoError(t, err)
	}
	require.Equal(t, []string{"the-proof-1-", "the-proof-2-of-one", "the-proof-4-of-one"}, first)
	require.Equal(t, []string{"the-proof-3-"}, second)
}

func TestAProofThatCannotBeMadeSendsNothing(t *testing.T) {
	c, gone := newClient(t), errors.New("the key service is away")
	c.HTTP.Transport = unreachable(t)
	c.DPoP = &authserver.DPoP{Servers: new(dpop.Servers), Prove: func(string, string) (string, error) { return "", gone }}
	_, err := c.Token(t.Context(), endpoint, refresh("RT"), nil)
	require.ErrorIs(t, err, gone)
	requireFailure(t, err, authserver.NotProcessed)
}

func TestAProofIsNotShown_I10(t *testing.T) {
	address := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprintf(w, `{"error":"invalid_request","error_description":"not %s"}`, r.Header.Get("DPoP"))
	})
	_, err := prover(t).Token(t.Context(), address, refresh("RT"), nil)
	require.Error(t, err)
	require.NotContains(t, fmt.Sprintf("%v %+v", err, err), "the-proof")
}

func TestClockOfAServerThatRefusesAProof(t *testing.T) {
	var proofs []string
	date := time.Now().Add(time.Hour)
	address := wanting(t, &proofs, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Date", date.UTC().Format(http.TimeFormat))
		wants("invalid_dpop_proof", 400)(w, r)
	})
	c := prover(t)
	_, err := c.Token(t.Context(), address, refresh("RT"), nil)
	require.NoError(t, err)
	skew, known := c.DPoP.Servers.Skew(address)
	require.True(t, known)
	require.InDelta(t, time.Hour.Seconds(), skew.Seconds(), 5)
}

func TestNoProofForARevocation(t *testing.T) {
	var proofs []string
	require.NoError(t, prover(t).Revoke(t.Context(), wanting(t, &proofs), secret.New("RT"), "refresh_token"))
	require.Empty(t, proofs)
}

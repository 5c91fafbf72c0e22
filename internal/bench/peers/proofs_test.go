package peers_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/internal/authserver"
	"github.com/evergrant/evergrant/internal/bench/measure"
	"github.com/evergrant/evergrant/internal/jws"
	"github.com/evergrant/evergrant/transport"
)

func proofs(t *testing.T, s size) section {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	rows := table{head: []string{"", "a second", "each", "× the signature", "allocations"}}
	var figures []figure
	for _, pair := range []struct {
		bare  crypto.Signer
		proof measure.Way
	}{
		{ec, dpopProof(t, ec)},
		{ec, assertion(t, "private_key_jwt, ES256", "ES256", ec)},
		{rsaKey, assertion(t, "private_key_jwt, RS256", "RS256", rsaKey)},
	} {
		digest := sha256.Sum256([]byte("x"))
		signature := measure.Way{Name: "the bare signature", Do: func() error {
			_, err := pair.bare.Sign(rand.Reader, digest[:], crypto.SHA256)
			return err
		}}
		results, err := measure.Contest(4*s.rounds, s.turn/4, signature, pair.proof)
		require.NoError(t, err)
		for _, r := range results {
			rows.add(r.Name, fmt.Sprintf("%.0f", float64(time.Second)/float64(r.Median)), times(r), measure.Ratio(r, results[0]), fmt.Sprint(r.Allocs))
		}
		figures = append(figures, most(pair.proof.Name+": at most 1.15 × the signature", measure.Quotient(results[1], results[0]), 1.15,
			"the profile below says what it goes into"))
	}
	return section{
		title: "10. Proofs",
		text: "What a request costs whose token is bound to a key (DPoP), and a token request whose client authenticates by private_key_jwt, " +
			"beside the bare signature of crypto/ecdsa (P-256) and crypto/rsa (2048 bits).",
		tables: append([]table{rows}, spent(t, "private_key_jwt, ES256", assertion(t, "", "ES256", ec).Do)...), figures: figures,
	}
}

// dpopProof is what the transport asks of a session for each request.
func dpopProof(t *testing.T, key crypto.Signer) measure.Way {
	as := newServer(t, evergrant)
	as.Change(func() { as.Policy.DPoP = true })
	config := (&grant{as: as}).config()
	session := as.NewClient(client.Config{
		Endpoint: config.Endpoint, ClientID: clientID, ClientSecret: clientSecret, DPoP: &client.DPoP{Key: &client.Key{Signer: key}},
	}).Session("alice")
	require.NoError(t, session.Adopt(t.Context(), as.Login()))
	token, err := session.Renew(t.Context(), nil)
	require.NoError(t, err)
	var prover transport.Prover = session
	return measure.Way{Name: "DPoP, ES256", Do: func() error {
		_, err := prover.Prove(t.Context(), token, http.MethodGet, "https://api.example.com/things", "")
		return err
	}}
}

// assertion is what authserver makes for a token request.
func assertion(t *testing.T, name, algorithm string, signer crypto.Signer) measure.Way {
	key, err := jws.NewKey(signer, "key 1")
	require.NoError(t, err)
	header := jws.Header{Algorithm: algorithm, Type: "client-authentication+jwt"}
	return measure.Way{Name: name, Do: func() error {
		_, err := key.Sign(header, authserver.NewClaims(clientID, clientID, "https://as.example.com", time.Now(), time.Minute))
		return err
	}}
}

package client_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/client"
	"github.com/evergrant/evergrant/transport"
)

// ask makes a request through a transport of the program's own. host, if not empty, overrides the address's.
func ask(t *testing.T, own http.RoundTripper, address, host string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	require.NoError(t, err)
	req.Host = host
	resp, err := own.RoundTrip(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode
}

// Shows R9449-4.3-1, R9449-8.2-1, R9449-9-1.
//
// TestATransportOfTheProgramsOwnLearnsForAll: a Session is a Source whose proofs know what any Transport was told.
func TestATransportOfTheProgramsOwnLearnsForAll(t *testing.T) {
	for name, host := range map[string]string{"by its address": "", "by another name": "api.example.com"} {
		t.Run(name+", nonces", func(t *testing.T) {
			inTime(t, func(t *testing.T, p *possession) {
				asked := []any{}
				rs := p.as.Handle("https://rs.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					claims, _ := readProof(t, r.Header.Get("DPoP"))
					asked = append(asked, claims["nonce"])
					w.Header().Set("DPoP-Nonce", "n1")
					if claims["nonce"] != "n1" {
						w.Header().Set("WWW-Authenticate", `DPoP error="use_dpop_nonce"`)
						w.WriteHeader(http.StatusUnauthorized)
					}
				}))
				alice := p.login(p.client(nil))
				for range 2 {
					require.Equal(t, 200, ask(t, &transport.Transport{Source: alice, Base: p}, rs+"/things", host))
				}
				require.Equal(t, 200, ask(t, alice.Wrap(&http.Client{Transport: p}).Transport, rs+"/things", host))
				require.Equal(t, []any{nil, "n1", "n1", "n1"}, asked)
			})
		})
		t.Run(name+", clocks", func(t *testing.T) {
			inTime(t, func(t *testing.T, p *possession) {
				const ahead = 20 * time.Second // less than what is corrected without a server's word
				asked := 0
				rs := p.as.Handle("https://rs.test", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					asked++
					now := time.Now().Add(ahead)
					w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
					claims, _ := readProof(t, r.Header.Get("DPoP"))
					if made := time.Unix(int64(claims["iat"].(float64)), 0); now.Sub(made).Abs() > 2*time.Second {
						w.Header().Set("WWW-Authenticate", `DPoP error="invalid_dpop_proof"`)
						w.WriteHeader(http.StatusUnauthorized)
					}
				}))
				alice := p.login(p.client(nil))
				for range 2 {
					require.Equal(t, 200, ask(t, &transport.Transport{Source: alice, Base: p}, rs+"/things", host))
				}
				require.Equal(t, 3, asked, "once with the local clock")
			})
		})
	}
}

// TestATransportOfTheProgramsOwnTellsOfReplays as the Session's own clients do.
func TestATransportOfTheProgramsOwnTellsOfReplays(t *testing.T) {
	inTime(t, func(t *testing.T, p *possession) {
		told := new(heard)
		alice := p.login(p.client(func(c *client.Config) { c.OnEvent = told.hear }))
		p.as.RevokeAccessToken(token(t, alice))
		require.Equal(t, 200, ask(t, &transport.Transport{Source: alice, Base: p}, p.api.URL+"/things", ""))
		require.Contains(t, kinds(told.take()), "replayed")
	})
}

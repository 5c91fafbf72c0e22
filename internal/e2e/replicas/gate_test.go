package replicas_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/ledger"
)

// gate stands before the provider's token endpoint, and lists the access tokens that are given. It is safe for
// concurrent use.
type gate struct {
	*httptest.Server
	provider string            // the token endpoint there
	onward   http.RoundTripper // to the provider
	list     *os.File          // the access tokens: a line each, before anybody has it
}

func startGate(t *testing.T, provider string) *gate {
	t.Helper()
	list, err := os.Create(filepath.Join(t.TempDir(), "tokens"))
	require.NoError(t, err)
	g := &gate{
		provider: provider, list: list,
		onward: &http.Transport{DisableKeepAlives: true}, // the provider closes idle connections; that must lose nothing
	}
	g.Server = httptest.NewServer(http.HandlerFunc(g.token))
	t.Cleanup(func() {
		g.Close()
		require.NoError(t, list.Close())
	})
	return g
}

// token forwards a token request. Its end is passed on: when its sender dies, the provider may see it or not.
func (g *gate) token(w http.ResponseWriter, r *http.Request) {
	at := time.Now()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // its sender is dead
	}
	onward, err := http.NewRequestWithContext(r.Context(), http.MethodPost, g.provider, bytes.NewReader(body))
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	onward.Header.Set("Content-Type", r.Header.Get("Content-Type"))
	resp, err := g.onward.RoundTrip(onward)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	if err := g.given(answer, at); err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	_, _ = w.Write(answer) // to a sender who may be dead
}

// given lists the access token in an answer to a request that came in at at.
func (g *gate) given(answer []byte, at time.Time) error {
	var given struct {
		AccessToken string `json:"access_token"`
		ExpiresIn   int64  `json:"expires_in"`
		IDToken     string `json:"id_token"`
	}
	if json.Unmarshal(answer, &given) != nil || given.AccessToken == "" {
		return nil // a refusal
	}
	life := time.Duration(given.ExpiresIn) * time.Second
	_, err := fmt.Fprintln(g.list, ledger.Name(given.AccessToken), subject(given.IDToken), at.Add(life).UnixNano(), int64(life))
	return err
}

// subject is the account that an id token names. That it is a good one is not in question here.
func subject(idToken string) string {
	parts := strings.Split(idToken, ".")
	var claims struct{ Sub string }
	if len(parts) == 3 {
		payload, _ := base64.RawURLEncoding.DecodeString(parts[1])
		_ = json.Unmarshal(payload, &claims)
	}
	return claims.Sub
}

// Package ledger is what the authorization servers of the end-to-end tests tell of the token requests that they have
// answered. No token is in it.
package ledger

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TokenRequest is one line of a ledger. Refresh tokens are named as by Name; equal names are equal tokens.
type TokenRequest struct {
	Time      time.Time `json:"time"` // when it came in
	GrantType string    `json:"grant_type"`
	ClientID  string    `json:"client_id"`
	UserAgent string    `json:"user_agent"`
	Presented string    `json:"presented"` // the refresh token sent
	Issued    string    `json:"issued"`    // the refresh token in the answer
	Status    int       `json:"status"`
	Error     string    `json:"error"`
	Detail    string    `json:"detail"` // what the provider keeps to itself
	Reuse     bool      `json:"reuse"`  // the token sent had been replaced before
}

// Get reads the ledger at address.
func Get(t testing.TB, address string) []TokenRequest {
	t.Helper()
	resp, err := http.Get(address)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	var log []TokenRequest
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&log))
	return log
}

// Name is the name of a refresh token: a short hash.
func Name(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])[:12]
}

// Refreshes are the lines about refresh tokens.
func Refreshes(all []TokenRequest) []TokenRequest {
	var lines []TokenRequest
	for _, line := range all {
		if line.GrantType == "refresh_token" {
			lines = append(lines, line)
		}
	}
	return lines
}

// RequireSpentOnce wants every refresh token in these lines to have been presented once, and served.
func RequireSpentOnce(t testing.TB, lines []TokenRequest) {
	t.Helper()
	presented := map[string]bool{}
	for _, line := range lines {
		require.Equal(t, http.StatusOK, line.Status, "%+v", line)
		require.False(t, line.Reuse, "%+v", line)
		require.False(t, presented[line.Presented], "%+v: a refresh token was presented twice", line)
		presented[line.Presented] = true
	}
}

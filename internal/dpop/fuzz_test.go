package dpop_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/dpop"
)

// FuzzNonce has a server send DPoP-Nonce headers, one a line: what is kept can stand in a proof and is not endless, and one
// server's word is no other's.
func FuzzNonce(f *testing.F) {
	files, err := filepath.Glob("testdata/nonces/*")
	require.NoError(f, err)
	require.NotEmpty(f, files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(text))
	}
	f.Add(strings.Repeat("n", 5000))
	f.Fuzz(func(t *testing.T, text string) {
		const target = "https://as.example/token"
		values := strings.Split(text, "\n")
		answer := http.Header{"Dpop-Nonce": values}
		var servers dpop.Servers
		got := servers.NoticeNonce(target, answer)
		require.Equal(t, got, dpop.Nonce(answer))
		require.Equal(t, got, servers.Nonce(target))
		require.Empty(t, servers.Nonce("https://as.example:8443/token"))
		if got == "" {
			return
		}
		require.Equal(t, []string{got}, values, "it is the only header, and whole")
		require.LessOrEqual(t, len(got), 4096)
		for i := range len(got) {
			require.True(t, got[i] > ' ' && got[i] <= '~' && got[i] != '"' && got[i] != '\\', "%q", got)
		}
	})
}

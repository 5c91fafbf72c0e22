package chromium_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/oauth2"

	"github.com/evergrant/evergrant/internal/e2e/chromium"
	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
)

func TestAPersonSignsIn(t *testing.T) {
	folder := os.Getenv(chromium.Screenshots)
	if folder == "" {
		folder = t.TempDir()
		t.Setenv(chromium.Screenshots, folder)
	}
	p := oidcprovider.Start(t, oidcprovider.Config{Rotate: true})
	verifier := oauth2.GenerateVerifier()
	codes := make(chan string, 1)
	program := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/callback" {
			codes <- r.URL.Query().Get("code")
			_, _ = io.WriteString(w, "You are signed in.")
		}
	}))
	t.Cleanup(program.Close)
	c := oauth2.Config{
		ClientID:    oidcprovider.Native,
		Endpoint:    oauth2.Endpoint{AuthURL: p.Issuer + "/auth", TokenURL: p.Issuer + "/token", AuthStyle: oauth2.AuthStyleInParams},
		RedirectURL: program.URL + "/callback",
		Scopes:      []string{"openid", "offline_access"},
	}

	b := chromium.Start(t)
	b.SignIn(c.AuthCodeURL("s", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("prompt", "consent")), "alice")
	require.Equal(t, "You are signed in.", b.Text())
	b.Screenshot("signed-in")

	token, err := c.Exchange(t.Context(), <-codes, oauth2.VerifierOption(verifier))
	require.NoError(t, err)
	require.NotEmpty(t, token.RefreshToken)
	for _, page := range []string{"login", "consent", "signed-in"} {
		require.FileExists(t, filepath.Join(folder, page+".png"))
	}
}

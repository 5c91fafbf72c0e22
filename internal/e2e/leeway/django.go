package leeway

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/e2e/process"
)

const (
	python     = "/usr/bin/python3" // the one that Debian's packages are for
	djangoCode = "/usr/lib/python3/dist-packages/oauth2_provider"
)

// Django is a django-oauth-toolkit. Within its grace period a refresh token that has been spent gives the very tokens again
// that it gave before, if those have not been refreshed since. A refresh ends the access token before it at once.
type Django struct {
	AccessTokenLife time.Duration // in whole seconds; zero: ten minutes
	Grace           time.Duration // how long a spent refresh token is good, in whole seconds; zero: not at all
}

// Start starts it and waits until it is ready.
func (d Django) Start(t testing.TB) *Provider {
	t.Helper()
	process.Need(t, python)
	if _, err := os.Stat(djangoCode); err != nil {
		process.Missing(t, "the package python3-django-oauth-toolkit")
	}
	p := &Provider{t: t, path: "/o"}
	process.Serve(t, exec.Command(python, "-B", source("django_server.py")), map[string]any{
		"access_token_seconds": seconds(d.AccessTokenLife),
		"database":             filepath.Join(t.TempDir(), "db.sqlite3"),
		"grace_seconds":        int(d.Grace / time.Second),
		"redirect_uri":         Callback,
		"scope":                Scope,
		"secret":               Secret,
		"signing_key":          signingKey(t),
	}, p)
	p.Issuer = p.own(p.path)
	return p
}

// signingKey is a new key for id tokens, in PEM.
func signingKey(t testing.TB) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}))
}

package leeway

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/evergrant/evergrant/internal/e2e/process"
)

const (
	ruby           = "/usr/bin/ruby" // the one that Debian's packages are for
	doorkeeperGems = "/usr/share/rubygems-integration/all/specifications/doorkeeper-[0-9]*.gemspec"
)

// Doorkeeper is the authorization server inside GitLab and Mastodon. A refresh token that has been spent is good, for ever
// new successors, until the access token that came with one of them is first used. Until then the access token before is
// good, too.
type Doorkeeper struct {
	AccessTokenLife time.Duration // in whole seconds; zero: ten minutes
}

// Start starts it and waits until it is ready.
func (d Doorkeeper) Start(t testing.TB) *Provider {
	t.Helper()
	process.Need(t, ruby)
	if found, _ := filepath.Glob(doorkeeperGems); found == nil {
		process.Missing(t, "the package ruby-doorkeeper")
	}
	p := &Provider{t: t, path: "/oauth"}
	process.Serve(t, exec.Command(ruby, source("doorkeeper_server.rb")), map[string]any{
		"access_token_seconds": seconds(d.AccessTokenLife),
		"folder":               t.TempDir(),
		"redirect_uri":         Callback,
		"scope":                Scope,
		"secret":               Secret,
	}, p)
	return p
}

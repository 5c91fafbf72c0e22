package processes_test

import (
	"testing"
	"time"

	"github.com/evergrant/evergrant/internal/e2e/oidcprovider"
)

// strict is a provider whose access tokens live for two seconds, and whose grants end when a refresh token comes twice.
func strict(t *testing.T) *oidcprovider.Provider {
	t.Helper()
	return oidcprovider.Start(t, oidcprovider.Config{Rotate: true, AccessTokenLife: 2 * time.Second})
}

// Package processes_test runs Evergrant in several processes at once over one store, against a real authorization server
// that ends a grant when a refresh token is presented twice.
package processes_test

import (
	"testing"

	"github.com/evergrant/evergrant/internal/e2e/crew"
)

func TestMain(m *testing.M) {
	crew.Main(m, map[string]crew.Act{"unavailable": expectUnavailable, "locked": expectLocked})
}

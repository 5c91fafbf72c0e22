// Package interop_test shows what the client and other people's servers, and Google's own client library, make of each
// other. Its outcome is docs/interop.md, which the tests keep true:
//
//	EVERGRANT_E2E=1 go test -C internal/e2e ./interop -update
package interop_test

import (
	"flag"
	"testing"

	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "rewrite docs/interop.md")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

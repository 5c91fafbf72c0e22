package gnomekeyring_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/internal/e2e/gnomekeyring"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victim); dir != "" {
		fmt.Fprintln(os.Stderr, writeUntilKilled(dir))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, gnomekeyring.Bus()...)
}

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
	if dir := os.Getenv(cron); dir != "" {
		if err := logInAsCron(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m, gnomekeyring.Bus()...)
}

package gnomekeyring_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/internal/e2e/gnomekeyring"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, gnomekeyring.Bus()...) }

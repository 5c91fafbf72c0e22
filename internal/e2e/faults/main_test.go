// Package faults_test has real processes share a grant at a real authorization server, and lets go wrong one thing at a
// time, at a moment that the test chooses: a process is stopped, a person acts, a disk is full, a program is over.
package faults_test

import (
	"testing"

	"github.com/evergrant/evergrant/internal/e2e/crew"
)

func TestMain(m *testing.M) {
	crew.Main(m, map[string]crew.Act{obeys: obey, tidy: callOnce, hasty: callAndExit, busy: callAndExitLater})
}

package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The code that a breakage names changes with the engine; here is where that is noticed, long before `make mutants`.
func TestEveryBreakageFits(t *testing.T) {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			_, err := m.overlay(root, t.TempDir())
			require.NoError(t, err)
		})
	}
}

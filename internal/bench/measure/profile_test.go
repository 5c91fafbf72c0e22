package measure_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/bench/measure"
)

func TestProfile(t *testing.T) {
	data := make([]byte, 1<<20)
	rows, err := measure.Profile(300*time.Millisecond, func() error {
		sha256.Sum256(data)
		return nil
	})
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(rows, func(row []string) bool {
		return strings.Contains(row[0], "sha256") && regexp.MustCompile(`^\d+(\.\d+)?%$`).MatchString(row[2])
	}), "%v", rows)

	broken := errors.New("broken")
	_, err = measure.Profile(time.Second, func() error { return broken })
	require.ErrorIs(t, err, broken)
}

func TestMemory(t *testing.T) {
	const n = 1000
	kept, err := measure.Memory(n, func() any {
		kept := make([]*[200]byte, n)
		for i := range kept {
			kept[i] = new([200]byte)
		}
		return kept
	})
	require.NoError(t, err)
	require.NotEmpty(t, kept.Rows)
	require.Contains(t, kept.Rows[0][0], "TestMemory")
	require.Equal(t, "216", kept.Rows[0][1], "a size class of 208 bytes and a pointer")
	require.Zero(t, kept.Timers)
}

func TestMemoryCountsTimers(t *testing.T) {
	kept, err := measure.Memory(1, func() any {
		_, cancel := context.WithTimeout(t.Context(), time.Hour)
		return []any{time.NewTimer(time.Hour), time.NewTicker(time.Hour), time.AfterFunc(time.Hour, func() {}), cancel}
	})
	require.NoError(t, err)
	require.GreaterOrEqual(t, kept.Timers, 4)
}

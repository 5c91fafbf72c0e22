package file_test

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/tokenstore"
	"github.com/evergrant/evergrant/tokenstore/file"
)

// writeToFullDisk swaps under a limit on the size of files, which cuts a write as a full disk does.
func writeToFullDisk(ctx context.Context, s *file.Store) error {
	version, err := s.Swap(ctx, "k", "", []byte("small"))
	if err != nil {
		return err
	}
	signal.Ignore(syscall.SIGXFSZ)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &syscall.Rlimit{Cur: 8 << 10, Max: 8 << 10}); err != nil {
		return err
	}
	_, err = s.Swap(ctx, "k", version, []byte(strings.Repeat("x", 64<<10)))
	if !errors.Is(err, syscall.EFBIG) || errors.Is(err, tokenstore.ErrConflict) {
		return fmt.Errorf("a write that was cut off returned: %w", err)
	}
	if err := s.Probe(ctx); !errors.Is(err, syscall.EFBIG) {
		return fmt.Errorf("Probe said of a disk without room: %w", err)
	}
	if left, _ := filepath.Glob(filepath.Join(childDir(), "*.tmp")); len(left) > 0 {
		return errors.New("the part that was written is left")
	}
	value, again, err := s.Load(ctx, "k")
	if err != nil || string(value) != "small" || again != version {
		return fmt.Errorf("the old value is not whole: %q, %w", value, err)
	}
	_, err = s.Swap(ctx, "k", version, []byte("small too"))
	return err
}

func TestFullDisk(t *testing.T) {
	dir := t.TempDir()
	cmd, _ := process(t, "full", dir)
	require.NoError(t, cmd.Wait())
	requireNoTemporary(t, dir)
	value, _, err := sealed(t, dir).Load(t.Context(), "k")
	require.NoError(t, err)
	require.Equal(t, "small too", string(value))
}

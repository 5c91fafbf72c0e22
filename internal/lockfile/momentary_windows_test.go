package lockfile_test

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/evergrant/evergrant/internal/lockfile"
)

func TestShareThatCannotBeReachedIsNotAbsent(t *testing.T) {
	for number, absent := range map[syscall.Errno]bool{
		syscall.ERROR_FILE_NOT_FOUND: true, syscall.ERROR_PATH_NOT_FOUND: true, 53: false, 64: false, 67: false, 1231: false,
	} {
		err := &os.PathError{Op: "open", Path: `\\server\share\grants`, Err: number}
		require.Equal(t, absent, lockfile.IsAbsent(err), "%d", number)
	}
}

package lockfile_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/evergrant/evergrant/internal/lockfile"
)

// child, when set, makes the test binary take a lock, say so, and keep it until it is killed or its
// standard input ends: "lock:PATH" or "live:DIR".
const child = "LOCKFILE_TEST_CHILD"

func TestMain(m *testing.M) {
	if what := os.Getenv(child); what != "" {
		if err := hold(what[:4], what[5:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func hold(kind, path string) error {
	var err error
	if kind == "live" {
		_, err = lockfile.NewLiving(path).Hold(context.Background(), "attempt")
	} else {
		_, err = lockfile.New(path).Acquire(context.Background())
	}
	if err != nil {
		return err
	}
	fmt.Println("held")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// start runs another process that holds a lock, and returns what kills it.
func start(t *testing.T, what string) (kill func()) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), child+"="+what)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = in.Close()
	})
	t.Cleanup(kill)
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "held\n", line)
	return kill
}

// free fails the test unless the lock can be had.
func free(t *testing.T, l *lockfile.Lock) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	release, err := l.Acquire(ctx)
	require.NoError(t, err)
	release()
}

func TestLockKeepsOthersOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	mine := lockfile.New(path)
	for name, other := range map[string]*lockfile.Lock{"same Lock": mine, "another Lock on the file": lockfile.New(path)} {
		t.Run(name, func(t *testing.T) {
			release, err := mine.Acquire(t.Context())
			require.NoError(t, err)
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			_, err = other.Acquire(ctx)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			release()
			release()
			free(t, other)
			require.FileExists(t, path)
		})
	}
}

func TestLockCountsRight(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	locks := []*lockfile.Lock{lockfile.New(path), lockfile.New(path)}
	var n atomic.Int64 // read and written in two steps, which only the lock holds together
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for range 10 {
				release, err := locks[i%2].Acquire(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				was := n.Load()
				runtime.Gosched()
				n.Store(was + 1)
				release()
			}
		})
	}
	group.Wait()
	require.EqualValues(t, 80, n.Load())
}

func TestLockOfADeadProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	kill := start(t, "lock:"+path)
	l := lockfile.New(path)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := l.Acquire(ctx)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	kill()
	free(t, l)
}

func TestLockNeedsNoContextThatHasEnded(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path := filepath.Join(t.TempDir(), "lock")
	_, err := lockfile.New(path).Acquire(ctx)
	require.ErrorIs(t, err, context.Canceled)
	require.NoFileExists(t, path)
}

func TestLockWhereThereIsNoFolder(t *testing.T) {
	l := lockfile.New(filepath.Join(t.TempDir(), "missing", "lock"))
	for range 2 { // the second finds the turn given back
		_, err := l.Acquire(t.Context())
		require.ErrorIs(t, err, os.ErrNotExist)
	}
}

func TestLockWhoseFileWasReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	l := lockfile.New(path)
	free(t, l)
	release, err := l.Acquire(t.Context())
	require.NoError(t, err)
	waiting := make(chan error)
	go func() {
		release, err := lockfile.New(path).Acquire(t.Context())
		if err == nil {
			defer release()
		}
		waiting <- err
	}()
	if os.Remove(path) == nil { // by a cleaner; Windows does not let it
		require.NoError(t, <-waiting)
		require.FileExists(t, path)
		release()
		return
	}
	release()
	require.NoError(t, <-waiting)
}

func TestLivingWhileHeld(t *testing.T) {
	dir := t.TempDir()
	l, other := lockfile.NewLiving(dir), lockfile.NewLiving(dir)
	requireHeld(t, other, false)
	release, err := l.Hold(t.Context(), "attempt")
	require.NoError(t, err)
	requireHeld(t, other, true)
	requireHeld(t, l, true)
	release()
	release()
	requireHeld(t, other, false)
	requireEmpty(t, dir)
}

// Holders that come and go, and others that look and clean up, never make two of them hold one name:
// neither by locking a file that is gone nor by removing one that lives.
func TestLivingNameHasOneHolder(t *testing.T) {
	l := lockfile.NewLiving(t.TempDir())
	var holders, most atomic.Int64
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 300 {
				release, err := l.Hold(t.Context(), "attempt")
				if err != nil {
					t.Error(err)
					return
				}
				if n := holders.Add(1); n > 1 {
					most.Store(n)
				}
				runtime.Gosched()
				holders.Add(-1)
				release()
			}
		})
		group.Go(func() {
			for range 600 {
				if _, err := l.Held(t.Context(), "attempt"); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	group.Wait()
	require.Zero(t, most.Load())
}

func TestLivingOfADeadProcess(t *testing.T) {
	dir := t.TempDir()
	l := lockfile.NewLiving(dir)
	kill := start(t, "live:"+dir)
	requireHeld(t, l, true)
	kill()
	requireHeld(t, l, false)
	requireEmpty(t, dir)
}

func TestLivingNames(t *testing.T) {
	dir := t.TempDir()
	l := lockfile.NewLiving(filepath.Join(dir, "live"))
	for _, name := range []string{"", ".", "../x", "a/b", `a\b`, "a b", "a\x00", "é", "a\n", string(make([]byte, 65))} {
		_, err := l.Hold(t.Context(), name)
		require.Error(t, err, "%q", name)
		_, err = l.Held(t.Context(), name)
		require.Error(t, err, "%q", name)
	}
	requireEmpty(t, dir)
}

func TestLivingContextThatHasEnded(t *testing.T) {
	dir := t.TempDir()
	l := lockfile.NewLiving(dir)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := l.Hold(ctx, "attempt")
	require.ErrorIs(t, err, context.Canceled)
	_, err = l.Held(ctx, "attempt")
	require.ErrorIs(t, err, context.Canceled)
	requireEmpty(t, dir)
}

func requireHeld(t *testing.T, l lockfile.Living, want bool) {
	t.Helper()
	held, err := l.Held(t.Context(), "attempt")
	require.NoError(t, err)
	require.Equal(t, want, held)
}

func requireEmpty(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, entries)
}
